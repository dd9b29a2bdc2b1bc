"""What each arm gave, and how its runs become scores and counts that can be compared."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np

from unfreeze.compare.arms import Arm
from unfreeze.compare.clusters import Clusters
from unfreeze.compare.statistics import RunScores
from unfreeze.compare.trials import Trial

Place = tuple[int, int]
"""A seed and a fold."""


@dataclass(slots=True)
class ArmOutcome:
    """What an arm gave.

    Attributes:
        arm: which.
        tuning: the search's trials with their validation scores, in the order tried; NaN where there is none.
        further: likewise of the searches on further inner folds, by the number of these.
        tried: the ledger's records of all its trials, those of searches and those of runs.
        chosen: the best of ``tuning``, whose settings are those of all runs; where settings are chosen on inner folds,
            a trial of the settings that were chosen most often.
        chosen_on: where settings are chosen on inner folds, the best trial of each fold's own search, by fold.
        records: the ledger's records of the runs, by (seed, fold).
        runs: scores and counts, for the verdict.
        failed: why there is no result, if there is none.
        left: why it left the race before its end, if it did; it takes no part in the verdict then.
        shortened: why fewer settings were tried than its search has, if so.
    """

    arm: Arm
    tuning: dict[Trial, float] = field(default_factory=dict)
    further: dict[int, dict[Trial, float]] = field(default_factory=dict)
    tried: dict[Trial, dict[str, Any]] = field(default_factory=dict)
    chosen: Trial | None = None
    chosen_on: dict[int, Trial] = field(default_factory=dict)
    records: dict[Place, dict[str, Any]] = field(default_factory=dict)
    runs: RunScores | None = None
    failed: str | None = None
    left: str | None = None
    shortened: str | None = None

    @property
    def searches(self) -> list[dict[Trial, float]]:
        """The trials of all its searches with their scores, by fold."""
        return [self.tuning, *(self.further[fold] for fold in sorted(self.further))]

    def run_at(self, place: Place) -> Trial:
        """The trial of a run: with settings chosen on its fold's own inner fold, also the number of epochs is."""
        assert self.chosen is not None, "an arm has runs once its settings are chosen"
        seed, fold = place
        if not self.chosen_on:
            return self.chosen.again(seed=seed, fold=fold)
        best = self.chosen_on[fold]
        record = self.tried[best]
        temperature = (record.get("calibration") or {}).get("temperature")
        return best.again(seed=seed, fold=fold).stopped_after(max(1, record["best_epoch"]), temperature=temperature)

    def choose_on(self, fold: int, best: Trial) -> None:
        """Take the best trial of a fold's own search, and see which settings were now chosen most often."""
        self.chosen_on[fold] = best
        self.report_on(self.chosen_on)

    def report_on(self, folds: Collection[int]) -> None:
        """Leave out what was chosen for folds that report nothing."""
        self.chosen_on = {fold: best for fold, best in self.chosen_on.items() if fold in folds}
        if self.chosen_on:
            self.chosen = chosen_most_often(self.chosen_on, self.searches)

    def records_of_chosen(self) -> list[dict[str, Any]]:
        """The records of the runs whose settings are those of ``chosen``."""
        alike = {
            fold for fold, best in self.chosen_on.items() if self.chosen and _settings(best) == _settings(self.chosen)
        }
        return [record for (_, fold), record in self.records.items() if fold in alike or not self.chosen_on]

    def starved(self, steps_per_epoch: int) -> str | None:
        """Why it was not at its best, None if it was: a search that was cut short, or what its settings show."""
        if self.chosen is None:
            return None
        cut_short = None if self.arm.strategy.search.floor else self.shortened
        return cut_short or self.arm.starved(self.chosen, steps_per_epoch)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds that were run on all folds that any seed was run on, rising."""
        folds = {fold for _, fold in self.records}
        return tuple(
            sorted(s for s in {seed for seed, _ in self.records} if all((s, f) in self.records for f in folds))
        )


def chosen_most_often(chosen: Mapping[int, Trial], searches: Sequence[Mapping[Trial, float]]) -> Trial:
    """A trial of the settings that most folds chose; among equals those with the best mean score, then the first.

    Args:
        chosen: the best trial by fold.
        searches: the scores of all trials of each fold's search.
    """
    often = Counter(_settings(best) for best in chosen.values())
    scores: dict[Trial, list[float]] = {}
    for trial, score in (pair for search in searches for pair in search.items()):
        scores.setdefault(_settings(trial), []).extend([score] if isfinite(score) else [])
    means = {settings: sum(some) / len(some) for settings, some in scores.items() if some}
    first_to_last = [chosen[fold] for fold in sorted(chosen)]
    return max(first_to_last, key=lambda best: (often[_settings(best)], means.get(_settings(best), -1.0)))


def _settings(trial: Trial) -> Trial:
    """A trial as one of its settings: those on other folds are equal to it."""
    return trial.again(seed=trial.settings.seed, fold=None)


@dataclass(frozen=True, slots=True)
class Tables:
    """Turns records into what statistics read.

    Attributes:
        metric: the primary metric's name, as records have it.
        validated: the rows that each fold validates on.
        share: validation rows / training rows of a fold.
        outputs: a completed trial's counts by split, and the examples that they belong to.
        together: which of some examples belong together; None where each stands alone.
        inner_share: as ``share``, of an inner fold.
    """

    metric: str
    validated: Sequence[Sequence[int]]
    share: float
    outputs: Callable[[Trial], Mapping[str, np.ndarray]]
    together: Callable[[Sequence[int]], Clusters | None] = lambda _: None
    inner_share: float = 1 / 3

    def score_of(self, record: Mapping[str, Any]) -> float:
        """A record's validation score; NaN where the run diverged or nothing was validated."""
        return score_of(record, self.metric)

    def inner(self, fold: int) -> int:
        """The number, as a fold, of the inner fold of a fold."""
        return len(self.validated) + fold

    def rows(self, folds: int) -> list[int]:
        """The examples that the first ``folds`` folds validate on, rising."""
        return sorted(row for fold in self.validated[:folds] for row in fold)

    def one(self, trial: Trial, record: Mapping[str, Any]) -> RunScores:
        """What one trial scored on the rows that it validated on."""
        outputs = self.outputs(trial)
        counts = np.asarray(outputs["validation/counts"], dtype=np.float64)
        rows = np.asarray(outputs["validation/examples"])
        order = np.argsort(rows, kind="stable")
        score = np.array([[self.score_of(record)]])
        share = self.share if (trial.fold or 0) < len(self.validated) else self.inner_share
        return RunScores(score, counts[order][None], share, self.together(rows[order].tolist()))

    def runs(self, trials: Mapping[Place, Trial], records: Mapping[Place, Mapping[str, Any]]) -> RunScores:
        """Scores and counts of runs, in one order of the examples; NaN where a run diverged.

        Args:
            trials: by place; every seed on the same folds, from the first on.
            records: of the same places.
        """
        seeds = sorted({seed for seed, _ in trials})
        folds = 1 + max(fold for _, fold in trials)
        rows = self.rows(folds)
        place = {example: i for i, example in enumerate(rows)}
        scores = np.full((len(seeds), folds), np.nan)
        counts: np.ndarray | None = None
        for (seed, fold), trial in trials.items():
            record, outputs = records[seed, fold], self.outputs(trial)
            some = outputs["validation/counts"]
            if counts is None:
                counts = np.full((len(seeds), len(rows), some.shape[1]), np.nan)
            at = seeds.index(seed)
            scores[at, fold] = self.score_of(record)
            if record["state"] == "done":
                counts[at, [place[i] for i in outputs["validation/examples"]]] = some
        assert counts is not None, "an arm has at least one run"
        return RunScores(scores, counts, self.share, self.together(rows))


def score_of(record: Mapping[str, Any], metric: str) -> float:
    """A record's validation score; NaN where the run diverged or nothing was validated."""
    if record["state"] != "done" or "validation" not in record["scores"]:
        return float("nan")
    return float(record["scores"]["validation"][metric])
