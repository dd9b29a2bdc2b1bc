"""What every file becomes first: named columns, and the line each row came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of one file, before anything is made of them.

    Attributes:
        name: the file as the user wrote it, "<frame>" for a pandas frame.
        form: how it was written: "csv", "tsv", "jsonl", "conll", "txt" or "frame".
        columns: name to values, in the order of the file. CSV and TSV values are the exact strings ("NA" is text);
            JSON keeps its values, a missing key is None; CoNLL has "tokens" and "tags", a list of strings a sentence,
            and "document_id" where -DOCSTART- lines part the sentences.
        lines: 1-based line on which each row starts; for a frame the 1-based position of the row.
        digest: SHA-256 in hex of the decompressed bytes; for a frame, of its values; "" for a block of a file's rows.
    """

    name: str
    form: str
    columns: Mapping[str, Sequence[Any]]
    lines: Sequence[int]
    digest: str

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.lines)
