"""What is typed after ``--set``."""

import math
from collections.abc import Sequence
from typing import Any

from unfreeze.compare.overrides import TUNABLE
from unfreeze.engine.settings import CHOICES, allowed
from unfreeze.errors import SettingsError


def settings_of(items: Sequence[str]) -> dict[str, Any]:
    """Items ``NAME=VALUE`` or ``NAME=VALUE,VALUE`` as settings: numbers, words where the setting takes them, or lists.

    Raises:
        SettingsError: an item without "=", a value that is no number where one is expected, or a name typed twice.
    """
    found: dict[str, Any] = {}
    for item in items:
        typed, equals, values = item.partition("=")
        name = typed.replace("-", "_")
        if not equals:
            raise SettingsError(_expected(item))
        if name in found:
            raise SettingsError(
                f"--set names {name} twice; several values to choose among are one list, such as --set {name}=1,2"
            )
        several = [_value(name, value.strip(), item) for value in values.split(",")]
        found[name] = several[0] if len(several) == 1 else several
    return found


def _value(name: str, value: str, item: str) -> float | int | str:
    """One value; what no setting is named is left as it is, for whoever knows all names to refuse."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if name in CHOICES and value not in CHOICES[name]:
        raise SettingsError(f"--set {item.partition('=')[0]} takes {allowed(name)}; got {item!r}")
    if name in CHOICES or (name not in TUNABLE and math.isnan(number)):
        return value
    if not math.isfinite(number):
        raise SettingsError(_expected(item))
    return int(number) if number.is_integer() else number


def _expected(item: str) -> str:
    words = " and ".join(f"{known} ({allowed(known)})" for known in CHOICES)
    return (
        "--set takes NAME=NUMBER, such as --set num_train_epochs=3, or numbers to choose among, such as "
        f"--set learning_rate=3e-5,1e-4; got {item!r}. Words are for {words} alone"
    )
