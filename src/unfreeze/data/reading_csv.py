"""Comma- and tab-separated files, every value the exact string that was written."""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from unfreeze.errors import DataError, Problem

HUGE = 2**31 - 1  # the largest limit a C long holds on every system
Parsed = tuple[dict[str, list[Any]], list[int]]


def parse_csv(text: str, name: str) -> Parsed:
    """Columns and line numbers of a comma-separated text with a header.

    Args:
        text: the whole file.
        name: the file's name, for the error.

    Returns:
        Values by column, and the line each row starts on.

    Raises:
        DataError: no rows, a bad header, ragged rows or broken quoting; every such line is listed.
    """
    parsed, problems = _parse(text, name, delimiter=",", quoting=csv.QUOTE_MINIMAL)
    if problems:
        raise DataError(problems, _cure(problems))
    return parsed


def parse_tsv(text: str, name: str) -> Parsed:
    """Columns and line numbers of a tab-separated text with a header.

    Both habits are read: quotes around values, and (where that does not parse) quotes as plain characters.

    Args:
        text: the whole file.
        name: the file's name, for the error.

    Returns:
        Values by column, and the line each row starts on.

    Raises:
        DataError: no rows, a bad header or ragged rows; every such line is listed.
    """
    parsed, problems = _parse(text, name, delimiter="\t", quoting=csv.QUOTE_MINIMAL)
    if problems:
        plain, left = _parse(text, name, delimiter="\t", quoting=csv.QUOTE_NONE)
        if left:
            raise DataError(problems, _cure(problems))
        return plain
    return parsed


def _parse(text: str, name: str, *, delimiter: str, quoting: int) -> tuple[Parsed, list[Problem]]:
    problems: list[Problem] = []
    with _huge_fields():
        records = _records(text, name, problems, delimiter=delimiter, quoting=quoting)
        line, header = next(records, (1, []))
        problems += _header_problems(header, name, line, delimiter)
        values: list[list[str]] = []
        lines: list[int] = []
        for line, record in records:
            if len(record) == len(header):
                values.append(record)
                lines.append(line)
            else:
                problems.append(Problem(name, line, f"{_fields(len(record))}, the header has {len(header)}"))
    if not problems and not lines:
        problems.append(Problem(name, None, "a header and no rows; expected at least one row"))
    problems.sort(key=lambda problem: problem.line or 0)
    columns = {column: [record[i] for record in values] for i, column in enumerate(header)} if not problems else {}
    return (columns, lines), problems


def _records(
    text: str, name: str, problems: list[Problem], *, delimiter: str, quoting: int
) -> Iterator[tuple[int, list[str]]]:
    # newline="" leaves line ends inside quotes as they are; strict refuses an unclosed quote instead of swallowing rows
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)  # type: ignore[arg-type]
    while True:
        line = reader.line_num + 1
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problems.append(Problem(name, line, _quoting_problem(str(error), reader.line_num)))
            continue
        if record:  # a blank line is no row
            yield line, record


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


@contextmanager
def _huge_fields() -> Iterator[None]:
    before = csv.field_size_limit(HUGE)
    try:
        yield
    finally:
        csv.field_size_limit(before)
