"""CoNLL-style columns: a token a line, its tag in the last column, a blank line after each sentence."""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from unfreeze.data.blocks import Parsed, Pieces, Row, in_blocks, numbered_lines
from unfreeze.errors import DataError, Problem

DOCSTART = "-DOCSTART-"
DOCUMENT = "document_id"
"""The column that tells documents apart, where a file marks more than one."""

TAG = re.compile(r"O|[BIESLUMW]-\S+|\S+-[BIESLUMW]")
SHAPE = "Each line is a token and its tag, split by a space or a tab; a blank line ends a sentence."
Numbered = list[tuple[int, str]]


class _Shape(NamedTuple):
    tabbed: bool  # columns are split by tabs alone, so that a token may hold spaces
    width: int  # the number of columns most lines have, at least two
    tags: set[str]  # what stands last on lines of that width


_WORDS = _Shape(tabbed=False, width=1, tags={"#"})  # a lone "#" is a word, "# " and more a comment


def looks_like_conll(text: str) -> bool:
    """Whether at least half of the first lines end in something that looks like a tag.

    Args:
        text: the file's beginning.
    """
    lines = [line for line in text.split("\n", 400)[:400] if line.strip() and not line.startswith(DOCSTART)]
    fields = [re.split(r"[ \t]+", line.strip(" \t\r")) for line in lines]
    tagged = sum(len(parts) > 1 and TAG.fullmatch(parts[-1]) is not None for parts in fields)
    return tagged >= max(1, len(lines) / 2)


def conll_blocks(pieces: Pieces, name: str, *, rows: int | None = None) -> Iterator[Parsed]:
    """Tokens and tags of each sentence, and the line each sentence starts on.

    Lines that begin with -DOCSTART-, and comments ("# " before the first token of a sentence), are no sentences. Where
    such marks part the sentences of a file that is read whole, a column says which document each is from. A token
    "#" is told from a comment by its tag: the line has as many columns as the others, and ends in a tag of the file.

    Args:
        pieces: the file's text; it is gone through twice more, to learn its columns and tags.
        name: the file's name, for the error.
        rows: sentences of a block at the most; None for a single block.

    Returns:
        For each block columns "tokens" and "tags", with several documents also "document_id" (the file's name and the
        line of the mark), and the lines; word ``w`` of sentence ``s`` stands on line ``lines[s] + w``.

    Raises:
        DataError: lines without a tag or with another number of columns; every such line of a block is listed.
    """
    shape = _shape_of(pieces)
    empty = True
    for block in in_blocks(_tagged(pieces(), name, shape), rows, cure=lambda _: SHAPE):
        empty = False
        tokens = [[fields[0] for fields in row.values] for row in block]
        tags = [[fields[-1] for fields in row.values] for row in block]
        lines = [row.line for row in block]
        documents = _documents(pieces(), name, lines) if rows is None else {}
        yield {"tokens": tokens, "tags": tags} | documents, lines
    if empty:
        raise DataError(Problem(name, None, "no sentence in the file; expected tokens with tags"), SHAPE)


def holds_words_alone(pieces: Pieces) -> bool:
    """Whether every line is one word and nothing else, comments and blank lines aside.

    Args:
        pieces: the file's text; it is gone through up to the first line that has more.
    """
    lines = (line for sentence in _without_comments(pieces(), _WORDS) for _, line in sentence)
    alone = all(len(_fields(line, tabbed=False)) == 1 for line in lines)
    return alone and next(_without_comments(pieces(), _WORDS), None) is not None


def word_blocks(pieces: Pieces, name: str, *, rows: int | None = None) -> Iterator[Parsed]:
    """The words of each sentence of a file that ``holds_words_alone``, and the line each sentence starts on.

    Args:
        pieces: the file's text.
        name: the file's name; not needed, for nothing can be wrong any more.
        rows: sentences of a block at the most; None for a single block.

    Returns:
        For each block column "tokens", and the lines.
    """
    sentences = _without_comments(pieces(), _WORDS)
    found = (
        Row(sentence[0][0], [line.strip(" \t") for _, line in sentence], _size(sentence)) for sentence in sentences
    )
    for block in in_blocks(found, rows, cure=lambda _: SHAPE):
        yield {"tokens": [row.values for row in block]}, [row.line for row in block]


def _tagged(pieces: Iterable[str], name: str, shape: _Shape) -> Iterator[Row[list[list[str]]] | Problem]:
    """Sentences with the columns of each word, and what is wrong with their lines."""
    for sentence in _without_comments(pieces, shape):
        rows = [(number, _fields(line, shape.tabbed)) for number, line in sentence]
        for number, fields in rows:
            yield from _row_problems(name, number, fields, shape.width, shape.tabbed)
        yield Row(rows[0][0], [fields for _, fields in rows], _size(sentence))


def _documents(pieces: Iterable[str], name: str, lines: list[int]) -> dict[str, list[str]]:
    """The document of each sentence as a column; none where one document has them all, as with a mark at the head."""
    marks = [1, *(number for number, line in numbered_lines(pieces) if line.startswith(DOCSTART))]
    found = [f"{name}:{marks[bisect_right(marks, line) - 1]}" for line in lines]
    return {DOCUMENT: found} if len(set(found)) > 1 else {}


def _size(sentence: Numbered) -> int:
    return sum(len(line) for _, line in sentence)


def _sentences(pieces: Iterable[str]) -> Iterator[Numbered]:
    sentence: Numbered = []
    for number, raw in numbered_lines(pieces):
        line = raw.rstrip("\r")
        if line.strip(" \t") and not line.startswith(DOCSTART):
            sentence.append((number, line))
        elif sentence:
            yield sentence
            sentence = []
    if sentence:
        yield sentence


def _shape_of(pieces: Pieces) -> _Shape:
    """How most lines of a file are written."""
    number = with_tab = 0
    for line in _plain(pieces()):
        number += 1
        with_tab += "\t" in line
    tabbed = with_tab > number / 2
    tags: dict[int, set[str]] = {}
    widths: Counter[int] = Counter()
    for line in _plain(pieces()):
        fields = _fields(line, tabbed)
        if len(fields) > 1:
            widths[len(fields)] += 1
            tags.setdefault(len(fields), set()).add(fields[-1])
    width = widths.most_common(1)[0][0] if widths else 2
    return _Shape(tabbed, width, tags.get(width, set()) | {"O"})


def _plain(pieces: Iterable[str]) -> Iterator[str]:
    """Lines that are no comments for sure."""
    return (line for sentence in _sentences(pieces) for _, line in sentence if not line.startswith("# "))


def _fields(line: str, tabbed: bool) -> list[str]:
    if tabbed:
        return [field.strip(" ") for field in line.rstrip(" \t").split("\t")]
    return re.split(r"[ \t]+", line.strip(" \t"))


def _without_comments(pieces: Iterable[str], shape: _Shape) -> Iterator[Numbered]:
    """Sentences from their first word on."""
    for sentence in _sentences(pieces):
        for i, (_, line) in enumerate(sentence):
            fields = _fields(line, shape.tabbed)
            is_token = len(fields) == shape.width and fields[-1] in shape.tags
            if not line.startswith("# ") or is_token:
                yield sentence[i:]
                break


def _row_problems(name: str, line: int, fields: list[str], width: int, tabbed: bool) -> list[Problem]:
    if len(fields) == 1:
        mark = " after a tab" if tabbed else ""
        return [Problem(name, line, f"a token without a tag; expected the tag{mark} in the last column")]
    if len(fields) != width:
        return [Problem(name, line, f"{len(fields)} columns; most lines have {width}")]
    if not fields[0]:
        return [Problem(name, line, "a tag without a token; expected the token in the first column")]
    return []
