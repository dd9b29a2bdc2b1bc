"""Results as text for the terminal."""

import io
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from unfreeze.compare.numerals import capitalised, counted, percent, points, sized, spelled
from unfreeze.report.formats import rank, setting, tidy

_INTERVAL = f"{percent(0.95)}\ninterval"


def results(record: Mapping[str, Any]) -> str:
    """The table of all arms, best first, floors below."""
    record = tidy(record)
    table = _table(
        ("way", "left"),
        (f"{record['metric']}, validation", "right"),
        (_INTERVAL, "right"),
        ("test*", "right"),
        ("one run", "right"),
        ("learns", "right"),
        ("", "left"),
    )
    arms = sorted(record["arms"], key=rank)
    chosen = (record["handed_over"] or {}).get("name")
    for arm in arms:
        low_high = "" if arm["interval"] is None else "–".join(map(points, arm["interval"]))
        test = "" if arm["test"] is None else points(arm["test"]["mean"])
        seconds = "" if arm["train_seconds"] is None else _brief(arm["train_seconds"])
        style = "bold" if arm["name"] == chosen else "dim" if arm["floor"] else ""
        cells = (_named(arm), points(arm["score"]), low_high, test, seconds, count(arm["trainable_parameters"]))
        table.add_row(*cells, _notes(arm, chosen), style=style)
    note = "* mean of the runs, not used for the choice; floors show what must be beaten and are never handed over\n"
    return rendered(table) + note


def closing(record: Mapping[str, Any], folder: Path) -> str:
    """The verdict in sentences, and where everything is."""
    record = tidy(record)
    made = record["recommendation"]
    more = [sentence for sentence in made["sentences"] if not any(sentence[:-1] in short for short in made["in_short"])]
    lines = ["", *made["in_short"], "", *([*more, ""] if more else [])]
    given = record["handed_over"]
    if given is not None:
        metric = record["metric"]
        test = f"; its own {metric} on test: {points(given['test'][metric])}" if given["test"] else ""
        lines.append(f"model    {folder / 'model'}  ({given['name']}, {_trained_on(given)}{test})")
        lines.append(
            f"         {given['loads_with'].replace(chr(34) + 'model' + chr(34), repr(str(folder / 'model')))}"
        )
    if record.get("not_handed_over"):
        lines.append(f"no model {record['not_handed_over']}")
    lines.append(f"report   {folder / 'report.html'}")
    holds = f"; the verdict holds for this encoder ({record['encoder']['name']})" if given is not None else ""
    goes = record.get("goes", 1)
    lines.append(f"time     {spelled(record['seconds'])}{f' in {goes} goes' if goes > 1 else ''}{holds}")
    return "\n".join(lines)


def _trained_on(given: Mapping[str, Any]) -> str:
    if given.get("as_it_is"):
        return f"as it was trained on {given['rows']:,} rows of the comparison, for the budget was spent"
    return "trained once more on all rows but test"


def unseen(predictions: Mapping[str, Any]) -> str:
    """Predictions for sentences that nobody labelled."""
    lines = ["", "on sentences it has never seen:"]
    for text, said in predictions.items():
        found = said if isinstance(said, str) else ", ".join(f"{e['text']} ({e['label']})" for e in said) or "nothing"
        lines.append(f"  {text}\n    → {found}")
    return "\n".join(lines) + "\n"


def plan_table(plan: Mapping[str, Any]) -> str:
    """What would be run: a row a stage."""
    table = _table(
        ("way", "left"),
        ("from", "right"),
        ("learns", "left"),
        ("parameters", "right"),
        ("share", "right"),
        ("learning rates", "left"),
        ("search", "right"),
        ("memory", "right"),
        ("price", "right"),
    )
    for arm in plan["arms"]:
        for number, stage in enumerate(arm["stages"]):
            first = number == 0
            price = _brief(arm["price_seconds"]) if arm["kept"] else "dropped"
            table.add_row(
                arm["name"] if first else "",
                percent(stage["start"]),
                stage["learns"] + (f"; {stage['note']}" if stage["note"] else ""),
                count(stage["trainable_parameters"]),
                percent(stage["share"]),
                _rates(stage, arm["stages"], tried=first),
                counted(arm["tuning_trials"], "trial") if first else "",
                sized(arm["peak_bytes"]) if first and arm.get("peak_bytes") else "",
                price if first else "",
                style="" if arm["kept"] else "dim",
            )
    table.add_section()
    for name, key in (("shared", "prefix_seconds"), ("at the end", "refit_seconds"), ("all of it", "whole_seconds")):
        table.add_row(name, *[""] * 7, _brief(plan[key]))
    return rendered(table) + "\n".join(_about(plan)) + "\n"


def _about(plan: Mapping[str, Any]) -> Iterator[str]:
    """What a plan's table does not say: how much is run, what the prices are, what is left out, why the others not."""
    how = _SEARCHED[plan.get("search", "grid")]
    yield f"{capitalised(told_in_short(plan))}." + (f" Settings are drawn {how} ranges." if how else "")
    if plan.get("nested"):
        yield "Each fold's settings are searched on training rows of its own."
    if plan["race"]:
        yield "It is a race: a way that falls behind leaves, and what it would have cost goes to the others."
    yield (
        "Price: of a way's whole search and all its runs. Shared: frozen layers are computed once. At the end: the way "
        "handed over is trained once more on all rows; the price is that of the dearest."
    )
    yield "All prices are upper bounds, for training stops early where it no longer helps."
    dropped = [f"{arm['name']}: {arm['reason']}" for arm in plan["arms"] if not arm["kept"]]
    if dropped:
        yield f"left out: {'; '.join(dropped)}"
    whys = [
        f"  {a['name']}: {a['summary']} {_first_source(a['source'])}".rstrip() for a in plan["arms"] if "source" in a
    ]
    if whys:
        yield "Why these; where the budget is short the first are kept:"
        yield from whys


_SEARCHED = {"grid": "", "random": "at random from each way's own", "tpe": "by TPE from each way's own"}


def _rates(stage: Mapping[str, Any], stages: Sequence[Mapping[str, Any]], *, tried: bool) -> str:
    """The learning rates tried, drawn ones from the lowest to the highest; and a stage's shares of them, if not one."""
    rates, text = stage["learning_rates"], ""
    if tried and rates:
        text = f"{setting(min(rates))} to {setting(max(rates))}" if stage.get("rates_drawn") else setting(rates)
    return f"{text} {share_of_rate(stage, stages)}".strip()


def share_of_rate(stage: Mapping[str, Any], stages: Sequence[Mapping[str, Any]]) -> str:
    """At which shares of the learning rate a stage learns; empty where all learn at the full rate in all stages."""
    shares = [rate["lr_scale"] for rate in stage.get("rates", ())]
    if all(rate["lr_scale"] == 1 for other in stages for rate in other.get("rates", ())):
        return ""
    lowest, highest = (f"{share:.3g}" for share in (min(shares), max(shares)))
    return f"× {lowest}" if lowest == highest else f"× {lowest} to {highest}"


def _first_source(source: str) -> str:
    """The first work that a strategy names, without what it says of it."""
    found = re.match(r".*?arXiv:[\d.]*\d", source)
    return f"({found.group(0)})" if found else ""


def told_in_short(plan: Mapping[str, Any]) -> str:
    """A plan in half a line: "5 ways, 2 to 5 seeds each, at most 12 min"."""
    ways = counted(sum(arm["kept"] for arm in plan["arms"]), "way")
    each = "" if ways == "1 way" else " each"
    price = spelled(plan["total_seconds"])
    if plan["total_seconds"] < plan["whole_seconds"]:
        price += f", the budget (all of it would take up to {spelled(plan['whole_seconds'])})"
    return f"{ways}, {_runs_of(plan)}{each}, at most {price}"


def _runs_of(plan: Mapping[str, Any]) -> str:
    """How often a way is run: "3 seeds", "2 to 5 seeds", "1 to 2 seeds on each of 5 folds"."""
    folds = f" on each of {plan['folds']} folds" if plan["folds"] > 1 else ""
    seeds = counted(plan["most_seeds"], "seed")
    return (f"{plan['seeds']} to {seeds}" if plan["seeds"] < plan["most_seeds"] else seeds) + folds


def rendered(what: RenderableType, width: int | None = None) -> str:
    """What rich draws, as plain text no wider than the terminal."""
    columns = width or max(80, shutil.get_terminal_size((110, 24)).columns)
    out = io.StringIO()
    Console(file=out, width=min(columns, 140), no_color=True, highlight=False).print(what)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _table(*columns: tuple[str, str]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title, side in columns:
        whole = title in {"way", _INTERVAL}  # where the terminal is narrow, the other columns give way
        longest = max(map(len, title.split()), default=8)  # notes: "diverged"
        table.add_column(Text(title), justify=side, overflow="fold", no_wrap=whole, min_width=longest)  # type: ignore[arg-type]
    return table


def _named(arm: Mapping[str, Any]) -> Text:
    return Text(f"{arm['number']} {arm['name']}" if arm["number"] else str(arm["name"]))


def _notes(arm: Mapping[str, Any], chosen: str | None) -> Text:
    notes = [f"{arm['state']}: {arm['reason']}"] if arm["state"] not in ("done", "left") else []
    notes += ["left the race"] if arm["state"] == "left" else []
    notes += ["handed over"] if arm["name"] == chosen else []
    notes += ["floor"] if arm["floor"] else []
    notes += ["starved"] if arm["starved"] else []
    notes += [f"{arm[key]} of {arm['runs']} {word}" for key, word in _DEGENERATE if arm[key] and arm["state"] == "done"]
    for gate in arm.get("gates") or ():
        did = "opened" if gate["opened"] else "not opened"
        notes.append(f"{gate['opens']} {did} in {gate['runs']} of {counted(gate.get('of', arm['runs']), 'run')}")
    return Text(", ".join(notes))


_DEGENERATE = (
    ("collapsed_runs", "say the same of everything"),
    ("diverged_runs", "diverged"),
    ("short_memory_runs", "in parts: short memory"),
)


def _brief(seconds: float) -> str:
    return "< 1 s" if 0 < seconds < 1 else spelled(seconds)


def count(number: float | None) -> str:
    """Numbers of parameters as people say them: 770, 11.4 K, 22.7 M."""
    if number is None:
        return ""
    for unit, size in (("M", 1e6), ("K", 1e3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:.0f}"
