"""What a strategy is, and the register of them."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar, runtime_checkable

from unfreeze.encoders.outline import Outline
from unfreeze.errors import SettingsError, UnknownName
from unfreeze.plan import Plan

if TYPE_CHECKING:
    from unfreeze.encoders.loading import Encoder


@dataclass(frozen=True, slots=True)
class Search:
    """Where a strategy is at its best, so that it is never compared starved.

    Attributes:
        learning_rate: lowest and highest rate worth trying with AdamW, both included; None where nothing learns by
            gradient.
        num_train_epochs: passes over the training rows, an upper bound: early stopping keeps the best.
        min_steps: optimizer steps below which the strategy counts as starved; few rows get more passes instead.
        reads_layers: whether its head may read several layers (it pays for a frozen encoder and hurts a tuned one:
            Peters, Ruder & Smith 2019, arXiv:1903.05987, section 4).
        floor: a floor shows what the others must beat; it is tried once and never handed over.
        priority: where the budget is short, strategies of a lower number are kept first.
        kind: of the tasks that it is for, "sequence" or "token"; None for all.
        by_default: whether it is compared where the user names no strategies; others are named, or all are.
        batch_sizes: what random search and TPE choose among, the usual first, as in the next three (Devlin et al. 2019,
            arXiv:1810.04805, section A.3).
        weight_decays: likewise (from none to that of Liu et al. 2019, arXiv:1907.11692, table 10).
        warmup_shares: likewise, shares of all steps (the least is that of the same table).
        epoch_shares: likewise, shares of ``num_train_epochs``; never so few that ``min_steps`` are not reached.
    """

    learning_rate: tuple[float, float] | None
    num_train_epochs: int
    min_steps: int = 200
    reads_layers: bool = False
    floor: bool = False
    priority: int = 50
    kind: Literal["sequence", "token"] | None = None
    by_default: bool = False
    batch_sizes: tuple[int, ...] = (16, 32)
    weight_decays: tuple[float, ...] = (0.01, 0.0, 0.1)
    warmup_shares: tuple[float, ...] = (0.1, 0.06, 0.2)
    epoch_shares: tuple[float, ...] = (1.0, 0.5)

    def rates(self, number: int) -> tuple[float, ...]:
        """``number`` rates spread evenly (on a log scale) over the range, the middle ones first.

        One rate is the middle of the range; two lie a quarter of the range from its ends; three and more reach both
        ends, so that a best rate at an end can be recognised as the edge of the range.
        """
        if self.learning_rate is None:
            return ()
        low, high = (math.log(rate) for rate in self.learning_rate)
        places = {1: [0.5], 2: [0.25, 0.75]}.get(number) or [i / (number - 1) for i in range(number)]
        places.sort(key=lambda place: (abs(place - 0.5), place))
        return tuple(float(f"{math.exp(low + place * (high - low)):.2g}") for place in places)


@runtime_checkable
class Strategy(Protocol):
    """Settings that turn the outline of a model into a plan: pure, no torch, no optimizer, no callback.

    A strategy that adds modules to the model also has ``install(model, *, encoder, seed)``, called once, before the
    outline is read; its plans must do with an outline without these modules, too. If what is handed over shall be
    another model than the one that learned, it has ``merge(model)``, called on a copy, which gives that; and where what
    it added can be stored apart, ``save_part(model, *, folder, base)``, which gives the line of code that loads it.
    """

    name: ClassVar[str]
    search: ClassVar[Search]

    def plan(self, outline: Outline) -> Plan:
        """Who learns, and when, on a model with this outline."""
        ...


ALL = "all"
"""Stands for every strategy that suits the task."""

S = TypeVar("S", bound=type)
STRATEGIES: dict[str, type[Strategy]] = {}


def strategy(name: str, search: Search) -> Callable[[S], S]:
    """Register a strategy under the name that users write, with its honest search range."""

    def register(cls: S) -> S:
        if name in STRATEGIES:
            raise ValueError(f"two strategies are named {name!r}: {STRATEGIES[name].__module__} and {cls.__module__}")
        cls.name = name  # type: ignore[attr-defined]
        cls.search = search  # type: ignore[attr-defined]
        STRATEGIES[name] = cls
        return cls

    return register


def strategy_named(spelling: str) -> Strategy:
    """The strategy that a user spells ``name`` or ``name:setting=value,setting=value``, such as ``last-k:k=4``.

    Raises:
        UnknownName: no strategy, or no setting of it, has that name.
        SettingsError: a value is of the wrong type.
    """
    name, _, settings = spelling.partition(":")
    if name not in STRATEGIES:
        raise UnknownName("strategy", name, STRATEGIES)
    made = STRATEGIES[name]()
    known: dict[str, Any] = {field.name: getattr(made, field.name) for field in fields(made)}  # type: ignore[arg-type]
    changes: dict[str, Any] = {}
    for item in filter(None, settings.split(",")):
        key, _, value = item.partition("=")
        if key not in known:
            raise UnknownName(f"setting of {name}", key, known) if known else SettingsError(f"{name} has no settings")
        try:
            changes[key] = type(known[key])(value)
        except ValueError:
            expected = type(known[key]).__name__
            raise SettingsError(f"{name}: {key} takes a value like {known[key]} ({expected}); got {value!r}") from None
    return replace(made, **changes)  # type: ignore[type-var]


def install(strategy: Strategy, model: Any, *, encoder: "Encoder", seed: int) -> tuple[str, ...]:
    """Let a strategy add its modules to a model, if it adds any.

    Args:
        strategy: which.
        model: as it was built; changed in place.
        encoder: that it was built from.
        seed: of new weights.

    Returns:
        The names of the parameters that are new.
    """
    if not adds_modules(strategy):
        return ()
    kept = list(model.parameters())  # some may have another name afterwards
    strategy.install(model, encoder=encoder, seed=seed)  # type: ignore[attr-defined]
    known = {id(parameter) for parameter in kept}
    return tuple(name for name, parameter in model.named_parameters() if id(parameter) not in known)


def adds_modules(strategy: Strategy) -> bool:
    """Whether a strategy adds modules to the model."""
    return hasattr(strategy, "install")


def merged(strategy: Strategy, model: Any) -> Any:
    """The model to hand over: with what a strategy added folded in, or in a class that can hold it.

    Args:
        strategy: which.
        model: trained; left as it is, because folding in and out again would move frozen weights.
    """
    return strategy.merge(copy.deepcopy(model).float()) if hasattr(strategy, "merge") else model


def save_part(strategy: Strategy, model: Any, *, folder: Path, base: str) -> str | None:
    """Write what a strategy added to the model, and the head, without the encoder.

    Args:
        strategy: which.
        model: trained, and not merged.
        folder: made here, where there is something to write.
        base: what it belongs to: the encoder's name or folder.

    Returns:
        The line of code that loads it from the last two parts of ``folder``; None where there is nothing to store
        apart.
    """
    return strategy.save_part(model, folder=folder, base=base) if hasattr(strategy, "save_part") else None


def spelling_of(strategy: Strategy) -> str:
    """How a user would spell this strategy: its name, and the settings that are not the default ones."""
    usual = type(strategy)()
    own = [f.name for f in fields(strategy)]  # type: ignore[arg-type]
    changed = [f"{n}={getattr(strategy, n)}" for n in own if getattr(strategy, n) != getattr(usual, n)]
    return strategy.name + (":" + ",".join(changed) if changed else "")
