"""The report's figures as SVG inside the page: they take their colours from it, so light, dark and print all work."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from unfreeze.compare.numerals import points, span
from unfreeze.report.formats import metric_name, rank, seconds

WIDTH = 680
_ROW = 30
_CHARACTER = 6.6  # mean width of a character of the figures' text, in the units of the drawing


def interval_chart(record: Mapping[str, Any]) -> Markup | None:
    """Score and interval of every arm, best first, floors below; the chosen arm is filled and bold.

    Args:
        record: the record of a comparison, made fit to be shown.

    Returns:
        One SVG element, or None where nothing has a score.
    """
    arms, floors = _scored(record, floor=False), _scored(record, floor=True)
    if not arms and not floors:
        return None
    chosen, left, right = record["recommendation"]["chosen"], 170, WIDTH - 60
    ends = [end for arm in (*arms, *floors) for end in (*(arm["interval"] or ()), arm["score"])]
    axis = _Axis.over(min(ends), max(ends), start=left, end=right)
    top, gap = 14, 16 if arms and floors else 0
    bottom = top + _ROW * (len(arms) + len(floors)) + gap
    drawn = [*_upright_grid(axis, top, bottom, f"{metric_name(record['metric'])}, points")]
    for place, arm in enumerate((*arms, *floors)):
        y = top + _ROW * (place + 0.5) + (gap if arm["floor"] else 0)
        drawn += _interval_row(arm, axis, y, chosen=arm["name"] == chosen)
    title = f"Score and interval of {len(arms)} arms and {len(floors)} floors, in points of {record['metric']}"
    told = "; ".join(f"{arm['name']} {points(arm['score'])} ({span(arm['interval'])})" for arm in (*arms, *floors))
    return _svg("intervals", WIDTH, bottom + 44, title=title, told=told, children=drawn)


def cost_chart(record: Mapping[str, Any]) -> Markup | None:
    """Score against the seconds that one run takes to train, on a logarithmic axis.

    Args:
        record: the record of a comparison, made fit to be shown.

    Returns:
        One SVG element, or None where nothing has a score and a time.
    """
    every = [*_scored(record, floor=False), *_scored(record, floor=True)]
    arms = [arm for arm in every if arm["train_seconds"] is not None]
    if not arms:
        return None
    chosen, top, bottom = record["recommendation"]["chosen"], 16, 316
    ends = [end for arm in arms for end in (*(arm["interval"] or ()), arm["score"])]
    upright = _Axis.over(min(ends), max(ends), start=bottom, end=top)
    times = [max(arm["train_seconds"], 0.01) for arm in arms]
    across = _LogAxis(math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)) + 1e-9), 52, WIDTH - 24)
    drawn = [*_level_grid(upright, 52, WIDTH - 24), *_log_grid(across, top, bottom)]
    drawn.append(_text(52, 10, f"{metric_name(record['metric'])}, points", "axis"))
    taken: list[tuple[float, float, float]] = []
    for arm, time in zip(arms, times, strict=True):
        taken.append((across(time) - 6, across(time) + 6, upright(arm["score"])))
    for arm, time in zip(arms, times, strict=True):
        x, y = across(time), upright(arm["score"])
        drawn += _point_with_interval(arm, x, upright, chosen=arm["name"] == chosen)
        drawn.append(_placed_name(arm["name"], x, y, taken, bold=arm["name"] == chosen))
    told = "; ".join(f"{a['name']}: {points(a['score'])}, {seconds(a['train_seconds'])} seconds" for a in arms)
    title = "Score against training seconds of one run"
    return _svg("cost", WIDTH, bottom + 44, title=title, told=told, children=drawn)


def learning_curves(record: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    """Validation score over the epochs, a small figure an arm and one thin line a run, all on one scale of scores.

    Args:
        record: the record of a comparison, made fit to be shown.

    Returns:
        Name of the arm and its SVG element, in the order of the record; empty where nothing was trained by gradient.
    """
    curves = {arm["name"]: _lines(arm) for arm in record["arms"]}
    curves = {name: lines for name, lines in curves.items() if lines}
    if not curves:
        return []
    ends = [y for lines in curves.values() for line in lines for _, y in line]
    upright = _Axis.over(min(ends), max(ends), start=150, end=10)
    return [(name, _curve(name, lines, upright)) for name, lines in curves.items()]


def _curve(name: str, lines: list[list[tuple[float, float]]], upright: "_Axis") -> Markup:
    last = max(x for line in lines for x, _ in line)
    across = _Axis(0.0, last or 1.0, 34, 228, [])
    drawn = [*_level_grid(upright, 34, 232)]
    drawn += [_text(34, 168, "0", "tick", anchor="middle"), _text(228, 168, f"{last:g}", "tick", anchor="middle")]
    drawn.append(_text(131, 168, "epochs", "axis", anchor="middle"))
    for line in lines:
        places = [(across(x), upright(y)) for x, y in line]
        drawn.append(_element("polyline", {"class": "run", "points": " ".join(f"{x:.1f},{y:.1f}" for x, y in places)}))
        x, y = places[-1]
        drawn.append(_element("circle", {"class": "end", "cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": "1.8"}))
    told = f"{len(lines)} runs; last scores {', '.join(points(line[-1][1]) for line in lines)}"
    return _svg("curve", 240, 176, title=f"Validation score of {name} over the epochs", told=told, children=drawn)


def _lines(arm: Mapping[str, Any]) -> list[list[tuple[float, float]]]:
    """Epoch and score of each run, without what was not a number."""
    runs = [[(p["epoch"], p["score"]) for p in run["points"] if p["score"] is not None] for run in arm["curves"]]
    return [line for line in runs if line]


def _scored(record: Mapping[str, Any], *, floor: bool) -> list[Mapping[str, Any]]:
    arms = [a for a in record["arms"] if a["floor"] == floor and a["state"] == "done" and a["score"] is not None]
    return sorted(arms, key=rank)


@dataclass(frozen=True, slots=True)
class _Axis:
    """From a value to a place in the drawing, in equal steps, with the values worth a line."""

    low: float
    high: float
    start: float
    end: float
    ticks: list[float]

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    @classmethod
    def over(cls, low: float, high: float, *, start: float, end: float) -> "_Axis":
        """Round values around what is shown, four to eight of them."""
        width = max(high - low, 0.01)
        step = next(s for s in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, math.inf) if width / s <= 6)
        if math.isinf(step):  # no score of ours is so wide, but a figure must not fall over it
            step = width / 4
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        last += last == first
        return cls(first * step, last * step, start, end, [n * step for n in range(first, last + 1)])


@dataclass(frozen=True, slots=True)
class _LogAxis:
    """From a value above 0 to a place in the drawing; whole powers of ten at both ends."""

    low: int
    high: int
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (math.log10(value) - self.low) / (self.high - self.low) * (self.end - self.start)


def _upright_grid(axis: _Axis, top: float, bottom: float, label: str) -> Iterator[Markup]:
    for tick in axis.ticks:
        x = axis(tick)
        yield _line("zero" if abs(tick) < 1e-9 else "grid", x, top, x, bottom)
        yield _text(x, bottom + 16, f"{100 * tick:g}" if tick else "0", "tick", anchor="middle")
    yield _text((axis.start + axis.end) / 2, bottom + 36, label, "axis", anchor="middle")


def _level_grid(axis: _Axis, left: float, right: float) -> Iterator[Markup]:
    for tick in axis.ticks:
        y = axis(tick)
        yield _line("zero" if abs(tick) < 1e-9 else "grid", left, y, right, y)
        yield _text(left - 6, y + 3.5, f"{100 * tick:g}" if tick else "0", "tick", anchor="end")


def _log_grid(axis: _LogAxis, top: float, bottom: float) -> Iterator[Markup]:
    for power in range(axis.low, axis.high + 1):
        x = axis(10.0**power)
        yield _line("grid", x, top, x, bottom)
        yield _text(x, bottom + 16, f"{10.0**power:,g}" if power < 6 else f"10^{power}", "tick", anchor="middle")
    label = "seconds to train one run, logarithmic axis"
    yield _text((axis.start + axis.end) / 2, bottom + 36, label, "axis", anchor="middle")


def _interval_row(arm: Mapping[str, Any], axis: _Axis, y: float, *, chosen: bool) -> Iterator[Markup]:
    kind = _kind(arm, chosen=chosen)
    yield _text(axis.start - 14, y + 4, _short(arm["name"], 22), f"name {kind}", anchor="end")
    if arm["interval"]:
        low, high = (axis(end) for end in arm["interval"])
        yield _line(f"bar {kind}", low, y, high, y)
        yield from (_line(f"bar {kind}", x, y - 4, x, y + 4) for x in (low, high))
    yield _circle(axis(arm["score"]), y, 5 if chosen else 4, kind)
    yield _text(WIDTH - 8, y + 4, points(arm["score"]), f"value {kind}", anchor="end")


def _point_with_interval(arm: Mapping[str, Any], x: float, axis: _Axis, *, chosen: bool) -> Iterator[Markup]:
    kind = _kind(arm, chosen=chosen)
    if arm["interval"]:
        yield _line(f"bar thin {kind}", x, axis(arm["interval"][0]), x, axis(arm["interval"][1]))
    yield _circle(x, axis(arm["score"]), 5 if chosen else 4, kind)


def _placed_name(name: str, x: float, y: float, taken: list[tuple[float, float, float]], *, bold: bool) -> Markup:
    """A name beside its point, moved up or down until it covers no other; adds the place it takes to ``taken``."""
    shown = _short(name, 25)
    width = _CHARACTER * len(shown) + 4
    anchor = "end" if x + 10 + width > WIDTH else "start"
    left = x - 10 - width if anchor == "end" else x + 10
    shifts = [sign * 4.0 * n for n in range(20) for sign in (1, -1)]
    shift = next((s for s in shifts if not _covered(left, left + width, y + s, taken)), 0.0)
    taken.append((left, left + width, y + shift))
    place = x - 10 if anchor == "end" else x + 10
    return _text(place, y + shift + 4, shown, "name chosen" if bold else "name", anchor=anchor)


def _covered(left: float, right: float, y: float, taken: list[tuple[float, float, float]]) -> bool:
    return any(left < b and a < right and abs(y - c) < 14 for a, b, c in taken)


def _kind(arm: Mapping[str, Any], *, chosen: bool) -> str:
    return "chosen" if chosen else "floor" if arm["floor"] else "other"


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _svg(kind: str, width: float, height: float, *, title: str, told: str, children: Sequence[Markup]) -> Markup:
    """A figure with a name and its content in words, for those who do not see it."""
    inside = [_element("title", {}, title), _element("desc", {}, told), *children]
    size = {"viewBox": f"0 0 {width:g} {height:g}", "width": f"{width:g}", "height": f"{height:g}"}
    return _element("svg", {"class": f"figure {kind}", "role": "img", "aria-label": title, **size}, *inside)


def _text(x: float, y: float, shown: str, kind: str, *, anchor: str = "start") -> Markup:
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "class": kind, "text-anchor": anchor}
    return _element("text", place, shown)


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    ends = {"x1": f"{x1:.1f}", "y1": f"{y1:.1f}", "x2": f"{x2:.1f}", "y2": f"{y2:.1f}"}
    return _element("line", {"class": kind, **ends})


def _circle(x: float, y: float, r: float, kind: str) -> Markup:
    return _element("circle", {"class": f"point {kind}", "cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": f"{r:g}"})


def _element(tag: str, attributes: Mapping[str, str], *children: str) -> Markup:
    """An element whose attributes and texts are escaped; children that are Markup stay as they are."""
    written = Markup("").join(Markup(' {}="{}"').format(Markup(key), value) for key, value in attributes.items())
    inside = Markup("").join(escape(child) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(tag), written, inside)
