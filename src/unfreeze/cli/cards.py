"""Ways of fine-tuning as text for the terminal: a table of all, and a card of one."""

import re
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from unfreeze.cli.showing import count, rendered
from unfreeze.compare.numerals import counted, percent
from unfreeze.report.formats import setting

_MARGIN = 11
"""Where the text of a card begins, after its headings."""


def listed(found: Mapping[str, Any]) -> str:
    """What ``unfreeze.list_strategies`` found: a row for each way, and what stands behind the shares."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("way", "what it does", "learns", "learning rates", ""):
        table.add_column(title, justify="right" if title == "learns" else "left", no_wrap=title != "what it does")
    for row in found["strategies"]:
        learns = "" if row["trainable_share"] is None else share(row["trainable_share"])
        table.add_row(row["name"], row["summary"], learns, rates(row), "floor" if row["floor"] else "")
    about = f"learns: the share of all parameters on {found['encoder']}, with a head for two labels"
    floors = "floors show what the others must beat, and give no model"
    more = "unfreeze strategies NAME shows a way's card: when to use it, when not, its settings, its plan"
    lines = [
        *([about] if found["encoder"] else []),
        floors,
        more,
        *([found["no_encoder"]] if not found["encoder"] else []),
    ]
    return rendered(table) + "\n".join(lines) + "\n"


def card(found: Mapping[str, Any]) -> str:
    """What ``unfreeze.strategy_card`` found: its parts as paragraphs, its plan as a table."""
    lines = [*textwrap.wrap(f"{found['spelling']}: {found['summary']}", _width()), ""]
    for heading, text in _parts(found):
        if not text:  # a user's own file says only what is done
            continue
        lines += [*_paragraph(heading, text), ""]
    if found["plan"] is not None:
        return "\n".join([*lines, f"On {found['encoder']}, with a head for two labels:", ""]) + rendered(_plan(found))
    return "\n".join([*lines, found.get("no_plan") or found["no_encoder"]]) + "\n"


def _parts(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Headings, each with its text."""
    yield "what", found["what"] + (" A floor: never handed over." if found["floor"] else "")
    yield "when", found["use"]
    yield "when not", found["avoid"]
    for number, one in enumerate(found["settings"]):
        usual = "" if one["value"] == one["default"] else f" (usually {setting(one['default'])})"
        yield "" if number else "settings", f"{one['name']}={setting(one['value'])}{usual}: {one['meaning']}"
    if found["learning_rate"]:
        yield "rates", found["range"] or rates(found)
        search = found["search"]
        heads = "; its head may read several layers" if search["reads_layers"] else ""
        yield (
            "search",
            f"at most {counted(search['num_train_epochs'], 'epoch')}, at least {search['min_steps']} steps{heads}",
        )
    yield "source", found["source"]


def _paragraph(heading: str, text: str) -> list[str]:
    lines = textwrap.wrap(text.replace("``", ""), _width() - _MARGIN) or [""]
    return [f"{heading if number == 0 else '':<{_MARGIN}}{line}" for number, line in enumerate(lines)]


def _width() -> int:
    """Columns of a card: no wider than the terminal, nor than can be read."""
    return max(60, min(shutil.get_terminal_size((110, 24)).columns, 110))


def _plan(found: Mapping[str, Any]) -> Table:
    """A row for each stage and each share of the learning rate in it."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("from", "learns", "parameters", "share", "rate"):
        table.add_column(title, justify="left" if title == "learns" else "right")
    for row in plan_rows(found):
        table.add_row(*map(Text, row))
    return table


def plan_rows(found: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    """The cells of a card's plan: from when, what learns, parameters, their share of all, shares of the rate."""
    for stage in found["plan"]:
        start = percent(stage["start"])
        if not stage["rates"]:
            yield start, stage["learns"], "0", "", ""
        whole = stage["trainable_parameters"] / stage["share"] if stage["share"] else 1.0
        for number, rate in enumerate(stage["rates"]):
            of_all, scale = share(rate["trainable_parameters"] / whole), f"× {rate['lr_scale']:.3g}"
            learns = rate["learns"] + (f"; {stage['note']}" if stage["note"] and not number else "")
            yield "" if number else start, learns, count(rate["trainable_parameters"]), of_all, scale


def rates(row: Mapping[str, Any]) -> str:
    """A way's range of learning rates: "3e-5 to 3e-4"; "none" where nothing learns by gradient."""
    return " to ".join(map(_rate, row["learning_rate"])) if row["learning_rate"] else "none"


def _rate(rate: float) -> str:
    """A learning rate as people write it: "3e-4", "0.03"."""
    return f"{rate:g}" if rate >= 0.01 else re.sub(r"\.?0*e-0?", "e-", f"{rate:.2e}")


def share(part: float) -> str:
    """A share of all parameters: "100 %", "16.3 %", "0.003 %", "0 %"."""
    return f"{100 * part:.3g} %" if part < 1 else "100 %"
