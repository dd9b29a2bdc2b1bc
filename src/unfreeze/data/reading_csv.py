"""Comma- and tab-separated files, every value the exact string that was written."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from unfreeze.data.blocks import Parsed, Pieces, Row, in_blocks
from unfreeze.errors import DataError, Problem

HUGE = 2**31 - 1  # the largest limit a C long holds on every system


def csv_blocks(pieces: Pieces, name: str, *, rows: int | None = None) -> Iterator[Parsed]:
    """Columns and line numbers of a comma-separated text with a header.

    Args:
        pieces: the file's text.
        name: the file's name, for the error.
        rows: of a block at the most; None for a single block.

    Returns:
        For each block of rows the values by column, and the line each row starts on.

    Raises:
        DataError: no rows, a bad header, ragged rows or broken quoting; every such line of a block is listed.
    """
    return _blocks(pieces, name, rows, delimiter=",", quoting=csv.QUOTE_MINIMAL)


def tsv_blocks(pieces: Pieces, name: str, *, rows: int | None = None) -> Iterator[Parsed]:
    """Columns and line numbers of a tab-separated text with a header.

    Both habits are read: quotes around values, and (where the file does not parse that way) quotes as plain characters.

    Args:
        pieces: the file's text; it is gone through once more, to see which habit is its own.
        name: the file's name, for the error.
        rows: of a block at the most; None for a single block.

    Returns:
        For each block of rows the values by column, and the line each row starts on.

    Raises:
        DataError: no rows, a bad header or ragged rows; every such line of a block is listed.
    """
    quoting = csv.QUOTE_MINIMAL
    try:
        _exhaust(_blocks(pieces, name, rows, delimiter="\t", quoting=quoting))
    except DataError as error:
        quoting = csv.QUOTE_NONE
        try:
            _exhaust(_blocks(pieces, name, rows, delimiter="\t", quoting=quoting))
        except DataError:
            raise error from None
    yield from _blocks(pieces, name, rows, delimiter="\t", quoting=quoting)


def _exhaust(blocks: Iterator[Parsed]) -> None:
    for _ in blocks:
        pass


def _blocks(pieces: Pieces, name: str, most: int | None, *, delimiter: str, quoting: int) -> Iterator[Parsed]:
    records = _records(pieces(), name, delimiter=delimiter, quoting=quoting)
    problems: list[Problem] = []
    line, header = 1, list[str]()
    for record in records:
        if not isinstance(record, Problem):
            line, header, _ = record
            break
        problems.append(record)
    problems += _header_problems(header, name, line, delimiter)
    empty = True
    for block in in_blocks(chain(problems, _fitting(records, len(header), name)), most, cure=_cure):
        empty = False
        columns = {column: [row.values[i] for row in block] for i, column in enumerate(header)}
        yield columns, [row.line for row in block]
    if empty:
        missing = [Problem(name, None, "a header and no rows; expected at least one row")]
        raise DataError(missing, _cure(missing))


def _records(pieces: Iterable[str], name: str, *, delimiter: str, quoting: int) -> Iterator[Row[list[str]] | Problem]:
    # newline="" leaves line ends inside quotes as they are; strict refuses an unclosed quote instead of swallowing rows
    lines = (line for piece in pieces for line in io.StringIO(piece, newline=""))
    reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)  # type: ignore[arg-type]
    while True:
        line = reader.line_num + 1
        before = csv.field_size_limit(HUGE)  # of the whole process, so it is changed for this moment only
        found: Row[list[str]] | Problem
        try:
            record = next(reader)
            found = Row(line, record, sum(map(len, record)))
        except StopIteration:
            return
        except csv.Error as error:
            found = Problem(name, line, _quoting_problem(str(error), reader.line_num))
        finally:
            csv.field_size_limit(before)
        if isinstance(found, Problem) or found.values:  # a blank line is no row
            yield found


def _fitting(records: Iterable[Row[list[str]] | Problem], width: int, name: str) -> Iterator[Row[list[str]] | Problem]:
    """Records with as many values as the header; of the others, what is wrong."""
    for record in records:
        if isinstance(record, Problem) or len(record.values) == width:
            yield record
        else:
            what = f"{_fields(len(record.values))}, the header has {width}"
            yield Problem(name, record.line, what)


def _quoting_problem(message: str, last_line: int) -> str:
    if "end of data" in message:
        return f"a quote opens in this row and is never closed (the file ends in line {last_line})"
    return f"text follows a closing quote (noticed in line {last_line}); a quote inside a value is doubled"


def _header_problems(header: list[str], name: str, line: int, delimiter: str) -> list[Problem]:
    problems = []
    empty = [i + 1 for i, column in enumerate(header) if not column.strip()]
    if empty:
        index = " (a frame written with its index? use to_csv(..., index=False))" if empty[0] == 1 else ""
        problems.append(Problem(name, line, f"no name in the header for column {_listed(empty)}{index}"))
    twice = [column for column, n in Counter(header).items() if n > 1 and column.strip()]
    if twice:
        problems.append(Problem(name, line, f"the header names {_listed(map(repr, twice))} more than once"))
    others = {";": "semicolons", "\t": "tabs", ",": "commas"}
    wrong = [word for mark, word in others.items() if mark != delimiter and mark in "".join(header)]
    if len(header) == 1 and wrong:
        usual = {",": "commas", "\t": "tabs"}[delimiter]
        problems.append(Problem(name, line, f"the header is split by {wrong[0]}; expected {usual}"))
    return problems


def _cure(problems: list[Problem]) -> str:
    text = " ".join(problem.what for problem in problems)
    if "quote" in text:
        return "Close the quote, or write the file again with a CSV writer, which doubles quotes inside values."
    if "split by" in text:
        return "Write the file again with commas as .csv, or with tabs as .tsv."
    if "the header has" in text:
        return "Give every row as many values as the header; a value that holds the separator goes in quotes."
    return "The first line names the columns, each name once; each further line is one row."


def _fields(n: int) -> str:
    return f"{n} value{'' if n == 1 else 's'}"


def _listed(items: Any) -> str:
    return ", ".join(str(item) for item in items)
