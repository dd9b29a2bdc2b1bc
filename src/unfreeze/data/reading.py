"""From a file or a frame to a table; every bad input is one error that lists all problems."""

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from unfreeze.data.blocks import Pieces
from unfreeze.data.reading_bytes import check_file, decoded, load_bytes, text_pieces
from unfreeze.data.reading_conll import conll_blocks, holds_words_alone, looks_like_conll, word_blocks
from unfreeze.data.reading_csv import csv_blocks, tsv_blocks
from unfreeze.data.reading_frame import table_of_frame
from unfreeze.data.reading_jsonl import json_blocks, jsonl_blocks
from unfreeze.data.table import Table
from unfreeze.errors import DataError, Problem, SettingsError

if TYPE_CHECKING:
    import pandas

PARSERS = {
    ".csv": ("csv", csv_blocks),
    ".tsv": ("tsv", tsv_blocks),
    ".jsonl": ("jsonl", jsonl_blocks),
    ".ndjson": ("jsonl", jsonl_blocks),
    ".json": ("jsonl", json_blocks),
    ".conll": ("conll", conll_blocks),
    ".iob": ("conll", conll_blocks),
    ".bio": ("conll", conll_blocks),
    ".txt": ("conll", conll_blocks),
}


def read_table(source: "str | Path | pandas.DataFrame", *, labelled: bool = True) -> Table:
    """Read a labelled file, or a pandas frame, as it is: nothing is dropped, converted or guessed.

    The suffix says the format (a further ``.gz`` is unpacked); a ``.txt`` must look like one token and one tag a line.

    Args:
        source: path of a CSV, TSV, JSON lines, JSON or CoNLL file in UTF-8, or a pandas frame.
        labelled: whether a CoNLL file must have tags; else it may be words alone, one a line.

    Returns:
        The columns and where each row came from.

    Raises:
        DataError: the file is missing, of no known format, damaged or empty; lists every problem with its line.
        SettingsError: the source is neither a path nor a pandas frame.
    """
    if not isinstance(source, str | Path):
        pandas_module = sys.modules.get("pandas")  # whoever holds a frame has imported pandas already
        if pandas_module is not None and isinstance(source, pandas_module.DataFrame):
            return table_of_frame(source)
        raise SettingsError(f"data is the path of a file or a pandas DataFrame; got {type(source).__name__}")
    name = str(source)
    data = load_bytes(name)
    _suffix(name)  # a file of no known format is not even decoded
    text = decoded(data, name)
    [table] = _blocks(lambda: (text,), name, None, labelled=labelled)
    return replace(table, digest=hashlib.sha256(data).hexdigest())


def read_texts(source: "str | Path | pandas.DataFrame") -> Table:
    """Read texts that need no labels, as ``read_table`` does; a ``.txt`` that is no CoNLL file holds a text a line.

    Args:
        source: as of ``read_table``.

    Returns:
        The columns and where each row came from; those lines are a column "text", blank ones left out.

    Raises:
        DataError: as of ``read_table``.
        SettingsError: the source is neither a path nor a pandas frame.
    """
    name = str(source)
    if not isinstance(source, str | Path) or not name.lower().endswith((".txt", ".txt.gz")):
        return read_table(source, labelled=False)
    data = load_bytes(name)
    text = decoded(data, name)
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not lines or looks_like_conll(text) or holds_words_alone(lambda: (text,)):
        return read_table(source, labelled=False)
    numbers, texts = zip(*lines, strict=True)
    return Table(name, "txt", {"text": texts}, numbers, hashlib.sha256(data).hexdigest())


def read_blocks(file: str | Path, *, rows: int, labelled: bool = True) -> Iterator[Table]:
    """Read a file as ``read_table`` does, a block of rows at a time, so that it need not fit into memory.

    A JSON file that holds one list is the exception: it is read whole.

    Args:
        file: path of a CSV, TSV, JSON lines, JSON or CoNLL file in UTF-8.
        rows: of a block at the most; one of long rows has fewer.
        labelled: whether a CoNLL file must have tags; else it may be words alone, one a line.

    Returns:
        The blocks in order, each without a digest. Those of JSON lines have the keys that occur in them.

    Raises:
        DataError: as of ``read_table``, at the first block that has problems.
    """
    name = str(file)
    check_file(name)
    _suffix(name)
    yield from _blocks(lambda: text_pieces(name), name, rows, labelled=labelled)


def _blocks(pieces: Pieces, name: str, rows: int | None, *, labelled: bool) -> Iterator[Table]:
    form, blocks = PARSERS[_suffix(name)]
    first = next((piece for piece in pieces() if piece.strip()), None)
    if first is None:
        raise DataError(Problem(name, None, f"the file is empty; expected {'labelled rows' if labelled else 'rows'}"))
    if form == "conll" and not labelled and holds_words_alone(pieces):
        blocks = word_blocks
    elif _suffix(name) == ".txt" and not looks_like_conll(first):
        expected = "expected one token and one tag a line (CoNLL), with a blank line between sentences"
        cure = "For a table of texts and labels, name the file .csv, .tsv or .jsonl."
        raise DataError(Problem(name, None, f"the lines are not tokens with tags; {expected}"), cure)
    for columns, lines in blocks(pieces, name, rows=rows):
        yield Table(name, form, columns, lines, "")


def _suffix(name: str) -> str:
    suffixes = [suffix.lower() for suffix in Path(name).suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    found = suffixes[-1] if suffixes else ""
    if found not in PARSERS:
        what = f"files named {found!r} are not read" if found else "the name has no suffix that says the format"
        known = f"Known are {', '.join(PARSERS)}, each also with .gz; write the data as one of these."
        raise DataError(Problem(name, None, what), known)
    return found
