"""Run a comparison: the arms' searches, then their runs over seeds and folds, then the floors that need no encoder."""

import statistics
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unfreeze.compare.arms import Arm, best_trial, fitted_schedule, search_order
from unfreeze.compare.clusters import clusters_of
from unfreeze.compare.driving import Course, drive
from unfreeze.compare.jobs import Answer, Executor, Job
from unfreeze.compare.ledger import Ledger
from unfreeze.compare.material import Material
from unfreeze.compare.pricing import Shape
from unfreeze.compare.statistics import RunScores
from unfreeze.compare.trials import Trial
from unfreeze.compare.watching import Watcher
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.errors import Interrupted


@dataclass(slots=True)
class ArmOutcome:
    """What an arm gave.

    Attributes:
        arm: which.
        tuning: the search's trials with their validation scores, in the order tried; NaN where there is none.
        tried: the ledger's records of all its trials, those of the search and those of the runs.
        chosen: the best of them; its settings are those of all runs.
        records: the ledger's records of the runs, by (seed, fold).
        runs: scores and counts, for the verdict.
        failed: why there is no result, if there is none.
    """

    arm: Arm
    tuning: dict[Trial, float] = field(default_factory=dict)
    tried: dict[Trial, dict[str, Any]] = field(default_factory=dict)
    chosen: Trial | None = None
    records: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)
    runs: RunScores | None = None
    failed: str | None = None


_Part = Generator[list[Job], dict[Trial, Answer], None]
"""A part of a course."""


@dataclass(frozen=True, slots=True)
class Floor:
    """A rival that needs no encoder: its counts on validation and on test, and the seconds it took."""

    name: str
    runs: RunScores
    test: np.ndarray | None
    seconds: float


class Comparing:
    """One comparison under way.

    Args:
        material: what all arms share.
        ledger: where records are.
        executor: runs the trials that are not there yet.
        watcher: who is told.
        seed: of the first run.
        together: names of arms whose trials learn from the same features, and are run together.
        noted: called after each job, so that what it took is not lost with this process.
    """

    def __init__(
        self,
        material: Material,
        ledger: Ledger,
        *,
        executor: Executor,
        watcher: Watcher,
        seed: int,
        together: frozenset[str] = frozenset(),
        noted: Callable[[], object] = lambda: None,
    ) -> None:
        self._material, self._ledger, self._executor = material, ledger, executor
        self._watcher, self._seed, self._together, self._noted = watcher, seed, together, noted

    def outcomes(self, arms: Sequence[Arm], shape: Shape) -> list[ArmOutcome]:
        """Search and run every arm.

        Raises:
            Interrupted: the watcher said so; checkpoints of the trials under way are in the ledger.
        """
        return drive([self.course(arm, shape) for arm in arms], self._executor, answered=self._stored, told=self._told)

    def course(self, arm: Arm, shape: Shape) -> Course:
        """All that is run for one arm: yields jobs that may run side by side, is sent their answers."""
        outcome = ArmOutcome(arm)
        yield from self._searching(outcome)
        if outcome.failed is None:
            yield from self._running(outcome, shape)
        if outcome.failed is not None:
            self._watcher.said(f"{arm.name} gives no result: {outcome.failed}")
        return outcome

    def _searching(self, outcome: ArmOutcome) -> _Part:
        """Find an arm's settings on the first fold with the first seed.

        Settings that cannot be trained, or diverge, count as worse than all others; the arm fails if no other is left.
        """
        arm, reasons = outcome.arm, list[str]()
        for trials in search_order(arm, outcome.tuning, seed=self._seed, fold=0):
            yield from self._trying(outcome, trials, reasons)
        best = best_trial(outcome.tuning)
        if arm.fits_schedule and best in outcome.tried:
            fitted = fitted_schedule(best, outcome.tried[best]["best_epoch"])
            yield from self._trying(outcome, [] if fitted is None else [fitted], reasons)
        outcome.chosen = best_trial(outcome.tuning)
        if not np.isfinite(outcome.tuning[outcome.chosen]):
            outcome.failed = reasons[0] if reasons else "its loss became infinite under every setting tried"

    def _trying(self, outcome: ArmOutcome, trials: Sequence[Trial], reasons: list[str]) -> _Part:
        """Some trials of a search: their scores, or the reasons why they have none."""
        arm, before = outcome.arm, len(outcome.tuning)
        doing = [f"settings {before + i + 1} of {arm.tuning_trials}" for i in range(len(trials))]
        answers = yield self._jobs(arm, trials, doing)
        for trial in trials:
            answer = answers[trial]
            if isinstance(answer, str):
                reasons.append(answer)
                outcome.tuning[trial] = float("nan")
            else:
                outcome.tried[trial] = answer
                outcome.tuning[trial] = score_of(answer, self._material.task.metric)

    def _running(self, outcome: ArmOutcome, shape: Shape) -> _Part:
        """Run an arm's chosen settings over seeds and folds."""
        arm, chosen = outcome.arm, outcome.chosen
        seeds = 1 if arm.strategy.search.floor else shape.seeds
        places = [(seed, fold) for seed in range(self._seed, self._seed + seeds) for fold in range(shape.folds)]
        trials = {place: chosen.again(seed=place[0], fold=place[1]) for place in places}  # type: ignore[union-attr]
        doing = [
            f"seed {seed + 1 - self._seed} of {seeds}" + (f", fold {fold + 1}" if shape.folds > 1 else "")
            for seed, fold in places
        ]
        answers = yield self._jobs(arm, [*trials.values()], doing)
        for place, trial in trials.items():
            answer = answers[trial]
            if isinstance(answer, str):
                outcome.failed = answer
                return
            outcome.tried[trial] = outcome.records[place] = answer
        outcome.runs = self._run_scores(outcome, seeds, shape.folds)

    def _jobs(self, arm: Arm, trials: Sequence[Trial], doing: Sequence[str]) -> list[Job]:
        """A job for each trial; one for all that read the same features and learn a head only."""
        if arm.name not in self._together:
            return [Job(arm.name, (trial,), what) for trial, what in zip(trials, doing, strict=True)]
        alike: dict[HeadSettings, list[int]] = {}
        for i, trial in enumerate(trials):
            alike.setdefault(trial.head, []).append(i)
        return [Job(arm.name, tuple(trials[i] for i in members), doing[members[-1]]) for members in alike.values()]

    def _stored(self, trial: Trial) -> dict[str, Any] | None:
        """A trial's record where it is in the ledger already."""
        record = self._ledger.record(trial)
        if record is None and self._ledger.is_damaged(trial):
            self._watcher.said(f"the record of {trial.key} is damaged; this trial is run again")
        return record

    def _told(self, job: Job, answers: Mapping[Trial, Answer] | None) -> None:
        """Tell the watcher that a job begins (no answers yet), or what it gave."""
        if answers is None:
            if self._watcher.stop():
                raise Interrupted("stopped; the same command goes on from here")
            self._watcher.began(job.arm, job.doing)
            return
        self._noted()
        for answer in answers.values():
            if not isinstance(answer, str):
                score = score_of(answer, self._material.task.metric)
                if np.isfinite(score):
                    self._watcher.scored(job.arm, score)
                self._watcher.ended(job.arm, answer)

    def _run_scores(self, outcome: ArmOutcome, seeds: int, folds: int) -> RunScores:
        """Scores and counts of all runs, in one order of the examples; NaN where a run diverged."""
        chosen, rows = outcome.chosen, self.validated(folds)
        place = {example: i for i, example in enumerate(rows)}
        scores = np.full((seeds, folds), np.nan)
        counts: np.ndarray | None = None
        for (seed, fold), record in outcome.records.items():
            trial = chosen.again(seed=seed, fold=fold)  # type: ignore[union-attr]
            outputs = self._ledger.outputs(trial)
            some = outputs["validation/counts"]
            if counts is None:
                counts = np.full((seeds, len(rows), some.shape[1]), np.nan)
            scores[seed - self._seed, fold] = score_of(record, self._material.task.metric)
            if record["state"] == "done":
                counts[seed - self._seed, [place[i] for i in outputs["validation/examples"]]] = some
        assert counts is not None, "an arm has at least one run"
        return RunScores(scores, counts, self.validation_share, clusters_of([self._material.examples[i] for i in rows]))

    def validated(self, folds: int) -> list[int]:
        """The examples that the first ``folds`` folds validate on, rising."""
        return sorted(example for fold in self._material.splits.folds[:folds] for example in fold.validation)

    @property
    def validation_share(self) -> float:
        """Validation rows / training rows of a fold."""
        fold = self._material.splits.folds[0]
        return len(fold.validation) / len(fold.train)

    def floors(self, shape: Shape) -> list[Floor]:
        """Rivals that need no encoder, on the same folds, and on test from all other rows."""
        task, examples, started = self._material.task, self._material.examples, time.perf_counter()
        rows = self.validated(shape.folds)
        place = {example: i for i, example in enumerate(rows)}
        found: dict[str, np.ndarray] = {}
        scores: dict[str, list[float]] = {}
        for fold in self._material.splits.folds[: shape.folds]:
            train, validation = [examples[i] for i in fold.train], [examples[i] for i in fold.validation]
            for name, predictions in task.floors(train, validation, seed=self._seed).items():
                counts = task.counts(validation, predictions)
                found.setdefault(name, np.zeros((1, len(rows), counts.shape[1])))
                found[name][0, [place[i] for i in fold.validation]] = counts
                scores.setdefault(name, []).append(float(task.score(counts.sum(0))))
        tested: Mapping[str, Any] = {}
        test = [examples[i] for i in self._material.splits.test]
        if test:
            tested = task.floors([examples[i] for i in self._material.splits.not_test], test, seed=self._seed)
        clusters = clusters_of([examples[i] for i in rows])
        seconds = (time.perf_counter() - started) / max(1, len(found) * (shape.folds + 1))
        return [
            Floor(
                name,
                RunScores(np.array([scores[name]]), counts, self.validation_share, clusters),
                task.counts(test, tested[name]) if test else None,
                seconds,
            )
            for name, counts in found.items()
        ]


def score_of(record: Mapping[str, Any], metric: str) -> float:
    """A record's validation score; NaN where the run diverged or nothing was validated."""
    if record["state"] != "done" or "validation" not in record["scores"]:
        return float("nan")
    return float(record["scores"]["validation"][metric])


def epochs_for_all_rows(records: Sequence[Mapping[str, Any]]) -> int:
    """After how many epochs to stop when no validation rows are left to say so: the runs' mean best epoch, rounded.

    Runs that diverged say nothing about it. Halves are rounded up: too many epochs cost less than too few.
    """
    best = [record["best_epoch"] for record in records if record["state"] == "done"]
    return max(1, int(statistics.mean(best) + 0.5)) if best else 1
