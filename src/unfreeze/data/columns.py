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
    table: Table, role: str, *, synonyms: Sequence[str], wanted: str | None = None, required: bool = True
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


def columns_named(table: Table, synonyms: Sequence[str]) -> tuple[str, ...]:
    """All columns that bear one of these names, in any case, in the order of the file."""
    return tuple(column for column in table.columns if column.strip().casefold() in synonyms)


def groups_of(table: Table, wanted: str | None) -> list[str | None]:
    """For each row the group it belongs to, None where it stands alone; all do where no column is named.

    Args:
        table: where to look.
        wanted: the column the user named, or None.

    Raises:
        DataError: there is no such column.
    """
    if wanted is None:
        return [None] * table.rows
    values = table.columns[_wanted(table, "group", wanted)]
    return [None if value is None or not str(value).strip() else str(value) for value in values]


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
