"""From a file or a frame to a table; every bad input is one error that lists all problems."""

import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from unfreeze.data.reading_bytes import decoded, load_bytes
from unfreeze.data.reading_conll import looks_like_conll, parse_conll
from unfreeze.data.reading_csv import parse_csv, parse_tsv
from unfreeze.data.reading_frame import table_of_frame
from unfreeze.data.reading_jsonl import parse_json, parse_jsonl
from unfreeze.data.table import Table
from unfreeze.errors import DataError, Problem, SettingsError

if TYPE_CHECKING:
    import pandas

PARSERS = {
    ".csv": ("csv", parse_csv),
    ".tsv": ("tsv", parse_tsv),
    ".jsonl": ("jsonl", parse_jsonl),
    ".ndjson": ("jsonl", parse_jsonl),
    ".json": ("jsonl", parse_json),
    ".conll": ("conll", parse_conll),
    ".iob": ("conll", parse_conll),
    ".bio": ("conll", parse_conll),
    ".txt": ("conll", parse_conll),
}


def read_table(source: "str | Path | pandas.DataFrame") -> Table:
    """Read a labelled file, or a pandas frame, as it is: nothing is dropped, converted or guessed.

    The suffix says the format (a further ``.gz`` is unpacked); a ``.txt`` must look like one token and one tag a line.

    Args:
        source: path of a CSV, TSV, JSON lines, JSON or CoNLL file in UTF-8, or a pandas frame.

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
    form, parse = PARSERS[_suffix(name)]
    text = decoded(data, name)
    if not text.strip():
        raise DataError(Problem(name, None, "the file is empty; expected labelled rows"))
    if _suffix(name) == ".txt" and not looks_like_conll(text):
        expected = "expected one token and one tag a line (CoNLL), with a blank line between sentences"
        cure = "For a table of texts and labels, name the file .csv, .tsv or .jsonl."
        raise DataError(Problem(name, None, f"the lines are not tokens with tags; {expected}"), cure)
    columns, lines = parse(text, name)
    return Table(name, form, columns, lines, hashlib.sha256(data).hexdigest())


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
