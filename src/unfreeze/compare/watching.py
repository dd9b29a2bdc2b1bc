"""How a comparison reports while it runs, and is told to stop. Whoever shows something overrides what it needs."""

from collections.abc import Mapping
from typing import Any


class Watcher:
    """Told what happens; by itself it is silent and never stops anything."""

    def said(self, text: str) -> None:
        """A sentence for the user: what was recognised, what was dropped."""

    def planned(self, plan: Mapping[str, Any]) -> None:
        """The plan with its price, before anything is trained."""

    def began(self, arm: str, doing: str) -> None:
        """An arm starts a trial; ``doing`` says which, such as "tuning 2 of 4"."""

    def progressed(self, arm: str, fraction: float) -> None:
        """A trial has done this fraction of its schedule, in [0, 1]."""

    def scored(self, arm: str, score: float) -> None:
        """A validation score came in, as a fraction."""

    def ended(self, arm: str, record: Mapping[str, Any]) -> None:
        """A trial is done, or was found in the ledger."""

    def left(self, arm: str, why: str) -> None:
        """An arm has left the race, or does not start."""

    def stop(self) -> bool:
        """Whether to stop at the next step, with a checkpoint."""
        return False
