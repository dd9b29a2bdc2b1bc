"""The small search that finds an arm's best settings."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import ceil, isfinite
from typing import Any

from unfreeze.compare.arms import Arm
from unfreeze.compare.trials import Trial


def search_order(
    arm: Arm, scores: Mapping[Trial, float], *, records: Mapping[Trial, Mapping[str, Any]], seed: int, fold: int
) -> Iterator[list[Trial]]:
    """The trials of an arm's search, in lists whose trials may run side by side.

    The standard head at the first rate; every other head at that rate; every other rate with the best head; at last,
    where the arm says so, the best of them with a schedule as long as it needed (see ``fitted_schedule``). The first
    list is one trial, so that several arms can be looked at early.

    Args:
        arm: what is searched.
        scores: the scores of trials already given out, NaN where a trial failed; filled by the caller before it asks
            for the next list.
        records: the records of those that did not fail, filled likewise; of each its ``best_epoch`` is read.
        seed: of all its trials.
        fold: of all its trials.
    """
    place = {"seed": seed, "fold": fold}
    first, *others = arm.heads
    yield [arm.trial(first, arm.rates[0], **place)]
    if others:
        yield [arm.trial(head, arm.rates[0], **place) for head in others]
    best = best_trial(scores).head
    if len(arm.rates) > 1:
        yield [arm.trial(best, rate, **place) for rate in arm.rates[1:]]
    found = best_trial(scores)
    fitted = fitted_schedule(found, records[found]["best_epoch"]) if arm.fits_schedule and found in records else None
    if fitted is not None and fitted not in scores:
        yield [fitted]


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
