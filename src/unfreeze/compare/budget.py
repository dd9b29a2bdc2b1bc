"""A comparison's seconds: what it has taken over all its commands, what is left, and what a trial really costs here."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf
from typing import Any

from unfreeze.compare.ledger import Ledger
from unfreeze.compare.outcomes import ArmOutcome
from unfreeze.compare.pricing import FINISHING
from unfreeze.compare.search import best_trial
from unfreeze.compare.standing import Purse
from unfreeze.compare.watching import Watcher

CAUTION = 1.1
"""A trial is expected to take this much more than those that were seen: it may not stop as early as they did."""

MOST_WAITING = 4.0
"""The end is never expected to take more times longer than this: short trials may have waited for each other."""

THREADED = 0.75
"""The last training has all threads for itself: it takes this share of what one thread takes, or less."""


class Goes:
    """The seconds of every command that worked on a comparison, kept in its ledger, so that going on adds up.

    Args:
        ledger: of the comparison.
        began: when this command began, as ``time.perf_counter`` has it; None for now.
    """

    def __init__(self, ledger: Ledger, *, began: float | None = None) -> None:
        self._ledger, self._started = ledger, time.perf_counter() if began is None else began
        self._before: list[float] = ledger.decision("seconds of each go") or []

    def noted(self) -> list[float]:
        """The seconds of each go, the last until now; also written down, because a kill comes unannounced."""
        seconds = self._all()
        self._ledger.decide("seconds of each go", seconds)
        return seconds

    def spent(self) -> float:
        """Seconds of all goes until now."""
        return sum(self._all())

    def _all(self) -> list[float]:
        return [*self._before, time.perf_counter() - self._started]


class Limited(Watcher):
    """A watcher that also stops the trials when the budget is spent; all else is passed on.

    Args:
        watcher: who is told, and may stop.
        left: seconds that are left of the budget for trials.
    """

    def __init__(self, watcher: Watcher, *, left: Callable[[], float]) -> None:
        self._watcher, self._left = watcher, left
        self.said, self.planned, self.began = watcher.said, watcher.planned, watcher.began  # type: ignore[method-assign]
        self.progressed, self.scored, self.ended = watcher.progressed, watcher.scored, watcher.ended  # type: ignore[method-assign]
        self.left = watcher.left  # type: ignore[method-assign]

    @property
    def ran_out(self) -> bool:
        """Whether it is the budget that stops the trials, not the user."""
        return not self._watcher.stop() and self._left() <= 0

    def stop(self) -> bool:
        """Whether the user has asked for an end, or the budget is spent."""
        return self._watcher.stop() or self._left() <= 0


class Purser:
    """Says what is left of a budget.

    Args:
        budget: seconds; None for no limit.
        spent: seconds of the comparison so far.
        prices: seconds of one trial by arm, as they were measured before any was run.
        workers: trials that run side by side.
    """

    def __init__(
        self, budget: float | None, *, spent: Callable[[], float], prices: Mapping[str, float], workers: int = 1
    ) -> None:
        self._budget, self._spent, self._prices, self._workers = budget, spent, dict(prices), workers
        self._finishing = FINISHING

    def left(self) -> float:
        """Seconds left for trials, and for training the chosen arm once more."""
        return inf if self._budget is None else self._budget - self._finishing - self._spent()

    def purse(self, outcomes: Sequence[ArmOutcome]) -> Purse:
        """What is left, with the prices and the load that the trials so far have shown to be right."""
        self._finishing = FINISHING * _waiting(outcomes)
        seen = {o.arm.name: _seconds_of_its_head(o) for o in outcomes}
        known = {name: CAUTION * statistics.median(some) / self._workers for name, some in seen.items() if some}
        alone = max(1.0, THREADED * self._workers)
        return Purse(self.left(), self._prices | known, alone)


def _seconds_of_its_head(outcome: ArmOutcome) -> list[float]:
    """Seconds of an arm's trials with its best head, which those to come have, too: a BiLSTM takes many times more."""
    best = outcome.chosen or (best_trial(outcome.tuning) if outcome.tuning else None)
    own = [seconds_of(record) for trial, record in outcome.tried.items() if best is None or trial.head == best.head]
    return own or [seconds_of(record) for record in outcome.tried.values()]


def _waiting(outcomes: Iterable[ArmOutcome]) -> float:
    """How many times longer trials took than they computed: more than 1 where the machine has other work, too."""
    records = [record for outcome in outcomes for record in outcome.tried.values()]
    computed = sum(record["cpu_seconds"] for record in records)
    waited = sum(record["seconds"] for record in records) / computed if computed else 1.0
    return min(max(1.0, waited), MOST_WAITING)


def seconds_of(record: Mapping[str, Any]) -> float:
    """All seconds of a trial: its own count is of the last command alone, but that of its training of all of them."""
    return float(max(record["seconds"], record.get("train_seconds", 0.0)))
