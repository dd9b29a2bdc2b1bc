"""Run a comparison: the arms' searches, then their runs over seeds and folds, then the floors that need no encoder."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unfreeze.compare.arms import Arm, best_trial, search_order
from unfreeze.compare.ledger import Ledger
from unfreeze.compare.material import Material
from unfreeze.compare.pricing import Shape
from unfreeze.compare.statistics import RunScores
from unfreeze.compare.trials import Trial, run_trial
from unfreeze.compare.watching import Watcher
from unfreeze.engine.runtime import Runtime
from unfreeze.engine.training import Watch
from unfreeze.errors import Interrupted


@dataclass(slots=True)
class ArmOutcome:
    """What an arm gave.

    Attributes:
        arm: which.
        tuning: the search's trials with their validation scores, in the order tried.
        chosen: the best of them; its settings are those of all runs.
        records: the ledger's records of the runs, by (seed, fold).
        runs: scores and counts, for the verdict.
        failed: why there is no result, if there is none.
    """

    arm: Arm
    tuning: dict[Trial, float] = field(default_factory=dict)
    chosen: Trial | None = None
    records: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)
    runs: RunScores | None = None
    failed: str | None = None


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
        ledger: where records go.
        runtime: how to compute.
        watcher: who is told.
        seed: of the first run.
    """

    def __init__(self, material: Material, ledger: Ledger, *, runtime: Runtime, watcher: Watcher, seed: int) -> None:
        self._material, self._ledger, self._runtime = material, ledger, runtime
        self._watcher, self._seed = watcher, seed

    def trial(self, arm: Arm, trial: Trial, *, doing: str) -> dict[str, Any]:
        """A trial's record, from the ledger or by running it.

        Raises:
            Interrupted: the watcher said so; the trial's checkpoint is in the ledger.
        """
        record = self._ledger.record(trial)
        if record is None:
            if self._watcher.stop():
                raise Interrupted("stopped; the same command goes on from here")
            self._watcher.began(arm.name, doing)
            watch = Watch(
                progress=lambda fraction: self._watcher.progressed(arm.name, fraction),
                scored=lambda row: self._watcher.scored(arm.name, row.score or 0.0),
                stop=self._watcher.stop,
            )
            folder = self._ledger.folder_of(trial)
            record = run_trial(self._material, trial, runtime=self._runtime, folder=folder, watch=watch)
        self._watcher.ended(arm.name, record)
        return record

    def search(self, arm: Arm) -> ArmOutcome:
        """Find an arm's settings on the first fold with the first seed."""
        outcome, metric = ArmOutcome(arm), self._material.task.metric
        for number, trial in enumerate(search_order(arm, outcome.tuning, seed=self._seed, fold=0), start=1):
            record = self.trial(arm, trial, doing=f"settings {number} of {arm.tuning_trials}")
            outcome.tuning[trial] = score_of(record, metric)
        outcome.chosen = best_trial(outcome.tuning)
        if not np.isfinite(outcome.tuning[outcome.chosen]):
            outcome.failed = "its loss became infinite under every setting tried"
        return outcome

    def runs(self, outcome: ArmOutcome, shape: Shape) -> None:
        """Run an arm's chosen settings over seeds and folds."""
        arm, chosen = outcome.arm, outcome.chosen
        if chosen is None or outcome.failed:
            return
        seeds = 1 if arm.strategy.search.floor else shape.seeds
        for seed in range(self._seed, self._seed + seeds):
            for fold in range(shape.folds):
                trial = arm.trial(chosen.head, chosen.settings.learning_rate, seed=seed, fold=fold)
                done = f"seed {seed + 1 - self._seed} of {seeds}" + (f", fold {fold + 1}" if shape.folds > 1 else "")
                outcome.records[seed, fold] = self.trial(arm, trial, doing=done)
        outcome.runs = self._run_scores(outcome, seeds, shape.folds)

    def _run_scores(self, outcome: ArmOutcome, seeds: int, folds: int) -> RunScores:
        """Scores and counts of all runs, in one order of the examples; NaN where a run diverged."""
        chosen, rows = outcome.chosen, self.validated(folds)
        place = {example: i for i, example in enumerate(rows)}
        scores = np.full((seeds, folds), np.nan)
        counts: np.ndarray | None = None
        for (seed, fold), record in outcome.records.items():
            trial = outcome.arm.trial(chosen.head, chosen.settings.learning_rate, seed=seed, fold=fold)  # type: ignore[union-attr]
            outputs = self._ledger.outputs(trial)
            some = outputs["validation/counts"]
            if counts is None:
                counts = np.full((seeds, len(rows), some.shape[1]), np.nan)
            scores[seed - self._seed, fold] = score_of(record, self._material.task.metric)
            if record["state"] == "done":
                counts[seed - self._seed, [place[i] for i in outputs["validation/examples"]]] = some
        assert counts is not None, "an arm has at least one run"
        return RunScores(scores, counts, self.validation_share)

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
        seconds = (time.perf_counter() - started) / max(1, len(found) * (shape.folds + 1))
        return [
            Floor(
                name,
                RunScores(np.array([scores[name]]), counts, self.validation_share),
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
    """After how many epochs to stop when no validation rows are left to say so: the runs' mean best epoch, rounded."""
    return max(1, round(statistics.mean(record["best_epoch"] for record in records)))
