"""The training settings that a user fixed for all arms, or listed for the search to choose among."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from unfreeze.engine.settings import CHOICES, TrainingSettings
from unfreeze.errors import SettingsError, UnknownName

TUNABLE = tuple(f.name for f in fields(TrainingSettings) if f.name not in {"seed", "stop_after", "temperature"})
_TYPES: Mapping[str, Any] = {f.name: f.type for f in fields(TrainingSettings) if f.name in TUNABLE}
_EXPECTED = {int: "a whole number", float: "a number"}


@dataclass(frozen=True, slots=True)
class Overrides:
    """What a user said about training settings.

    Attributes:
        fixed: the settings with one value, which all arms have.
        lists: those with several values to choose among, in the user's order.
    """

    fixed: Mapping[str, Any] = field(default_factory=dict)
    lists: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    @property
    def first(self) -> dict[str, Any]:
        """The fixed settings, and the first value of each list."""
        return {**self.fixed, **{name: values[0] for name, values in self.lists.items()}}

    def says(self, name: str) -> bool:
        """Whether the user said anything about a setting."""
        return name in self.fixed or name in self.lists


def read_overrides(settings: Mapping[str, Any]) -> Overrides:
    """A user's settings, checked: by name a value, or a list of values to choose among.

    Raises:
        UnknownName: there is no such training setting, or none that a user may choose.
        SettingsError: a value that the setting cannot have; a list that is empty or names a value twice.
    """
    unknown = [name for name in settings if name not in TUNABLE]
    if unknown:
        raise UnknownName("training setting", unknown[0], TUNABLE)
    several = {name: _listed(value) for name, value in settings.items()}
    wrong = [
        f"{name} must be {_EXPECTED[_TYPES[name]]}; got {value!r}"
        for name, values in several.items()
        for value in values
        if name not in CHOICES and not _fits(_TYPES[name], value)
    ]
    wrong += [f"{name} lists no value to choose among" for name, values in several.items() if not values]
    if wrong:
        raise SettingsError("; ".join(wrong))
    numbers = {name: _TYPES[name] for name in several if name not in CHOICES}
    typed = {
        name: tuple(numbers[name](value) for value in values) if name in numbers else values
        for name, values in several.items()
    }
    for name, values in typed.items():
        twice = next((value for i, value in enumerate(values) if value in values[:i]), None)
        if twice is not None:
            raise SettingsError(f"{name} lists {twice!r} twice; name every value once")
        for value in values:
            TrainingSettings(**{name: value})  # refuses what lies outside its range
    if typed.get("weight_decay_towards") == ("pretrained",) and typed.get("weight_decay") == (0.0,):
        raise SettingsError(
            "weight_decay_towards=pretrained with weight_decay=0 decays towards nothing; give weight_decay a value, "
            "such as 1 (times the learning rate, it is the share of the way back that a step takes)"
        )
    return Overrides(
        {name: values[0] for name, values in typed.items() if len(values) == 1},
        {name: values for name, values in typed.items() if len(values) > 1},
    )


def _listed(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,)


def _fits(kind: Any, value: Any) -> bool:
    """Whether a value is of a setting's type; a whole number is a number too, but yes and no are none."""
    return not isinstance(value, bool) and isinstance(value, (int, float) if kind is float else kind)
