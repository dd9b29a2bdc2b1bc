"""What a user may choose about a comparison, checked before anything is read."""

import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from unfreeze.errors import MissingExtra, SettingsError

CACHE_BYTES = 2_000_000_000
"""What hidden states may take on disk unless the user says otherwise."""

USUAL_RATES = 3
"""Learning rates of the usual grid."""

LAST_SEED = 2**32 - 1
"""What numpy and scikit-learn take."""


@dataclass(frozen=True)
class Options:
    """What a user may choose about a comparison; ``unfreeze.compare`` says what each means.

    Attributes:
        memory_bytes: what all processes of the comparison may take together; None for what is free.
        numbers: the number that the report shows beside an arm, by the arm's name.
        cache_bytes: what hidden states may take on disk; 0 to keep none there.

    Raises:
        SettingsError: values outside what they may be, or that do not go together; all of them at once.
        MissingExtra: what the search needs is not installed.
    """

    text_column: str | None = None
    label_column: str | None = None
    group_column: str | None = None
    task: str | None = None
    model: str | None = None
    strategies: tuple[str, ...] | None = None
    budget_seconds: float | None = None
    seeds: int | None = None
    folds: int | None = None
    tuning: int = USUAL_RATES
    search: str = "grid"
    trials: int | None = None
    race: bool = True
    nested: bool = False
    seed: int = 0
    margin: float = 0.01
    prefer: Literal["score", "cheap"] = "score"
    settings: Mapping[str, Any] = field(default_factory=dict)
    max_dropped: float = 0.1
    threads: int | None = None
    workers: int | None = None
    memory_bytes: int | None = None
    precision: str = "auto"
    output_dir: Path | None = None
    command: str | None = None
    numbers: Mapping[str, int] = field(default_factory=dict)
    cache_bytes: int = CACHE_BYTES
    cache_dir: Path | None = None

    def __post_init__(self) -> None:
        more = max(0, (self.seeds or 3) - 1)
        checks = (
            ("seeds", "at least 1", self.seeds is None or self.seeds >= 1),
            ("folds", "at least 1", self.folds is None or self.folds >= 1),
            ("tuning", "at least 0", self.tuning >= 0),
            ("search", "'grid', 'random' or 'tpe'", self.search in ("grid", "random", "tpe")),
            ("trials", "at least 1", self.trials is None or self.trials >= 1),
            ("workers", "at least 1", self.workers is None or self.workers >= 1),
            ("memory_bytes", "above 0", self.memory_bytes is None or self.memory_bytes > 0),
            ("seed", f"between 0 and {LAST_SEED:,}, and so all that follow it", 0 <= self.seed <= LAST_SEED - more),
            ("margin", "a fraction between 0 and 1, such as 0.01 for one point", 0 < self.margin < 1),
            ("prefer", "'score' or 'cheap'", self.prefer in ("score", "cheap")),
            ("max_dropped", "a fraction between 0 and 1", 0 <= self.max_dropped <= 1),
            ("cache_bytes", "at least 0", self.cache_bytes >= 0),
            ("strategies", "at least one", self.strategies is None or len(self.strategies) > 0),
        )
        wrong = [
            f"{name} must be {expected}; got {getattr(self, name)!r}" for name, expected, right in checks if not right
        ]
        wrong += self._at_odds()
        if wrong:
            raise SettingsError("; ".join(wrong))
        if self.search == "tpe" and importlib.util.find_spec("optuna") is None:
            raise MissingExtra("search", "for the search 'tpe'")

    def _at_odds(self) -> Iterator[str]:
        """What was chosen of the search and does not go together."""
        if self.search == "grid" and self.trials is not None:
            yield (
                "trials are for a search that draws settings, and a grid tries all of its own; leave --trials away, "
                "choose the number of learning rates (--tuning 5), or draw settings (--search random)"
            )
        if self.search in ("random", "tpe") and self.tuning != USUAL_RATES:
            yield (
                f"tuning is the number of a grid's learning rates, and the search {self.search!r} draws them; leave "
                "--tuning away, and choose the number of trials instead (--trials 8)"
            )
        listed = [name for name, value in self.settings.items() if isinstance(value, (list, tuple)) and len(value) > 1]
        if listed and self.tuning == 0:
            yield f"tuning 0 searches nothing, but {listed[0]} lists values to choose among; leave one of the two away"


def seconds_of(budget: str | float | None) -> float | None:
    """A budget such as "90s", "15m" or "2h", or a number of seconds, in seconds.

    Raises:
        SettingsError: it is none of these.
    """
    if budget is None or budget == "none":
        return None
    try:
        number, unit = (budget, "s") if isinstance(budget, (int, float)) else (budget[:-1], budget[-1:])
        seconds = float(number) * {"s": 1, "m": 60, "h": 3600}[unit]
    except (KeyError, ValueError):
        seconds = 0.0
    if not seconds > 0:
        raise SettingsError(f"a budget is a time such as 90s, 15m or 2h; got {budget!r}")
    return seconds


def bytes_of(size: str | int) -> int:
    """A size such as "500MB", "2GB" or "1.5GiB", or a number of bytes, in bytes.

    Raises:
        SettingsError: it is none of these.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?(?:([KMGT])(I?)B?|B)?", str(size).strip().upper())
    if found is None:
        raise SettingsError(f"a size is a number of bytes such as 500MB or 2GB, 0 for none; got {size!r}")
    number, letter, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** " KMGT".index(letter or " "))
