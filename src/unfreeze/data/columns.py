"""Which column holds the text, the label, the group, the split."""

import difflib
from collections.abc import Iterable, Sequence

from unfreeze.data.table import Table
from unfreeze.errors import DataError, Problem

TEXT_COLUMNS = (
    "text", "texts", "sentence", "content", "document", "review", "message", "comment", "body", "tweet", "abstract",
    "utterance", "post", "description", "question", "title",
)  # fmt: skip
LABEL_COLUMNS = (
    "label", "labels", "class", "category", "target", "sentiment", "topic", "intent", "y", "tag", "polarity",
    "rating", "stars",
)  # fmt: skip


def find_column(
    table: Table, role: str, synonyms: Sequence[str], *, wanted: str | None = None, required: bool = True
) -> str | None:
    """The name of the column that plays a role, never guessed where several could.

    Upper and lower case are alike. The first synonym, also in the plural, beats the others: "label" or "labels" is
    taken although there is a "topic" too. Two of the others are several candidates, and an error.

    Args:
        table: where to look.
        role: what the column is for, such as "text"; its option is ``--text-column``.
        synonyms: names it usually has, the surest first.
        wanted: the name the user gave, or None.
        required: whether finding none is an error.

    Returns:
        The column's name as the file has it, or None where none was found and none is required.

    Raises:
        DataError: no such column (all columns are listed, a close match is offered), or several candidates.
    """
    if wanted is not None:
        return _wanted(table, role, wanted)
    first = synonyms[0].casefold()
    for tier in ({first, first + "s"}, {synonym.casefold() for synonym in synonyms}):
        found = [column for column in table.columns if column.strip().casefold() in tier]
        if len(found) == 1:
            return found[0]
        if found:
            what = f"several columns could be the {role}: {_listed(found)}"
            raise DataError(Problem(table.name, None, what), f"Say which with --{role}-column.")
    if not required:
        return None
    what = f"no column for the {role}; the columns are {_listed(table.columns)}"
    raise DataError(Problem(table.name, None, what), f"Name it with --{role}-column.")


def _wanted(table: Table, role: str, wanted: str) -> str:
    if wanted in table.columns:
        return wanted
    alike = [column for column in table.columns if column.strip().casefold() == wanted.strip().casefold()]
    if len(alike) == 1:
        return alike[0]
    by_key = {column.strip().casefold(): column for column in table.columns}
    near = difflib.get_close_matches(wanted.strip().casefold(), by_key, n=1)
    hint = f"Did you mean --{role}-column {by_key[near[0]]!r}?" if near else f"Choose one with --{role}-column."
    what = f"there is no column {wanted!r} for the {role}; the columns are {_listed(table.columns)}"
    raise DataError(Problem(table.name, None, what), hint)


def _listed(columns: Iterable[str]) -> str:
    return ", ".join(repr(column) for column in columns)
