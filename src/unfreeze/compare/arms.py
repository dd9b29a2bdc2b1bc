"""An arm: a strategy on an encoder with the settings to choose among."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import ceil
from typing import Any

from unfreeze.compare.material import Material
from unfreeze.compare.trials import Trial
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.engine.settings import CHOICES, TrainingSettings, range_for
from unfreeze.errors import SettingsError, UnknownName
from unfreeze.strategies import STRATEGIES, Strategy, spelling_of, strategy_named

TUNABLE = tuple(f.name for f in fields(TrainingSettings) if f.name not in {"seed", "stop_after"})


@dataclass(frozen=True, slots=True)
class Arm:
    """A strategy with what is tried for it.

    Attributes:
        name: as a user spells it.
        strategy: what it does.
        heads: heads to choose among, the standard one first.
        rates: learning rates to choose among, the most likely one first; one that is not used where nothing learns.
        base: the settings that are not searched.
        fits_schedule: whether the search ends with a trial whose schedule is as long as the best trial needed.
    """

    name: str
    strategy: Strategy
    heads: tuple[HeadSettings, ...]
    rates: tuple[float, ...]
    base: TrainingSettings
    fits_schedule: bool = False

    @property
    def learns(self) -> bool:
        """Whether anything learns by gradient."""
        return self.strategy.search.learning_rate is not None

    @property
    def tuning_trials(self) -> int:
        """How many trials the search takes."""
        return len(self.rates) + len(self.heads) - 1 + self.fits_schedule

    def trial(self, head: HeadSettings, rate: float, *, seed: int, fold: int | None) -> Trial:
        """One trial of this arm."""
        return Trial(self.name, head, replace(self.base, learning_rate=rate, seed=seed), fold)

    def starved(self, chosen: Trial, steps_per_epoch: int) -> str | None:
        """Why this arm was not at its best, None if it was."""
        search = self.strategy.search
        if search.learning_rate is None or search.floor:
            return None
        rate, longest = chosen.settings.learning_rate, max(self.base.num_train_epochs, chosen.settings.num_train_epochs)
        steps = longest * steps_per_epoch
        if len(self.rates) > 2 and rate in (min(self.rates), max(self.rates)):
            return f"its best learning rate, {rate:g}, lies at the edge of the range that was tried"
        if steps < search.min_steps:
            return f"{steps} training steps are fewer than the {search.min_steps} it needs"
        return None


def make_arms(
    names: Sequence[str] | None, material: Material, *, tuning: int, overrides: Mapping[str, Any], seed: int
) -> list[Arm]:
    """The arms of a comparison, in order of priority.

    Every arm gets the same number of tuning trials, as many as the most heads take at least: one that has more heads to
    choose among tries fewer learning rates. Where the user fixed the rate, each arm tries all of its heads and nothing
    else. A floor that learns is tried once. With ``tuning`` 0 nothing is searched: each arm has the middle of its rates
    and the last of its heads, which reads the most.

    Args:
        names: strategies as the user spells them; None for all.
        material: for the task's heads and the number of training rows.
        tuning: learning rates for an arm with the usual heads; 0 for no search.
        overrides: training settings that the user fixed for all arms.
        seed: of the first run.

    Raises:
        UnknownName: a strategy, or a setting, that does not exist.
        SettingsError: a strategy is named twice, or a setting has a value that it cannot have.
    """
    _check_overrides(overrides)
    chosen = [strategy_named(name) for name in (names if names is not None else STRATEGIES)]
    spelled = [spelling_of(strategy) for strategy in chosen]
    if len(set(spelled)) < len(spelled):
        raise SettingsError(f"a strategy is named twice: {', '.join(spelled)}")
    chosen.sort(key=lambda strategy: (strategy.search.floor, strategy.search.priority))
    usual = TrainingSettings(**dict(overrides))
    steps = usual.steps_per_epoch(len(material.places(material.splits.folds[0].train)))
    heads = [_heads(material, strategy) for strategy in chosen]
    if not tuning:
        heads = [some[-1:] for some in heads]
        pairs = zip(chosen, heads, strict=True)
        return [_arm(strategy, some, 0, overrides, steps, seed) for strategy, some in pairs]
    most = [len(some) for some, strategy in zip(heads, chosen, strict=True) if not strategy.search.floor]
    trials = max(tuning + len(material.task.heads(reads_layers=False)) - 1, *most, 1)
    pairs = zip(chosen, heads, strict=True)
    return [_arm(strategy, some, trials, overrides, steps, seed) for strategy, some in pairs]


def _check_overrides(overrides: Mapping[str, Any]) -> None:
    """Refuse settings that do not exist, and what is no number where one must be; ranges are checked elsewhere."""
    unknown = [key for key in overrides if key not in TUNABLE]
    if unknown:
        raise UnknownName("training setting", unknown[0], TUNABLE)
    whole = {f.name for f in fields(TrainingSettings) if f.type is int}
    wrong = [
        f"{key} must be a {'whole ' if key in whole else ''}number; got {value!r}"
        for key, value in overrides.items()
        if key not in CHOICES
        and (isinstance(value, bool) or not isinstance(value, int if key in whole else (int, float)))
    ]
    if wrong:
        raise SettingsError("; ".join(wrong))


def _heads(material: Material, strategy: Strategy) -> tuple[HeadSettings, ...]:
    """The heads a strategy chooses among, none of which reads more layers than the encoder has."""
    search = strategy.search
    heads = material.task.heads(reads_layers=search.reads_layers)
    if search.floor and search.learning_rate is not None:
        heads = heads[:1]
    depth = getattr(material.encoder.config, "num_hidden_layers", None) or max(head.layers for head in heads)
    return tuple(dict.fromkeys(replace(head, layers=min(head.layers, depth)) for head in heads))


def _arm(
    strategy: Strategy,
    heads: tuple[HeadSettings, ...],
    trials: int,
    overrides: Mapping[str, Any],
    steps: int,
    seed: int,
) -> Arm:
    search = replace(
        strategy.search, learning_rate=range_for(overrides.get("optim", "adamw"), strategy.search.learning_rate)
    )
    learns = search.learning_rate is not None
    fits = trials > 0 and learns and not search.floor and "num_train_epochs" not in overrides
    epochs = max(search.num_train_epochs, ceil(search.min_steps / steps), 1)
    rates = search.rates(1 if search.floor else max(1, trials - len(heads) + 1)) if learns else (1.0,)
    if "learning_rate" in overrides and learns:
        rates = (float(overrides["learning_rate"]),)
    base = TrainingSettings(
        **({"num_train_epochs": epochs} | dict(overrides) | {"learning_rate": rates[0], "seed": seed})
    )
    return Arm(spelling_of(strategy), strategy, heads, rates, base, fits)
