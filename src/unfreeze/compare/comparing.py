"""Run a comparison: the arms' searches, then their runs over seeds and folds, then the floors that need no encoder."""

import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from unfreeze.compare.arms import Arm, best_trial, fitted_schedule, search_order
from unfreeze.compare.ledger import Ledger
from unfreeze.compare.material import Material
from unfreeze.compare.pricing import Shape
from unfreeze.compare.statistics import RunScores
from unfreeze.compare.trials import Trial, run_trial
from unfreeze.compare.watching import Watcher
from unfreeze.engine.runtime import Runtime
from unfreeze.engine.training import Watch
from unfreeze.errors import Interrupted, SettingsError, UserError

CHECKPOINT_SECONDS = "UNFREEZE_CHECKPOINT_SECONDS"
"""Environment variable: seconds between checkpoints, 60 if it is not set. Tests that kill a comparison set it lower."""


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
            if self._ledger.is_damaged(trial):
                self._watcher.said(f"the record of {trial.key} is damaged; this trial is run again")
            self._watcher.began(arm.name, doing)
            watch = watch_for(self._watcher, arm.name)
            folder = self._ledger.folder_of(trial)
            record = run_trial(self._material, trial, runtime=self._runtime, folder=folder, watch=watch)
        self._watcher.ended(arm.name, record)
        return record

    def search(self, arm: Arm) -> ArmOutcome:
        """Find an arm's settings on the first fold with the first seed.

        Settings that cannot be trained, or diverge, count as worse than all others; the arm fails if no other is left.
        """
        outcome = ArmOutcome(arm)
        reasons: list[str] = []
        for trial in search_order(arm, outcome.tuning, seed=self._seed, fold=0):
            self._search_one(outcome, trial, reasons)
        best = best_trial(outcome.tuning)
        if arm.fits_schedule and best in outcome.tried:
            fitted = fitted_schedule(best, outcome.tried[best]["best_epoch"])
            if fitted is not None:
                self._search_one(outcome, fitted, reasons)
        outcome.chosen = best_trial(outcome.tuning)
        if not np.isfinite(outcome.tuning[outcome.chosen]):
            self._fail(outcome, reasons[0] if reasons else "its loss became infinite under every setting tried")
        return outcome

    def _search_one(self, outcome: ArmOutcome, trial: Trial, reasons: list[str]) -> None:
        """One trial of a search: its score, or the reason why it has none."""
        doing = f"settings {len(outcome.tuning) + 1} of {outcome.arm.tuning_trials}"
        record = self._tried(outcome, trial, doing=doing)
        if isinstance(record, str):
            reasons.append(record)
        outcome.tuning[trial] = (
            float("nan") if isinstance(record, str) else score_of(record, self._material.task.metric)
        )

    def _tried(self, outcome: ArmOutcome, trial: Trial, *, doing: str) -> dict[str, Any] | str:
        """A trial's record; or, for a way that cannot be trained here, why not: the other ways go on without it."""
        try:
            record = self.trial(outcome.arm, trial, doing=doing)
        except UserError as error:
            return str(error)
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            return "it needs more memory than this machine has free"
        outcome.tried[trial] = record
        return record

    def _fail(self, outcome: ArmOutcome, reason: str) -> None:
        outcome.failed = reason
        self._watcher.said(f"{outcome.arm.name} gives no result: {reason}")

    def runs(self, outcome: ArmOutcome, shape: Shape) -> None:
        """Run an arm's chosen settings over seeds and folds."""
        arm, chosen = outcome.arm, outcome.chosen
        if chosen is None or outcome.failed:
            return
        seeds = 1 if arm.strategy.search.floor else shape.seeds
        for seed in range(self._seed, self._seed + seeds):
            for fold in range(shape.folds):
                trial = chosen.again(seed=seed, fold=fold)
                done = f"seed {seed + 1 - self._seed} of {seeds}" + (f", fold {fold + 1}" if shape.folds > 1 else "")
                record = self._tried(outcome, trial, doing=done)
                if isinstance(record, str):
                    self._fail(outcome, record)
                    return
                outcome.records[seed, fold] = record
        outcome.runs = self._run_scores(outcome, seeds, shape.folds)

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
    """After how many epochs to stop when no validation rows are left to say so: the runs' mean best epoch, rounded.

    Runs that diverged say nothing about it. Halves are rounded up: too many epochs cost less than too few.
    """
    best = [record["best_epoch"] for record in records if record["state"] == "done"]
    return max(1, int(statistics.mean(best) + 0.5)) if best else 1


def watch_for(watcher: Watcher, arm: str) -> Watch:
    """How a run of an arm reports to a watcher, and how often it writes a checkpoint.

    Raises:
        SettingsError: the environment variable ``UNFREEZE_CHECKPOINT_SECONDS`` is no number of seconds.
    """
    written = os.environ.get(CHECKPOINT_SECONDS) or "60"
    try:
        seconds = float(written)
    except ValueError:
        raise SettingsError(f"{CHECKPOINT_SECONDS} is a number of seconds; got {written!r}") from None
    return Watch(
        progress=lambda fraction: watcher.progressed(arm, fraction),
        scored=lambda row: None if row.score is None else watcher.scored(arm, row.score),
        stop=watcher.stop,
        checkpoint_seconds=seconds,
    )


def _is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory is short; torch has no type of its own for it on the CPU."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in str(error)
