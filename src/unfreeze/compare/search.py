"""The small search that finds an arm's best settings."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import ceil, isfinite
from typing import Any

from unfreeze.compare.arms import Arm
from unfreeze.compare.drawing import drawn
from unfreeze.compare.trials import Trial


def search_order(
    arm: Arm, scores: Mapping[Trial, float], *, records: Mapping[Trial, Mapping[str, Any]], seed: int, fold: int
) -> Iterator[list[Trial]]:
    """The trials of an arm's search, in lists whose trials may run side by side; none comes twice.

    First the standard head at the most likely point, alone, so that several arms can be looked at early. A grid goes on
    with every other head there, then with every other point and the best head; random search and TPE with points drawn
    from the arm's space. At last, where the arm says so, the best trial comes once more with a schedule as long as it
    needed (see ``fitted_schedule``).

    What is given out follows from the arguments alone, so that a search that was interrupted asks the same again.

    Args:
        arm: what is searched.
        scores: the scores of trials already given out, NaN where a trial failed; filled by the caller before it asks
            for the next list.
        records: the records of those that did not fail, filled likewise; of each its ``best_epoch`` is read.
        seed: of all its trials, and of what is drawn.
        fold: of all its trials.

    Raises:
        MissingExtra: TPE is asked for, and Optuna is not installed.
    """
    yield from _of_grid(arm, scores, seed, fold) if arm.sampling is None else drawn(arm, scores, seed=seed, fold=fold)
    best = best_trial(scores)
    fitted = fitted_schedule(best, records[best]["best_epoch"]) if arm.fits_schedule and best in records else None
    if fitted is not None and fitted not in scores:
        yield [fitted]


def _of_grid(arm: Arm, scores: Mapping[Trial, float], seed: int, fold: int) -> Iterator[list[Trial]]:
    """The trials of a grid."""
    first, *others = arm.points
    standard, *heads = arm.heads
    yield [arm.trial_with(standard, first, seed=seed, fold=fold)]
    if heads:
        yield [arm.trial_with(head, first, seed=seed, fold=fold) for head in heads]
    if others:
        best = best_trial(scores).head
        yield [arm.trial_with(best, settings, seed=seed, fold=fold) for settings in others]


def fitted_schedule(best: Trial, best_epoch: int) -> Trial | None:
    """The best trial once more, its schedule as long as it needed; None where that is the schedule it had.

    A run that was best early, while its rate was still high, has not been brought to rest: it gets a schedule that ends
    one epoch later than that. One that was best in its last epoch gets half as many again.

    Source: Mosbach, Andriushchenko & Klakow 2021, arXiv:2006.04884, section 6: what looks like a bad optimum is often
    a schedule of the wrong length.

    Args:
        best: the best trial of the search so far.
        best_epoch: after how many epochs its validation score was best.
    """
    epochs = best.settings.num_train_epochs
    fitting = ceil(1.5 * epochs) if best_epoch >= epochs else best_epoch + 1
    return None if fitting == epochs else replace(best, settings=replace(best.settings, num_train_epochs=fitting))


def best_trial(scores: Mapping[Trial, float]) -> Trial:
    """The trial with the highest score; among equals the one tried first, so the standard head wins a tie."""
    return max(scores, key=lambda trial: scores[trial] if isfinite(scores[trial]) else -1.0)
