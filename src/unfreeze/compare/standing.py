"""Where the arms of a race stand, what their further trials would cost, and whether two are still too close to call."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Literal

from unfreeze.compare.outcomes import ArmOutcome, Place, Tables
from unfreeze.compare.pricing import REFIT
from unfreeze.compare.search import best_trial
from unfreeze.compare.statistics import Difference, RunScores, Score, paired_difference, selection_score

LEVEL = 0.95
"""Of each family of comparisons, as in the verdict."""


def _shared(arms: int) -> float:
    """The level of one comparison that holds for all pairs of so many arms at once, whichever of them is the best."""
    return 1 - (1 - LEVEL) / max(1.0, arms * (arms - 1) / 2)


@dataclass(frozen=True, slots=True)
class Purse:
    """What is left of a budget.

    Attributes:
        left: seconds for trials and for training the chosen arm once more; infinite without a budget.
        prices: seconds of one trial, by arm.
        alone: how much longer a training takes that nothing runs beside, against its price.
    """

    left: float = inf
    prices: Mapping[str, float] = field(default_factory=dict)
    alone: float = 1.0

    def beside_last(self, names: Iterable[str]) -> float:
        """Seconds left for trials, beside training the dearest of some arms once more on all rows."""
        return self.left - REFIT * self.alone * max((self.prices[name] for name in names), default=0.0)

    def holds(self, trials: Mapping[str, int], *, last: Iterable[str] | None = None) -> bool:
        """Whether so many trials of each arm fit, and the dearest of some arms once more on all rows.

        Args:
            trials: how many, by arm.
            last: names of those that may be the ones trained once more; None for those of ``trials``.
        """
        if self.left == inf:
            return True
        further = sum(number * self.prices[name] for name, number in trials.items())
        return further <= self.beside_last(trials if last is None else last)


@dataclass(frozen=True, slots=True)
class Standing:
    """Compares arms by what they have given so far.

    Attributes:
        tables: turns records into scores and counts.
        score: summed counts to a score.
        margin: half the width of a tie, a fraction.
        seed: of the bootstrap.
    """

    tables: Tables
    score: Score
    margin: float
    seed: int

    def by_settings(self, outcomes: Sequence[ArmOutcome]) -> list[ArmOutcome]:
        """Best first by the best setting tried so far; arms without any score last, in the order given."""

        def best(outcome: ArmOutcome) -> float:
            return max((value for value in outcome.tuning.values() if isfinite(value)), default=-1.0)

        return sorted(outcomes, key=lambda outcome: -best(outcome))

    def by_runs(self, outcomes: Sequence[ArmOutcome]) -> list[ArmOutcome]:
        """Best first by the score that the verdict ranks by."""
        values = {id(o): selection_score(self.runs(o), self.score) for o in outcomes}
        return sorted(outcomes, key=lambda o: -(values[id(o)] if isfinite(values[id(o)]) else -1.0))

    def runs(self, outcome: ArmOutcome) -> RunScores:
        """An arm's runs so far, of the seeds that have all folds."""
        folds = {fold for _, fold in outcome.records}
        places: list[Place] = [(seed, fold) for seed in outcome.seeds for fold in sorted(folds)]
        trials = {place: outcome.run_at(place) for place in places}
        return self.tables.runs(trials, {place: outcome.records[place] for place in places})

    def behind(self, leader: ArmOutcome, other: ArmOutcome, *, among: int) -> Difference | None:
        """How far an arm's best setting lies behind the leader's; None where one of them has no score."""
        pair = []
        for outcome in (leader, other):
            trial = best_trial(outcome.tuning)
            if not isfinite(outcome.tuning[trial]):
                return None
            pair.append(self.tables.one(trial, outcome.tried[trial]))
        return paired_difference(*pair, score=self.score, level=_shared(among), seed=self.seed)

    def between(self, leader: ArmOutcome, rival: ArmOutcome, *, among: int) -> Difference:
        """How far a finalist lies behind the leader, at a level that holds for all of them at once."""
        runs = self.runs(leader), self.runs(rival)
        return paired_difference(*runs, score=self.score, level=_shared(among), seed=self.seed)

    def verdict(self, difference: Difference) -> Literal["settled", "examples", "runs"]:
        """Whether a difference is settled, and what it lacks if not: scored examples, or runs."""
        low, high = difference.interval.low, difference.interval.high
        if difference.runs < 2:
            return "runs"
        if low > 0 or high < 0 or (-self.margin <= low and high <= self.margin):
            return "settled"
        return difference.limited_by
