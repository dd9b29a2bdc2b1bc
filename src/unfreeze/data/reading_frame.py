"""A pandas frame as a table."""

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Any

from unfreeze.data.table import Table
from unfreeze.errors import DataError, Problem

if TYPE_CHECKING:
    import pandas

NAME = "<frame>"
HALF = "half of a surrogate pair (\\ud800 to \\udfff) that is no character"


def table_of_frame(frame: "pandas.DataFrame") -> Table:
    """The columns of a frame as plain Python values; what pandas counts as missing is None.

    Args:
        frame: at least one row and one column, each column named once.

    Raises:
        DataError: no rows, no columns, a column named twice or not at all, or strings that are no Unicode text.
    """
    names = [str(column) for column in frame.columns]
    problems = [Problem(NAME, None, f"more than one column is named {n!r}") for n, k in Counter(names).items() if k > 1]
    if any(not name.strip() for name in names):
        problems.append(Problem(NAME, None, "a column has no name"))
    if not len(frame) or not names:
        problems.append(Problem(NAME, None, f"{len(frame)} rows and {len(names)} columns; expected at least one each"))
    if problems:
        raise DataError(problems)
    columns = {name: _values(frame.iloc[:, i]) for i, name in enumerate(names)}
    halves = [Problem(NAME, row, f"column {n!r}: {HALF}") for n, vs in columns.items() for row in _no_unicode(vs)]
    if halves:
        raise DataError(halves, "Decode the text as what it was written in.")
    digest = hashlib.sha256(repr(columns).encode("utf-8", "surrogatepass")).hexdigest()
    return Table(NAME, "frame", columns, range(1, len(frame) + 1), digest)


def _values(column: "pandas.Series[Any]") -> list[Any]:
    missing = column.isna().tolist()
    values = [value.tolist() if hasattr(value, "tolist") else value for value in column.tolist()]
    return [None if gone else value for value, gone in zip(values, missing, strict=True)]


def _no_unicode(values: list[Any]) -> list[int]:
    """1-based rows whose string cannot be written as UTF-8."""
    return [i for i, value in enumerate(values, 1) if isinstance(value, str) and not _encodes(value)]


def _encodes(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
