"""What is kept on disk of frozen layers, as text for the terminal."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from unfreeze.cli.showing import rendered
from unfreeze.compare.numerals import counted, whole
from unfreeze.report.formats import stored

_APART = ("bytes", "used", "depth", "weights")
"""What differs among the files of one encoder on one list of texts."""


def cached(found: Mapping[str, Any], *, cleared: bool) -> str:
    """What ``unfreeze.front.cache`` found: a sentence, and a row for each encoder on each list of texts.

    Args:
        found: what it gave.
        cleared: whether it was asked to delete all.
    """
    files, total = found["files"], stored(found["bytes"])
    if cleared:
        return f"{found['folder']}: {total} deleted\n"
    if not files:
        return f"{found['folder']}: nothing is kept\n"
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("encoder", "tokens", "depths", "as", "size", "last used"):
        table.add_column(title, justify="right" if title in {"tokens", "size"} else "left")
    for _, group in groupby(sorted(files, key=_common), key=_common):
        table.add_row(*_row(list(group)))
    return f"{rendered(table)}{found['folder']}: {counted(len(files), 'file')}, {total}\n"


def _common(file: Mapping[str, Any]) -> list[tuple[str, str]]:
    return sorted((name, str(value)) for name, value in file.items() if name not in _APART)


def _row(files: Sequence[Mapping[str, Any]]) -> list[str]:
    """Files of one encoder on one list of texts, which differ in depth."""
    first, used = files[0], max(file["used"] for file in files)
    encoder = f"{first['encoder']}, {first['hidden']} wide" if "encoder" in first else "cannot be read"
    depths = ", ".join(map(str, sorted(file["depth"] for file in files if "depth" in file)))
    kept = f"{first.get('precision', '')} on {first.get('device', '')}" if "encoder" in first else ""
    day = datetime.fromtimestamp(used, UTC).astimezone().strftime("%Y-%m-%d %H:%M")
    return [encoder, whole(first.get("tokens")), depths, kept, stored(sum(file["bytes"] for file in files)), day]
