"""The space that random search and TPE draw an arm's settings from: its own ranges, its own choices."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from unfreeze.compare.overrides import Overrides
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.engine.settings import TrainingSettings, range_for
from unfreeze.strategies import Search

Point = Mapping[str, float]
"""A place in a space: by dimension a value of its range, or the number of a choice."""

HEAD, EPOCHS = "head", "share of epochs"
"""The dimensions that are no training settings."""


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from low to high, both included, drawn evenly on a log scale.

    Attributes:
        low: the least, above 0.
        high: the greatest, above the least.
    """

    low: float
    high: float

    def at(self, share: float) -> float:
        """The number this share of the way from low to high, on a log scale, with three digits."""
        return self.rounded(self.low * (self.high / self.low) ** share)

    def rounded(self, number: float) -> float:
        """A number with three digits, within the range."""
        return min(self.high, max(self.low, float(f"{number:.3g}")))

    def share(self, number: float) -> float:
        """How far of the way from low to high a number lies, on a log scale."""
        return math.log(number / self.low) / math.log(self.high / self.low)


@dataclass(frozen=True, slots=True)
class Choices:
    """Values to choose among, the most likely first."""

    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Space:
    """Where an arm's settings are drawn from.

    Attributes:
        dimensions: what is drawn, by name.
        heads: heads to choose among, the standard one first.
        base: the settings of what is not drawn.
        search: the strategy's own; its least number of steps decides the number of epochs.
        features: training features of a trial, from which follow its steps; None where the user chose the epochs.
    """

    dimensions: Mapping[str, Range | Choices]
    heads: tuple[HeadSettings, ...]
    base: TrainingSettings
    search: Search
    features: int | None

    @property
    def first(self) -> dict[str, float]:
        """The most likely point: the middle of the rates, the first of all choices."""
        return {name: self.base.learning_rate if isinstance(d, Range) else 0 for name, d in self.dimensions.items()}

    @property
    def rates(self) -> Range | None:
        """The range of learning rates; None where they are fixed or listed."""
        dimension = self.dimensions.get("learning_rate")
        return dimension if isinstance(dimension, Range) else None

    def settings(self, point: Point) -> tuple[HeadSettings, TrainingSettings]:
        """The head and the training settings at a point."""
        values: dict[str, Any] = {
            name: point[name] if isinstance(dimension, Range) else dimension.values[int(point[name])]
            for name, dimension in self.dimensions.items()
        }
        if "optim" in values and self.rates is not None:
            values["learning_rate"] = self._rate_with(values["optim"], values["learning_rate"])
        head, share = values.pop(HEAD, self.heads[0]), values.pop(EPOCHS, 1.0)
        settings = replace(self.base, **values)
        if self.features is None:
            return head, settings
        epochs = epochs_of(self.search, settings, features=self.features, share=share)
        return head, replace(settings, num_train_epochs=epochs)

    def rates_with(self, optim: str) -> Range | None:
        """The range of learning rates with an optimizer; None where they are fixed or listed."""
        low_high = search_with(self.search, optim).learning_rate
        return None if self.rates is None or low_high is None else Range(*low_high)

    def _rate_with(self, optim: str, rate: float) -> float:
        """A rate drawn for the usual optimizer, as far along the range of another."""
        drawn, own = self.rates, self.rates_with(optim)
        if optim == self.base.optim or drawn is None or own is None:
            return rate
        return own.at(drawn.share(rate))

    def points(self) -> list[Point] | None:
        """All points, the most likely first; None where a range has too many to name."""
        choices = [range(len(d.values)) for d in self.dimensions.values() if isinstance(d, Choices)]
        if len(choices) < len(self.dimensions):
            return None
        return [dict(zip(self.dimensions, numbers, strict=True)) for numbers in product(*choices)]

    @property
    def longest(self) -> int:
        """The most epochs that a point has."""
        choices = {name: d for name, d in self.dimensions.items() if name in _OF_EPOCHS and isinstance(d, Choices)}
        numbers = product(*(range(len(d.values)) for d in choices.values()))
        points = ({**self.first, **dict(zip(choices, some, strict=True))} for some in numbers)
        return max(self.settings(point)[1].num_train_epochs for point in points)


_OF_EPOCHS = ("per_device_train_batch_size", "num_train_epochs", EPOCHS)
"""The dimensions from which a trial's epochs follow."""


def search_with(search: Search, optim: str) -> Search:
    """A strategy's own search, with the learning rates that suit an optimizer."""
    return replace(search, learning_rate=range_for(optim, search.learning_rate))


def epochs_of(search: Search, settings: TrainingSettings, *, features: int, share: float = 1.0) -> int:
    """The epochs of a trial: a share of what the strategy asks for, but never fewer steps than it needs.

    Args:
        search: the strategy's own.
        settings: their batch size decides how many steps an epoch has.
        features: training features.
        share: of the strategy's number of epochs.
    """
    steps = settings.steps_per_epoch(features)
    return max(math.ceil(share * search.num_train_epochs), math.ceil(search.min_steps / steps), 1)


def space_of(
    search: Search, *, heads: tuple[HeadSettings, ...], base: TrainingSettings, overrides: Overrides, features: int
) -> Space:
    """A strategy's own space, but for what the user fixed; what the user listed is chosen among the list.

    Args:
        search: the strategy's own; it has learning rates.
        heads: to choose among.
        base: the settings at the most likely point.
        overrides: what the user said.
        features: training features of a trial.
    """
    low_high = search_with(search, base.optim).learning_rate
    assert low_high is not None, "an arm that learns nothing draws no settings"
    own: dict[str, Range | Choices] = {
        HEAD: Choices(heads),
        "learning_rate": Range(*low_high),
        "per_device_train_batch_size": Choices(search.batch_sizes),
        "weight_decay": Choices(search.weight_decays),
        "warmup_steps": Choices(search.warmup_shares),
        EPOCHS: Choices(search.epoch_shares),
    }
    free = {name: dimension for name, dimension in own.items() if not overrides.says(name)}
    free |= {name: Choices(values) for name, values in overrides.lists.items()}
    chosen = overrides.says("num_train_epochs")
    if chosen or not _shares_differ(search, free, base, features):
        del free[EPOCHS]
    several = {name: d for name, d in free.items() if isinstance(d, Range) or len(d.values) > 1}
    return Space(several, heads, base, search, None if chosen else features)


def _shares_differ(search: Search, free: Mapping[str, Any], base: TrainingSettings, features: int) -> bool:
    """Whether fewer epochs than the strategy asks for are enough at any batch size: with few rows they are not."""
    name = "per_device_train_batch_size"
    sizes = free[name].values if name in free else (base.per_device_train_batch_size,)
    of_sizes = [replace(base, per_device_train_batch_size=size) for size in sizes]
    return any(
        len({epochs_of(search, settings, features=features, share=share) for share in search.epoch_shares}) > 1
        for settings in of_sizes
    )
