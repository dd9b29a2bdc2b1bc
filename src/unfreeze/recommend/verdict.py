"""A verdict as data: what arms scored and cost, and what their comparison allows to be said."""

from dataclasses import asdict, dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from unfreeze.compare.statistics import Interval, RunScores

Verdict = Literal["better", "tie", "not settled", "only one arm", "no arm"]
PairVerdict = Literal["better", "tie", "not settled"]

NO_COMMON_RUN = "no finished run in common"
"""Basis of the interval between two arms of which nothing can be said: it holds every difference."""


@dataclass(frozen=True, slots=True)
class Arm:
    """What one arm (a strategy on an encoder) scored and cost.

    Attributes:
        name: as shown to the user; unique in a comparison.
        runs: what it scored; None where it never ran.
        floor: whether it only shows what the others must beat.
        starved: why it was not at its best; None where it was.
        train_seconds: training time of one run of it.
        stored_bytes: size of what must be stored for it.
        predict_seconds: time for 1,000 examples.
        state: "done", "dropped" (the budget did not allow it), "left" (it fell behind in the race) or "failed".
        reason: why it was dropped, left or failed.
    """

    name: str
    runs: "RunScores | None"
    floor: bool = False
    starved: str | None = None
    train_seconds: float = 0.0
    stored_bytes: int = 0
    predict_seconds: float = 0.0
    state: Literal["done", "dropped", "left", "failed"] = "done"
    reason: str = ""

    @property
    def cost(self) -> tuple[float, float, float, str]:
        """What decides between tied arms: training seconds, stored bytes, prediction time, then the name."""
        return (self.train_seconds, self.stored_bytes, self.predict_seconds, self.name)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The best arm against one other.

    Attributes:
        rival: the other arm's name.
        difference: best minus rival, a fraction.
        interval: where the difference lies, within ±1; wide enough to hold together with all the others.
        p_value: two-sided, Holm-adjusted over all comparisons that might have been these, had another arm been best.
        verdict: "better" (the best is), "tie" or "not settled".
        examples_needed: scored examples that would settle this pair (documents or groups, where ``RestsOn`` counts
            these); None where examples would not, or it is settled.
        note: why it is not settled although the figures may look so; empty otherwise.
    """

    rival: str
    difference: float
    interval: "Interval"
    p_value: float
    verdict: PairVerdict
    examples_needed: int | None
    note: str


@dataclass(frozen=True, slots=True)
class RestsOn:
    """How much evidence a verdict rests on: the best arm's seeds, folds, scored examples, and runs that failed.

    Where examples belong together, they were resampled in ``units`` of them, each called a ``unit``, such as
    "document"; None where examples stand alone.
    """

    seeds: int
    folds: int
    examples: int
    failed_runs: int
    units: int | None = None
    unit: str = "example"


@dataclass(frozen=True, slots=True)
class Cheapest:
    """The cheapest arm not shown to be worse, and how far below the best its score may lie (a fraction)."""

    name: str
    risk: float


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What a comparison allows to be said.

    Attributes:
        verdict: "better", "tie", "not settled"; "only one arm", or "no arm" where nothing can be handed over.
        metric: the metric of the scores.
        margin: half the width of a tie, a fraction.
        best: the arm with the best selection score; None where no arm finished.
        chosen: the arm to hand over; None where no arm finished.
        scores: selection score of each arm that has one, a fraction, best first.
        rivals: the best against each other arm that may be handed over, nearest first.
        floors: the best against each floor.
        floors_not_worse: floors not shown to be worse than the best.
        starved: (name, reason) of the arms that were not at their best.
        dropped: (name, reason) of the arms that were dropped or failed.
        degenerate: (name, number of failed runs, number of runs) of arms of which some runs failed.
        rests_on: how much evidence there is; None where no arm finished.
        examples_needed: scored examples (or units of ``rests_on``) that would settle the verdict; None where they would
            not, or it is settled.
        cheapest: the cheapest arm not shown to be worse than the best; None where that is the best itself.
        costs: (name, training seconds of one run) of the arms that may be handed over.
        sentences: the verdict in plain words, the most important first.
        in_short: the same in three sentences: the verdict, what is handed over at what cost, and what it rests on or
            what would settle it.
    """

    verdict: Verdict
    metric: str
    margin: float
    best: str | None
    chosen: str | None
    scores: tuple[tuple[str, float], ...] = ()
    rivals: tuple[Comparison, ...] = ()
    floors: tuple[Comparison, ...] = ()
    floors_not_worse: tuple[str, ...] = ()
    starved: tuple[tuple[str, str], ...] = ()
    dropped: tuple[tuple[str, str], ...] = ()
    degenerate: tuple[tuple[str, int, int], ...] = ()
    rests_on: RestsOn | None = None
    examples_needed: int | None = None
    cheapest: Cheapest | None = None
    costs: tuple[tuple[str, float], ...] = ()
    sentences: tuple[str, ...] = ()
    in_short: tuple[str, ...] = ()


def as_dict(recommendation: Recommendation) -> dict[str, Any]:
    """The recommendation as plain dicts, lists, strings and finite numbers (None for what is not finite), for JSON."""
    plain: dict[str, Any] = _plain(asdict(recommendation))
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if isfinite(value) else None
    return value
