"""From measured pairs to figures: ratios with their spread, targets, and what is kept on disk."""

import json
import math
import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HEAD = ("case", "against", "ours", "theirs", "", "ratio (range)", "at least / dream", "score ours / theirs", "pairs")


@dataclass(frozen=True)
class Figure:
    """One figure of one pair.

    Attributes:
        name: what ours is held against, or what is measured where there is no other side.
        ours: our side.
        theirs: the other side; None where ours is held against a limit.
        unit: of both.
        at_least: what the value must reach.
        dream: what it would be good to reach.
        at_most: what the value must not exceed.
        scores: the quality that ours and theirs reached, as fractions; None where none is measured.
        detail: what a reader must know to read the figure.
    """

    name: str
    ours: float
    theirs: float | None = None
    unit: str = "CPU s"
    at_least: float | None = None
    dream: float | None = None
    at_most: float | None = None
    scores: tuple[float | None, float | None] = (None, None)
    detail: str = ""

    @property
    def value(self) -> float:
        """What is compared with the targets: how many times ours goes into theirs, or ours by itself."""
        return self.ours if self.theirs is None else self.theirs / self.ours


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The slope of seconds against sizes on double logarithmic scales: 1 is linear, 0 is constant.

    Raises:
        ValueError: there are no two different sizes.
    """
    xs, ys = [math.log(size) for size in sizes], [math.log(second) for second in seconds]
    return statistics.linear_regression(xs, ys).slope if len(set(xs)) > 1 else _no_slope(sizes)


def _no_slope(sizes: Sequence[float]) -> float:
    raise ValueError(f"an exponent needs different sizes; got {list(sizes)}")


def summarised(pairs: Sequence[Sequence[Figure]]) -> list[dict[str, Any]]:
    """Figures over all pairs: the median of the pairs' own values, with their range.

    A ratio is taken within a pair, whose sides ran one after the other, and never between medians.

    Args:
        pairs: the figures of each pair, at least one.
    """
    names = list(dict.fromkeys(figure.name for figures in pairs for figure in figures))
    return [_row([f for figures in pairs for f in figures if f.name == name]) for name in names]


def _row(figures: Sequence[Figure]) -> dict[str, Any]:
    last, values = figures[-1], [figure.value for figure in figures]
    middle = statistics.median(values)
    theirs = [figure.theirs for figure in figures if figure.theirs is not None]
    met: bool | None = None
    if last.at_least is not None or last.at_most is not None:
        met = (last.at_least or -math.inf) <= middle <= (math.inf if last.at_most is None else last.at_most)
    return {
        "name": last.name,
        "ours": statistics.median(figure.ours for figure in figures),
        "theirs": statistics.median(theirs) if theirs else None,
        "unit": last.unit,
        "value": {"median": middle, "min": min(values), "max": max(values)},
        "at_least": last.at_least,
        "dream": last.dream,
        "at_most": last.at_most,
        "met": met,
        "scores": [mean([figure.scores[side] for figure in figures]) for side in (0, 1)],
        "pairs": len(figures),
        "detail": last.detail,
    }


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return statistics.mean(known) if known else None


def table(cases: Iterable[tuple[str, Sequence[Mapping[str, Any]]]]) -> str:
    """All figures as a Markdown table that can also be read as it stands.

    Args:
        cases: pairs of a case's id and its rows, as ``summarised`` gives them.
    """
    lines: list[tuple[str, ...]] = [HEAD]
    for case, rows in cases:
        lines += [(case, *_cells(row)) for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    texts = [f"| {' | '.join(cells)} |" for cells in padded]
    return "\n".join([texts[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *texts[1:]])


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    value = row["value"]
    times = "×" if row["theirs"] is not None else ""
    spread = f" ({short(value['min'])}–{short(value['max'])})" if row["pairs"] > 1 else ""
    ratio = f"{short(value['median'])}{times}{spread}" if times or row["pairs"] > 1 else ""
    return (
        row["name"],
        short(row["ours"]),
        "–" if row["theirs"] is None else short(row["theirs"]),
        row["unit"],
        ratio or "–",
        _target(row),
        _scores(row["scores"]),
        str(row["pairs"]),
    )


def _target(row: Mapping[str, Any]) -> str:
    if row["met"] is None:
        return "–"
    wanted = f"at most {short(row['at_most'])}" if row["at_most"] is not None else short(row["at_least"])
    dream = f" / {short(row['dream'])}" if row["dream"] is not None else ""
    return f"{wanted}{dream}: {'met' if row['met'] else 'missed'}"


def _scores(scores: Sequence[float | None]) -> str:
    if scores[0] is None and scores[1] is None:
        return "–"
    return " / ".join("–" if score is None else f"{100 * score:.1f}" for score in scores)


def short(number: float) -> str:
    """A number with about three digits."""
    if number and abs(number) < 0.01:
        return f"{number:.1g}"
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.1f}" if abs(number) >= 10 else f"{number:.2f}"


class Kept:
    """The pairs of one case on disk: a line of JSON a pair, appended as soon as it is measured.

    Args:
        folder: made if it is not there.
        case: the case's id.
        key: version, machine and size; pairs of another key stay in the file and are not counted.
    """

    def __init__(self, folder: Path, case: str, key: Mapping[str, Any]) -> None:
        self._case, self._key = case, json.loads(json.dumps(key))
        self._lines = folder / f"{case}.jsonl"
        size = "" if key.get("size") == "usual" else f"-{key.get('size')}"
        self._summary = folder / f"{case}{size}.json"
        folder.mkdir(parents=True, exist_ok=True)

    def pairs(self) -> list[dict[str, Any]]:
        """The pairs of this key, in the order measured; a line that a crash cut short is passed over."""
        return [line for line in self._read() if line["key"] == self._key]

    def add(self, pair: Mapping[str, Any]) -> None:
        """Append a pair."""
        text = json.dumps({"case": self._case, "key": self._key, **pair}) + "\n"
        whole = not self._lines.is_file() or self._lines.read_bytes()[-1:] in (b"\n", b"")
        with self._lines.open("a", encoding="utf-8") as stream:
            stream.write(text if whole else "\n" + text)

    def forget(self) -> None:
        """Drop the pairs of this key; those of other versions and machines stay."""
        if not self._lines.is_file():
            return
        others = [line for line in self._read() if line["key"] != self._key]
        temporary = self._lines.with_suffix(".part")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in others), encoding="utf-8")
        os.replace(temporary, self._lines)
        self._summary.unlink(missing_ok=True)

    def summarise(self, what: str, rows: Sequence[Mapping[str, Any]], *, load: Sequence[float]) -> None:
        """Write the summary beside the pairs."""
        content = {"case": self._case, "what": what, **self._key, "load_average": list(load), "figures": list(rows)}
        temporary = self._summary.with_suffix(".part")
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(temporary, self._summary)

    def _read(self) -> list[dict[str, Any]]:
        found = []
        for text in self._lines.read_text(encoding="utf-8").splitlines() if self._lines.is_file() else ():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                continue
            if isinstance(line, dict) and {"key", "sides"} <= line.keys():
                found.append(line)
        return found
