"""An arm: a strategy on an encoder with the settings to choose among."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from unfreeze.compare.material import Material
from unfreeze.compare.numerals import listed
from unfreeze.compare.overrides import Overrides, read_overrides
from unfreeze.compare.space import Space, epochs_of, search_with, space_of
from unfreeze.compare.trials import Trial
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.encoders.outline import Outline
from unfreeze.engine.settings import TrainingSettings
from unfreeze.errors import SettingsError
from unfreeze.plan import Plan
from unfreeze.strategies import ALL, STRATEGIES, Search, Strategy, spelling_of, strategy_named

EDGE = 0.05
"""A best rate this near to an end of its range, as a share of the whole on a log scale, lies at the edge."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """That an arm's settings are drawn, not laid out as a grid.

    Attributes:
        method: "random" or "tpe".
        trials: how many trials the search takes at the most, that of the fitted schedule among them.
        space: where the settings are drawn from.
    """

    method: str
    trials: int
    space: Space


@dataclass(frozen=True, slots=True)
class Arm:
    """A strategy with what is tried for it.

    Attributes:
        name: as a user spells it.
        strategy: what it does.
        heads: heads to choose among, the standard one first.
        rates: learning rates to choose among, the most likely one first; one that is not used where nothing learns.
            Where rates are drawn from a range, its middle alone.
        base: the settings that are not searched; of what is searched, the most likely values.
        fits_schedule: whether the search ends with a trial whose schedule is as long as the best trial needed.
        grid: the settings to choose among where the user listed values, those of ``base`` first; empty for ``rates``
            on ``base``.
        sampling: how settings are drawn; None for a grid.
        own_outline: the parts of the model with the modules that the strategy adds; None where it adds none.
    """

    name: str
    strategy: Strategy
    heads: tuple[HeadSettings, ...]
    rates: tuple[float, ...]
    base: TrainingSettings
    fits_schedule: bool = False
    grid: tuple[TrainingSettings, ...] = ()
    sampling: Sampling | None = None
    own_outline: Outline | None = None

    def outline(self, plain: Outline) -> Outline:
        """The parts of the model that it trains.

        Args:
            plain: of the model without what strategies add.
        """
        return self.own_outline or plain

    def plan(self, plain: Outline) -> Plan:
        """Who learns, and when.

        Args:
            plain: of the model without what strategies add.
        """
        return self.strategy.plan(self.outline(plain))

    @property
    def learns(self) -> bool:
        """Whether anything learns by gradient."""
        return self.strategy.search.learning_rate is not None

    @property
    def points(self) -> tuple[TrainingSettings, ...]:
        """The points of the grid, the most likely one first."""
        return self.grid or tuple(replace(self.base, learning_rate=rate) for rate in self.rates)

    @property
    def tuning_trials(self) -> int:
        """How many trials the search takes at the most."""
        if self.sampling is not None:
            return self.sampling.trials
        return len(self.points) + len(self.heads) - 1 + self.fits_schedule

    @property
    def longest(self) -> int:
        """The most epochs that a trial of the search has, that of the fitted schedule left out."""
        if self.sampling is not None:
            return self.sampling.space.longest
        return max(settings.num_train_epochs for settings in self.points)

    @property
    def rate_range(self) -> tuple[float, float] | None:
        """Lowest and highest rate, where rates are drawn from a range."""
        drawn = self.sampling.space.rates if self.sampling is not None else None
        return None if drawn is None else (drawn.low, drawn.high)

    def trial(self, head: HeadSettings, rate: float, *, seed: int, fold: int | None) -> Trial:
        """One trial of this arm, with its base settings but for the rate."""
        return self.trial_with(head, replace(self.base, learning_rate=rate), seed=seed, fold=fold)

    def trial_with(self, head: HeadSettings, settings: TrainingSettings, *, seed: int, fold: int | None) -> Trial:
        """One trial of this arm."""
        return Trial(self.name, head, replace(settings, seed=seed), fold)

    def starved(self, chosen: Trial, steps_per_epoch: int) -> str | None:
        """Why this arm was not at its best, None if it was.

        Args:
            chosen: its best trial.
            steps_per_epoch: optimizer steps in one epoch, at the batch size of ``base``.
        """
        search, settings = self.strategy.search, chosen.settings
        if search.learning_rate is None or search.floor:
            return None
        if self._at_the_edge(settings):
            return f"its best learning rate, {settings.learning_rate:g}, lies at the edge of the range that was tried"
        features = steps_per_epoch * self.base.per_device_train_batch_size
        steps = max(self.base.num_train_epochs, settings.num_train_epochs) * settings.steps_per_epoch(features)
        if steps < search.min_steps:
            return f"{steps} training steps are fewer than the {search.min_steps} it needs"
        return None

    def _at_the_edge(self, settings: TrainingSettings) -> bool:
        rate, drawn = settings.learning_rate, None
        if self.sampling is not None:
            drawn = self.sampling.space.rates_with(settings.optim)
        if drawn is not None:
            return not EDGE < drawn.share(rate) < 1 - EDGE
        return len(self.rates) > 2 and rate in (min(self.rates), max(self.rates))


def make_arms(
    names: Sequence[str] | None,
    material: Material,
    *,
    tuning: int,
    overrides: Mapping[str, Any],
    seed: int,
    search: str = "grid",
    trials: int | None = None,
) -> list[Arm]:
    """The arms of a comparison, in order of priority.

    Every arm gets the same number of tuning trials, so many that the one with the most heads tries two learning
    rates, too (one, if ``tuning`` is 1): an arm that has more heads to choose among tries fewer rates. Where the user
    fixed the rate, or listed values to choose among, a grid has all heads, all of these values, and nothing else. A
    floor that learns is tried once. With ``tuning`` 0 nothing is searched: each arm has the middle of its rates and
    the last of its linear heads, which reads the most.

    Args:
        names: strategies as the user spells them; None for the usual ones, "all" for every one that suits the task.
        material: for the task's heads and the number of training rows.
        tuning: learning rates for an arm with the usual heads; 0 for no search.
        overrides: training settings that the user fixed for all arms, or listed to choose among.
        seed: of the first run.
        search: "grid"; or "random" or "tpe", which draw from each arm's own space.
        trials: of each arm, where settings are drawn; None for as many as the usual grid takes.

    Raises:
        UnknownName: a strategy, or a setting, that does not exist.
        SettingsError: a strategy is named twice, or a setting has a value that it cannot have.
    """
    said = read_overrides(overrides)
    chosen = _named(names, kind=material.task.kind)
    features = len(material.places(material.splits.folds[0].train))
    heads = [_heads(material, strategy) for strategy in chosen]
    usual = 0
    if tuning:
        most = [len(some) for some, strategy in zip(heads, chosen, strict=True) if not strategy.search.floor]
        usual = max(
            tuning + len(material.task.heads(reads_layers=False)) - 1, *(n - 1 + min(2, tuning) for n in most), 1
        )
    else:
        heads = [tuple(head for head in some if head.is_linear)[-1:] for some in heads]
    arms = [
        _arm(strategy, some, said, trials=usual, features=features, seed=seed)
        for strategy, some in zip(chosen, heads, strict=True)
    ]
    if search == "grid":
        return [_listing(arm, said, features) for arm in arms]
    return [_drawing(arm, said, features, method=search, trials=trials or usual + arm.fits_schedule) for arm in arms]


def _named(names: Sequence[str] | None, *, kind: str) -> list[Strategy]:
    """The strategies in order of priority, floors last; where none is named, those for this kind of task."""
    if names is None or list(names) == [ALL]:
        known = [strategy_named(name) for name, cls in STRATEGIES.items() if names or cls.search.by_default]
        return _by_priority(strategy for strategy in known if strategy.search.kind in (None, kind))
    chosen = [strategy_named(name) for name in names]
    spelled = [spelling_of(strategy) for strategy in chosen]
    if len(set(spelled)) < len(spelled):
        raise SettingsError(f"a strategy is named twice: {', '.join(spelled)}")
    others = [spelling_of(strategy) for strategy in chosen if strategy.search.kind not in (None, kind)]
    if others:
        raise SettingsError(
            f"{listed(others)}: only for tasks that label each {_OTHER[kind]}, and this one labels each {kind}"
        )
    return _by_priority(chosen)


def _by_priority(strategies: Iterable[Strategy]) -> list[Strategy]:
    return sorted(strategies, key=lambda strategy: (strategy.search.floor, strategy.search.priority))


_OTHER = {"sequence": "token", "token": "sequence"}


def _heads(material: Material, strategy: Strategy) -> tuple[HeadSettings, ...]:
    """The heads a strategy chooses among, none of which reads more layers than the encoder has.

    Where nothing learns by gradient, a head is computed in closed form, which only a linear one can be.
    """
    search = strategy.search
    heads = material.task.heads(reads_layers=search.reads_layers)
    if search.learning_rate is None:
        heads = tuple(head for head in heads if head.is_linear)
    if search.floor and search.learning_rate is not None:
        heads = heads[:1]
    depth = getattr(material.encoder.config, "num_hidden_layers", None) or max(head.layers for head in heads)
    return tuple(dict.fromkeys(_within(head, depth) for head in heads))


def _within(head: HeadSettings, depth: int) -> HeadSettings:
    """A head that reads no more layers than there are; one layer is no mix."""
    layers = min(head.layers, depth)
    return replace(head, layers=layers, mixed=head.mixed and layers > 1)


def _arm(
    strategy: Strategy, heads: tuple[HeadSettings, ...], said: Overrides, *, trials: int, features: int, seed: int
) -> Arm:
    """An arm whose search is the usual grid: learning rates, as many as so many trials leave room for."""
    search = search_with(strategy.search, said.first.get("optim", "adamw"))
    learns = search.learning_rate is not None
    fits = trials > 0 and learns and not search.floor and not said.says("num_train_epochs")
    rates = search.rates(1 if search.floor or said.lists else max(1, trials - len(heads) + 1)) if learns else (1.0,)
    if learns and said.says("learning_rate"):
        rates = (said.first["learning_rate"],)
    base = TrainingSettings(**(said.first | {"learning_rate": rates[0], "seed": seed}))
    return Arm(spelling_of(strategy), strategy, heads, rates, _with_epochs(base, search, said, features), fits)


def _with_epochs(settings: TrainingSettings, search: Search, said: Overrides, features: int) -> TrainingSettings:
    """Settings with the epochs that a strategy needs at their batch size, unless the user chose the epochs."""
    if said.says("num_train_epochs"):
        return settings
    return replace(settings, num_train_epochs=epochs_of(search, settings, features=features))


def _listing(arm: Arm, said: Overrides, features: int) -> Arm:
    """The arm with the full product of the values that the user listed, where there are any."""
    search = arm.strategy.search
    if not said.lists or not arm.learns or search.floor:
        return arm
    products = product(*said.lists.values())
    points = [replace(arm.base, **dict(zip(said.lists, values, strict=True))) for values in products]
    if not said.says("learning_rate"):
        points = [replace(point, learning_rate=search_with(search, point.optim).rates(1)[0]) for point in points]
    grid = tuple(_with_epochs(point, search, said, features) for point in points)
    return replace(arm, rates=said.lists.get("learning_rate", arm.rates), grid=grid)


def _drawing(arm: Arm, said: Overrides, features: int, *, method: str, trials: int) -> Arm:
    """The arm with settings drawn from its own space; a floor, or one that does not learn, is tried as it is."""
    search = arm.strategy.search
    if not arm.learns or search.floor:
        return arm
    space = space_of(search, heads=arm.heads, base=arm.base, overrides=said, features=features)
    fits, points = arm.fits_schedule and trials > 1, space.points()
    if points is not None:
        trials = min(trials, len({space.settings(point) for point in points}) + fits)
    rates = said.lists.get("learning_rate", arm.rates[:1])
    return replace(arm, rates=rates, fits_schedule=fits, sampling=Sampling(method, trials, space))
