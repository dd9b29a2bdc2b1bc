"""Rows of a file in blocks, so that one larger than memory can be read; a file that is read whole is one block."""

import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

from unfreeze.errors import DataError, Problem

CHARACTERS = 2**22
"""A block ends after so many characters, too: 4,096 rows may be headlines, or they may be books."""

Pieces = Callable[[], Iterable[str]]
"""The text of a file from its beginning, as often as it is asked for, in pieces that end where lines end."""

Parsed = tuple[dict[str, list[Any]], list[int]]
"""Values by column, and the line each row starts on."""

T = TypeVar("T")


class Row(NamedTuple, Generic[T]):
    """One row as its format has it.

    Attributes:
        line: 1-based line on which it starts.
        values: what it holds.
        characters: how long it is, about.
    """

    line: int
    values: T
    characters: int


def in_blocks(
    rows: Iterable[Row[T] | Problem], most: int | None, *, cure: Callable[[list[Problem]], str]
) -> Iterator[list[Row[T]]]:
    """Blocks of rows in their order.

    Args:
        rows: rows, and what is wrong with others, in the order of the file.
        most: rows of a block at the most; None for a single block of all rows.
        cure: what the user can do about problems.

    Raises:
        DataError: a block has problems; all of that block are listed.
    """
    block: list[Row[T]] = []
    problems: list[Problem] = []
    characters = 0
    for row in rows:
        if isinstance(row, Problem):
            problems.append(row)
        else:
            block.append(row)
            characters += row.characters
        if most is not None and (len(block) + len(problems) >= most or characters >= CHARACTERS):
            if problems:
                break
            yield block
            block, characters = [], 0
    if problems:
        raise DataError(problems, cure(problems))
    if block:
        yield block


def numbered_lines(pieces: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Lines with their 1-based numbers, without the line feed.

    Only a line feed ends a line: U+0085 and U+2028 may stand inside a token or a JSON string.
    """
    number = 0
    for piece in pieces:
        for line in io.StringIO(piece, newline="\n"):
            number += 1
            yield number, line.removesuffix("\n")
