"""What each arm gave, and how its runs become scores and counts that can be compared."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
        tried: the ledger's records of all its trials, those of the search and those of the runs.
        chosen: the best of them; its settings are those of all runs.
        records: the ledger's records of the runs, by (seed, fold).
        runs: scores and counts, for the verdict.
        failed: why there is no result, if there is none.
        left: why it left the race before its end, if it did; it takes no part in the verdict then.
        shortened: why fewer settings were tried than its search has, if so.
    """

    arm: Arm
    tuning: dict[Trial, float] = field(default_factory=dict)
    tried: dict[Trial, dict[str, Any]] = field(default_factory=dict)
    chosen: Trial | None = None
    records: dict[Place, dict[str, Any]] = field(default_factory=dict)
    runs: RunScores | None = None
    failed: str | None = None
    left: str | None = None
    shortened: str | None = None

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds that were run on all folds that any seed was run on, rising."""
        folds = {fold for _, fold in self.records}
        return tuple(
            sorted(s for s in {seed for seed, _ in self.records} if all((s, f) in self.records for f in folds))
        )


@dataclass(frozen=True, slots=True)
class Tables:
    """Turns records into what statistics read.

    Attributes:
        metric: the primary metric's name, as records have it.
        validated: the rows that each fold validates on.
        share: validation rows / training rows of a fold.
        outputs: a completed trial's counts by split, and the examples that they belong to.
        together: which of some examples belong together; None where each stands alone.
    """

    metric: str
    validated: Sequence[Sequence[int]]
    share: float
    outputs: Callable[[Trial], Mapping[str, np.ndarray]]
    together: Callable[[Sequence[int]], Clusters | None] = lambda _: None

    def score_of(self, record: Mapping[str, Any]) -> float:
        """A record's validation score; NaN where the run diverged or nothing was validated."""
        return score_of(record, self.metric)

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
        return RunScores(score, counts[order][None], self.share, self.together(rows[order].tolist()))

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
