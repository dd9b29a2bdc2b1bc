"""How figures and names are written in the report and on the model card: one way for each."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

NOTHING = "–"
"""Stands where there is no figure."""

# Marks that reorder what follows them: a label could make a whole line of the report read backwards.
_REORDERING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def tidy(value: Any) -> Any:
    """The same record with every text, keys included, made fit to be shown on one line.

    Line breaks and tabs become spaces; control characters, halves of characters and marks that turn the direction of
    writing become U+FFFD. Escaping is left to whoever writes the text into HTML, SVG or Markdown.
    """
    if isinstance(value, str):
        if value.isascii() and value.isprintable():
            return value
        return "".join(_shown(character) for character in value)
    if isinstance(value, Mapping):
        return {tidy(key): tidy(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [tidy(item) for item in value]
    return value


def _shown(character: str) -> str:
    if character in "\t\n\r\x0b\x0c\u0085\u2028\u2029":
        return " "
    unfit = unicodedata.category(character) in ("Cc", "Cs") or character in _REORDERING
    return "\ufffd" if unfit else character


def points(fraction: float | None) -> str:
    """A score or difference (a fraction) in points with one decimal, never -0.0."""
    return NOTHING if fraction is None else f"{round(100 * fraction, 1) + 0.0:.1f}".replace("-", "−")


def span(interval: Sequence[float] | None) -> str:
    """An interval (fractions) in points: "81.0 to 85.2"."""
    return NOTHING if interval is None else f"{points(interval[0])} to {points(interval[1])}"


def percent(level: float) -> str:
    """A confidence level as people say it: "95 %", "97.5 %"."""
    return f"{100 * level:.3g} %"


def seconds(value: float | None) -> str:
    """A time in seconds with two or three digits that count."""
    if value is None:
        return NOTHING
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


def duration(value: float | None) -> str:
    """A time as people say it: "45 s", "12 min", "1 h 5 min"."""
    if value is None:
        return NOTHING
    if value < 90:
        return f"{value:.0f} s"
    minutes = round(value / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def whole(value: float | None) -> str:
    """A whole number with thousands set apart."""
    return NOTHING if value is None else f"{value:,.0f}"


def counted(number: int, noun: str) -> str:
    """A number and its noun: "1 seed", "3 seeds"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def stored(value: float | None) -> str:
    """A size in bytes, as kB, MB or GB of a thousand each."""
    if value is None:
        return NOTHING
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}" if value < 999.5 * size else f"{value / size:,.0f} {unit}"
    return f"{value:.0f} B"


def setting(value: Any) -> str:
    """A setting's value; learning rates and the like without needless zeros."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}".replace("e-0", "e-").replace("e+0", "e+")
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {setting(item)}" for key, item in value.items()) or NOTHING
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(setting(item) for item in value) or NOTHING
    return str(value)


def loading_lines(line: str) -> list[str]:
    """The code that loads a model, a statement a line, with the import it needs."""
    return [*(["import transformers"] if "transformers." in line else []), *line.split("; ")]


def metric_name(metric: str) -> str:
    """A metric's name in words: "macro_f1" is "macro F1"."""
    return metric.replace("_f1", " F1").replace("_", " ")
