"""The rules by which arms are judged; listed at the head of the package."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING, Literal

from unfreeze.recommend.verdict import (
    NO_COMMON_RUN,
    Arm,
    Cheapest,
    Comparison,
    PairVerdict,
    Recommendation,
    RestsOn,
    Verdict,
)
from unfreeze.recommend.wording import in_short, sentences

if TYPE_CHECKING:
    from unfreeze.compare.statistics import Difference, RunScores, Score


def recommend(
    arms: Sequence[Arm],
    score: "Score",
    *,
    metric: str,
    margin: float = 0.01,
    prefer: Literal["score", "cheap"] = "score",
    level: float = 0.95,
    seed: int = 0,
) -> Recommendation:
    """Judge a comparison: verdict, reasons, and the arm to hand over.

    Args:
        arms: all arms, floors included, with runs over the same folds and examples; in any order.
        score: summed counts of shape (..., counts) to scores of shape (...).
        metric: its name, for the sentences.
        margin: half the width of a tie, a fraction.
        prefer: where nothing is settled, hand over the best by "score" or the "cheap"-est not shown to be worse.
        level: the confidence level of each family of comparisons (with the rivals, with the floors).
        seed: of the bootstrap.

    Returns:
        The recommendation; the same for the same arms in any order.

    Raises:
        ValueError: two arms of one name, a negative margin, or arms that do not pair up.
    """
    if len({arm.name for arm in arms}) != len(arms) or not margin >= 0:
        raise ValueError(f"arm names are unique and the margin is 0 or more; got {[a.name for a in arms]}, {margin}")
    ranked = _ranked(arms, score)
    made = _common(arms, metric, margin, tuple((arm.name, value) for value, arm in ranked))
    candidates = [arm for _, arm in ranked if not arm.floor]
    if candidates:
        judge = _Judge(candidates[0], score, margin, seed)
        floors = [arm for _, arm in ranked if arm.floor]
        # The best was picked from the same scores, so a level has to hold for whatever had been best: for all pairs of
        # arms; and for each floor with every arm that might lie above it (half a comparison, being one-sided) and with
        # the one that might lie below it (another half).
        # Those that left a race on the way might have been the best as well.
        many = len(candidates) + sum(arm.state == "left" and not arm.floor for arm in arms)
        arms_apart = judge.all(candidates[1:], level, family=many * (many - 1) / 2)
        floors_apart = judge.all(floors, level, family=len(floors) * (many + 1) / 2)
        made = _settled(made, candidates, arms_apart, floors_apart, cheap=prefer == "cheap")
    return replace(made, sentences=sentences(made), in_short=in_short(made))


def _settled(
    common: Recommendation,
    candidates: Sequence[Arm],
    pairs: tuple[Comparison, ...],
    floors: tuple[Comparison, ...],
    *,
    cheap: bool,
) -> Recommendation:
    """The verdict and the choice, from the best (first of the candidates) against each of the others."""
    best, rivals = candidates[0], candidates[1:]
    verdict = _verdict(rivals, pairs)
    equals = [best, *(rival for rival, pair in zip(rivals, pairs, strict=True) if _not_worse(rival, pair, verdict))]
    cheapest = min(equals, key=lambda arm: arm.cost)
    take_cheapest = verdict == "tie" or (verdict == "not settled" and cheap)
    return replace(
        common,
        verdict=verdict,
        best=best.name,
        chosen=(cheapest if take_cheapest else best).name,
        rivals=pairs,
        floors=floors,
        floors_not_worse=tuple(pair.rival for pair in floors if not pair.interval.low > 0),
        rests_on=_rests_on(best),
        examples_needed=_needed(rivals, pairs) if verdict == "not settled" else None,
        cheapest=next(
            (Cheapest(pair.rival, pair.interval.high) for pair in pairs if pair.rival == cheapest.name), None
        ),
    )


def _ranked(arms: Sequence[Arm], score: "Score") -> list[tuple[float, Arm]]:
    """Arms with a selection score, best first; equal scores by what must be stored, then by name: no clock decides."""
    from unfreeze.compare.statistics import selection_score

    values = [(selection_score(arm.runs, score), arm) for arm in arms if arm.runs is not None and arm.state == "done"]
    finite = [(value, arm) for value, arm in values if isfinite(value)]
    return sorted(finite, key=lambda p: (-round(p[0], 12), p[1].stored_bytes, p[1].name))


def _common(arms: Sequence[Arm], metric: str, margin: float, scores: tuple[tuple[str, float], ...]) -> Recommendation:
    """What can be said of any comparison, judged or not."""
    scored = {name for name, _ in scores}
    lost = [arm for arm in arms if arm.name not in scored]
    partly = [(a.name, a.runs.failed_runs, a.runs.scores.size) for a in arms if a.runs is not None and a.name in scored]
    return Recommendation(
        verdict="no arm",
        metric=metric,
        margin=margin,
        best=None,
        chosen=None,
        scores=scores,
        costs=tuple(sorted((a.name, a.train_seconds) for a in arms if a.name in scored and not a.floor)),
        starved=tuple(sorted((a.name, a.starved) for a in arms if a.starved is not None and not a.floor)),
        dropped=tuple(sorted((a.name, a.reason or "every run failed") for a in lost)),
        degenerate=tuple(sorted(part for part in partly if part[1])),
    )


@dataclass(frozen=True, slots=True)
class _Judge:
    """Compares the best arm with others."""

    best: Arm
    score: "Score"
    margin: float
    seed: int

    def all(self, others: Sequence[Arm], level: float, *, family: float) -> tuple[Comparison, ...]:
        """The best against each of the others, at a level that holds for a family of comparisons at once."""
        from unfreeze.compare.statistics import holm

        shared_level = 1 - (1 - level) / max(1.0, family)
        differences = [self._difference(other, shared_level) for other in others]
        adjusted = holm([difference.p_value for difference in differences], family=family)
        parts = zip(others, differences, adjusted, strict=True)
        return tuple(self._comparison(other, difference, p) for other, difference, p in parts)

    def _difference(self, other: Arm, level: float) -> "Difference":
        from unfreeze.compare.statistics import Difference, Interval, have_common_run, paired_difference

        best, runs = _runs(self.best), _runs(other)
        if other.floor:
            runs = runs.repeated(best.seeds)
        if have_common_run(best, runs):
            return paired_difference(best, runs, score=self.score, level=level, seed=self.seed)
        return Difference(0.0, Interval(-1.0, 1.0, level, NO_COMMON_RUN), 1.0, NO_COMMON_RUN, 0, 0, "runs")

    def _comparison(self, other: Arm, difference: "Difference", adjusted: float) -> Comparison:
        from unfreeze.compare.statistics import examples_needed

        verdict, note = self._verdict(other, difference)
        needed = None
        if verdict == "not settled" and not note:
            needed = examples_needed(difference, self.margin, n=difference.examples)  # by the width before clipping
        interval = difference.interval.clipped(-1.0, 1.0)
        return Comparison(other.name, difference.mean, interval, adjusted, verdict, needed, note)

    def _verdict(self, other: Arm, difference: "Difference") -> tuple[PairVerdict, str]:
        """The verdict over one other arm; "not settled" where something stands against what the figures say."""
        low, high = difference.interval.low, difference.interval.high
        figures: PairVerdict = "not settled"
        if low > 0:
            figures = "better"
        elif -self.margin <= low and high <= self.margin:
            figures = "tie"
        note = self._objection(other, difference.runs, figures)
        return ("not settled" if note else figures), note

    def _objection(self, other: Arm, runs: int, figures: PairVerdict) -> str:
        """Why nothing may be said of this pair, or not what the figures say; empty where nothing stands against it."""
        failed, other_failed = _runs(self.best).failed_runs, _runs(other).failed_runs
        said, tie = figures != "not settled", figures == "tie"
        objections = [
            (other.starved is not None and not other.floor, f"{other.name} is starved: {other.starved}"),
            (runs == 0, f"{self.best.name} and {other.name} have no finished run in common"),
            (runs == 1, "one run cannot show training noise"),
            (said and failed > 0, f"{self.best.name} failed in {failed} of its runs"),
            (tie and self.best.starved is not None, f"{self.best.name} is starved: {self.best.starved}"),
            (tie and other_failed > 0, f"{other.name} failed in {other_failed} of its runs"),
        ]
        return next((text for holds, text in objections if holds), "")


def _verdict(rivals: Sequence[Arm], pairs: Sequence[Comparison]) -> Verdict:
    """Starved rivals have no part in the verdict, unless there are no others."""
    if not rivals:
        return "only one arm"
    judged = {pair.verdict for rival, pair in zip(rivals, pairs, strict=True) if rival.starved is None}
    if not judged or "not settled" in judged:
        return "not settled"
    return "tie" if "tie" in judged else "better"


def _not_worse(rival: Arm, pair: Comparison, verdict: Verdict) -> bool:
    """Whether a rival may be handed over in the place of the best."""
    if _runs(rival).failed_runs:
        return False
    return pair.verdict == "tie" if verdict == "tie" else not pair.interval.low > 0


def _runs(arm: Arm) -> "RunScores":
    if arm.runs is None:
        raise ValueError(f"{arm.name} has no runs to compare")
    return arm.runs


def _rests_on(best: Arm) -> RestsOn:
    runs = _runs(best)
    rests = RestsOn(runs.seeds, runs.folds, runs.examples, runs.failed_runs)
    return rests if runs.clusters is None else replace(rests, units=runs.clusters.many, unit=runs.clusters.noun)


def _needed(rivals: Sequence[Arm], pairs: Sequence[Comparison]) -> int | None:
    """Examples that would settle every open pair that counts; None where one of them needs something else."""
    counted = [pair for rival, pair in zip(rivals, pairs, strict=True) if rival.starved is None]
    needs = [pair.examples_needed for pair in counted if pair.verdict == "not settled"]
    known = [needed for needed in needs if needed is not None]
    return max(known) if known and len(known) == len(needs) else None
