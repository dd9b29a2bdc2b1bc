"""How names, sizes and settings are written in the report and on the model card; numbers: see ``compare.numerals``."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from unfreeze.compare.numerals import NOTHING, points

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


def rank(arm: Mapping[str, Any]) -> tuple[bool, bool, float, int, str]:
    """Where a row of the record stands: floors last, best first, equal scores in the order they are chosen in."""
    return arm["floor"], arm["score"] is None, -(arm["score"] or 0.0), arm.get("stored_bytes") or 0, arm["name"]


def _shown(character: str) -> str:
    if character in "\t\n\r\x0b\x0c\u0085\u2028\u2029":
        return " "
    unfit = unicodedata.category(character) in ("Cc", "Cs") or character in _REORDERING
    return "\ufffd" if unfit else character


def seconds(value: float | None) -> str:
    """A time in seconds with two or three digits that count."""
    if value is None:
        return NOTHING
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


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


def shown_settings(settings: Mapping[str, Any] | None) -> dict[str, str]:
    """An arm's settings as they are written; of optimizer, loss and the head's make only what is not the usual."""
    usual = {"optim": "adamw", "label_smoothing_factor": 0.0, "class_weights": "none", "weight_decay_towards": "zero"}
    usual |= {"mixed": False, "network": "linear"}
    known = {key: value for key, value in (settings or {}).items() if value is not None}
    return {key: setting(value) for key, value in known.items() if key not in usual or value != usual[key]}


def loading_lines(line: str) -> list[str]:
    """The code that loads a model, a statement a line, with the import it needs."""
    return [*(["import transformers"] if "transformers." in line else []), *line.split("; ")]


def calibration_told(made: Mapping[str, Any], where: str) -> str:
    """What calibrating did, in a clause.

    Args:
        made: the ``temperature``, and the calibration errors before and after, or None for these.
        where: the rows that the errors were counted on, such as "validation rows".
    """
    text = f"logits divided by {made['temperature']:.3g}"
    if made["error_before"] is None:
        return text
    before, after = points(made["error_before"]), points(made["error_after"])
    return f"{text}; expected calibration error on {where} {before} points before, {after} after"


def metric_name(metric: str) -> str:
    """A metric's name in words: "macro_f1" is "macro F1"."""
    return metric.replace("_f1", " F1").replace("_", " ")
