"""Tables with entities as examples: words with tags, or texts with character spans."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from unfreeze.data.audit import Count
from unfreeze.data.columns import TEXT_COLUMNS, find_column
from unfreeze.data.example import Example
from unfreeze.data.table import Table
from unfreeze.data.tags import recognise_scheme, to_iob2
from unfreeze.data.words import overlapping_spans, split_words, tags_from_spans
from unfreeze.errors import DataError, Problem
from unfreeze.tasks._base import Columns, Reading

WORD_COLUMNS = ("tokens", "words")
TAG_COLUMNS = ("tags", "ner_tags", "labels", "ner", "iob")
SPAN_COLUMNS = ("entities", "spans", "entity_spans")


def holds_entities(table: Table, columns: Columns) -> bool:
    """Whether a table has words with tags, or a column of character spans."""
    names = {name.strip().lower() for name in table.columns}
    if columns.label is not None:
        values = table.columns.get(columns.label, ())
        return any(isinstance(value, (list, dict)) for value in values)
    return bool(names & set(WORD_COLUMNS) and names & set(TAG_COLUMNS)) or bool(names & set(SPAN_COLUMNS))


def read_entities(tables: Sequence[Table], columns: Columns, *, labelled: bool) -> Reading:
    """Sentences of the tables as examples with IOB2 tags.

    Raises:
        DataError: words and tags differ in number, schemes are mixed, spans lie outside the text or overlap.
    """
    examples: list[tuple[Example, ...]] = []
    counts: list[Count] = []
    says = ""
    for table in tables:
        names = {name.strip().lower() for name in table.columns}
        in_words = bool(names & set(WORD_COLUMNS))
        if not labelled:
            examples.append(tuple(_unlabelled(table, columns, in_words=in_words)))
            continue
        rows, found, told = _tagged(table, columns) if in_words else _spanned(table, columns)
        examples.append(rows)
        counts += found
        says = says or told
    return Reading(tuple(examples), tuple(counts), says)


def _unlabelled(table: Table, columns: Columns, *, in_words: bool) -> Iterable[Example]:
    if in_words:
        column = str(find_column(table, "text", WORD_COLUMNS))
        for row, words in enumerate(table.columns[column]):
            yield _of_words([str(word) for word in words or ()], None, table, row)
        return
    column = str(find_column(table, "text", TEXT_COLUMNS, wanted=columns.text))
    for row, (line, text) in enumerate(zip(table.lines, table.columns[column], strict=True)):
        words, offsets = split_words(str(text or ""))
        yield Example(str(text or ""), None, words, offsets, table.name, line, row)


def _of_words(words: Sequence[str], tags: tuple[str, ...] | None, table: Table, row: int, group: Any = None) -> Example:
    """An example from words alone: its text is the words joined by spaces."""
    offsets, place = [], 0
    for word in words:
        offsets.append((place, place + len(word)))
        place += len(word) + 1
    return Example(
        " ".join(words), tags, tuple(words), tuple(offsets), table.name, table.lines[row], row, _named(group)
    )


def _tagged(table: Table, columns: Columns) -> tuple[tuple[Example, ...], list[Count], str]:
    """Words with tags of any scheme."""
    words = str(find_column(table, "text", WORD_COLUMNS))
    tags = str(find_column(table, "label", TAG_COLUMNS, wanted=columns.label))
    rows = list(zip(range(table.rows), table.columns[words], table.columns[tags], strict=True))
    problems = [p for row, w, t in rows for p in _mismatch(table.name, table.lines[row], w, t, tags)]
    if problems:
        raise DataError(problems, "Each row needs a list of words and a list of as many tags, such as B-PER, I-PER, O.")
    empty = [table.lines[row] for row, w, _ in rows if not w]
    rows = [row for row in rows if row[1]]
    lines = [table.lines[row] for row, _, _ in rows]
    scheme = recognise_scheme([t for _, _, t in rows], file=table.name, lines=lines, line_a_word=table.form == "conll")
    groups = table.columns[columns.group] if columns.group else [None] * table.rows
    examples = tuple(_of_words([str(x) for x in w], to_iob2(t, scheme), table, row, groups[row]) for row, w, t in rows)
    counts = [Count(f"sentences of {table.name} had no words and were dropped", len(empty), table.rows, tuple(empty))]
    says = f"named entities: words from column {words!r}, {scheme} tags from column {tags!r}"
    return examples, counts if empty else [], says


def _mismatch(file: str, line: int, words: Any, tags: Any, column: str) -> list[Problem]:
    if not isinstance(words, list) or not isinstance(tags, list):
        return [Problem(file, line, f"words and {column!r} must be lists; found {_kind(words)} and {_kind(tags)}")]
    if len(words) != len(tags):
        return [Problem(file, line, f"{len(words)} words but {len(tags)} tags")]
    numbers = [tag for tag in tags if not isinstance(tag, str)]
    if numbers:
        return [Problem(file, line, f"tags must be text such as B-PER; found the {_kind(numbers[0])} {numbers[0]!r}")]
    return []


def _kind(value: Any) -> str:
    names = {"NoneType": "nothing", "int": "number", "float": "number", "str": "text", "dict": "object"}
    return names.get(type(value).__name__, type(value).__name__)


def _named(value: Any) -> str | None:
    return None if value is None else str(value)


def _spanned(table: Table, columns: Columns) -> tuple[tuple[Example, ...], list[Count], str]:
    """Texts with spans in characters."""
    text_column = str(find_column(table, "text", TEXT_COLUMNS, wanted=columns.text))
    span_column = str(find_column(table, "label", SPAN_COLUMNS, wanted=columns.label))
    groups = table.columns[columns.group] if columns.group else [None] * table.rows
    examples, empty, widened, problems = [], [], [], []
    rows = zip(table.lines, table.columns[text_column], table.columns[span_column], groups, strict=True)
    for row, (line, text, given, group) in enumerate(rows):
        if text is None or not str(text).strip():
            empty.append(line)
            continue
        spans, wrong = _spans(table.name, line, str(text), given)
        problems += wrong
        if not wrong:
            words, offsets = split_words(str(text))
            tags, cut = tags_from_spans(offsets, spans)
            widened += [line] * cut
            examples.append(Example(str(text), tuple(tags), words, offsets, table.name, line, row, _named(group)))
    if problems:
        raise DataError(problems, "Spans count characters from 0, the end is not included, and they may not overlap.")
    entities = sum(tag.startswith("B-") for e in examples for tag in e.target or ())
    found = (
        (f"texts of {table.name} had no words and were dropped", empty, table.rows),
        (f"entities of {table.name} began or ended inside a word and were moved to its border", widened, entities),
    )
    counts = [Count(what, len(lines), of, tuple(lines)) for what, lines, of in found if lines]
    says = f"named entities: texts from column {text_column!r}, character spans from column {span_column!r}"
    return tuple(examples), counts, says


def _spans(file: str, line: int, text: str, given: Any) -> tuple[list[tuple[int, int, str]], list[Problem]]:
    """Spans as (start, end, label), with what is wrong with them."""
    spans, problems = [], []
    for item in given or []:
        span = _span(item)
        if span is None:
            what = "an entity needs start, end and label, as [start, end, label] or as an object with these keys"
            problems.append(Problem(file, line, what))
        elif not 0 <= span[0] < span[1] <= len(text):
            place = f"{span[0]} to {span[1]}"
            problems.append(Problem(file, line, f"entity from {place} lies outside the text of {len(text)} characters"))
        else:
            spans.append(span)
    problems += [
        Problem(file, line, f"entities {_place(spans[a])} and {_place(spans[b])} overlap")
        for a, b in overlapping_spans(spans)
    ]
    return spans, problems


def _place(span: tuple[int, int, str]) -> str:
    return f"{span[0]} to {span[1]} {span[2]}"


def _span(item: Any) -> tuple[int, int, str] | None:
    """One span from a triple or an object, None if it is neither."""
    if isinstance(item, Mapping):
        item = [item.get("start"), item.get("end"), item.get("label")]
    if not isinstance(item, (list, tuple)) or len(item) != 3:
        return None
    start, end, label = item
    whole = isinstance(start, int) and isinstance(end, int) and not isinstance(start, bool)
    return (start, end, label) if whole and isinstance(label, str) and label else None
