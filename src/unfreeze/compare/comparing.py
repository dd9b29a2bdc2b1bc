"""Run a comparison: a race of the arms, its records in the ledger."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from unfreeze.compare.arms import Arm
from unfreeze.compare.clusters import Clusters, clusters_of
from unfreeze.compare.driving import drive
from unfreeze.compare.jobs import Answer, Executor, Job
from unfreeze.compare.ledger import Ledger
from unfreeze.compare.material import Material
from unfreeze.compare.outcomes import ArmOutcome, Tables
from unfreeze.compare.race import Host, Race
from unfreeze.compare.standing import Purse, Standing
from unfreeze.compare.steward import Decision, Terms
from unfreeze.compare.trials import Trial
from unfreeze.compare.watching import Watcher
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.errors import Interrupted


class Comparing:
    """One comparison under way.

    Args:
        material: what all arms share.
        ledger: where records are.
        executor: runs the trials that are not there yet.
        watcher: who is told.
        seed: of the first run.
        together: names of arms whose trials learn from the same features, and are run together.
        noted: called after each job with its trials, so that what it took is not lost with this process.
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
        noted: Callable[[Sequence[Trial]], object] = lambda _: None,
    ) -> None:
        self._material, self._ledger, self._executor = material, ledger, executor
        self._watcher, self._seed, self._together, self._noted = watcher, seed, together, noted
        self._tables = tables_of(material, ledger)

    def race(
        self,
        arms: Sequence[Arm],
        terms: Terms,
        *,
        margin: float,
        purse: Callable[[Sequence[ArmOutcome]], Purse] = lambda _: Purse(),
        name: str = "race",
        ran_out: Callable[[], bool] = lambda: False,
    ) -> Race:
        """Search and run the arms, and give the race that was run: its outcomes and its story.

        Args:
            arms: that start.
            terms: under which the race is held.
            margin: half the width of a tie, a fraction.
            purse: what is left of the budget now, given the outcomes so far.
            name: under which its decisions are kept in the ledger.
            ran_out: whether it is the budget that ended the trials.

        Raises:
            Interrupted: the watcher said so; checkpoints of the trials under way are in the ledger.
        """
        standing = Standing(self._tables, self._material.task.score, margin, self._seed)
        host = Host(
            purse,
            lambda stage, make: self._decided(f"{name}: {stage}", make),
            self._jobs,
            self._decided_on,
            side_by_side=self._executor.capacity > 1,
        )
        race = Race(arms, terms=terms, standing=standing, host=host)
        try:
            drive([race.course()], self._executor, answered=self._stored, told=self._told)
        except Interrupted:
            if not ran_out():
                raise
            race.finish("the budget is spent", answered=self._stored)
        for outcome in race.outcomes.values():
            if outcome.failed is not None:
                self._watcher.said(f"{outcome.arm.name} gives no result: {outcome.failed}")
        return race

    def _decided(self, name: str, make: Callable[[], Decision]) -> Decision:
        """A decision that was made before, or is made now and kept."""
        stored: Decision | None = self._ledger.decision(name)
        if stored is None:
            stored = make()
            self._ledger.decide(name, stored)
        return stored

    def _decided_on(self, decision: Decision) -> None:
        for name, why in decision["out"].items():
            self._watcher.left(name, why)
        if decision.get("why"):
            self._watcher.said(decision["why"])

    def _jobs(self, arm: Arm, trials: Sequence[Trial], *, doing: Sequence[str]) -> list[Job]:
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
        self._noted(job.trials)
        for answer in answers.values():
            if not isinstance(answer, str):
                score = self._tables.score_of(answer)
                if np.isfinite(score):
                    self._watcher.scored(job.arm, score)
                self._watcher.ended(job.arm, answer)


def tables_of(material: Material, ledger: Ledger) -> Tables:
    """What turns the records of a ledger into scores and counts."""
    folds = material.splits.folds
    share = len(folds[0].validation) / len(folds[0].train)
    inner = [len(fold.validation) / len(fold.train) for fold in material.splits.inner[:1]]
    validated = [fold.validation for fold in folds]

    def together(rows: Sequence[int]) -> Clusters | None:
        return clusters_of([material.examples[row] for row in rows])

    return Tables(material.task.metric, validated, share, ledger.outputs, together, *inner)


def epochs_for_all_rows(records: Sequence[Mapping[str, Any]]) -> int:
    """After how many epochs to stop when no validation rows are left to say so: the runs' mean best epoch, rounded.

    Runs that diverged say nothing about it. Halves are rounded up: too many epochs cost less than too few. Where a plan
    has gates, those runs say it that came as far through them as most did (of two equally many, the ones that opened
    less): a mean of the others would end where none of them did.
    """
    done = [record for record in records if record["state"] == "done"]
    opened = [sum(gate["opened"] for gate in record.get("gates", ())) for record in done]
    usual = min(opened, key=lambda number: (-opened.count(number), number), default=0)
    best = [record["best_epoch"] for record, number in zip(done, opened, strict=True) if number == usual]
    return max(1, int(statistics.mean(best) + 0.5)) if best else 1


def temperature_for_all_rows(records: Sequence[Mapping[str, Any]]) -> float | None:
    """What to divide logits by when no validation rows are left to fit it on: the median of the runs' temperatures.

    None where no run was calibrated.
    """
    found = [made["temperature"] for record in records if (made := record.get("calibration")) is not None]
    return statistics.median(found) if found else None
