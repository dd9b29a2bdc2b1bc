"""Tables with entities as examples: words with tags, or texts with character spans."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from unfreeze.data.audit import Count
from unfreeze.data.columns import LABEL_COLUMNS, TEXT_COLUMNS, columns_named, find_column, groups_of
from unfreeze.data.example import Example
from unfreeze.data.reading_conll import DOCUMENT
from unfreeze.data.table import Table
from unfreeze.data.tags import recognise_scheme, to_iob2
from unfreeze.data.words import overlapping_spans, split_words, tags_from_spans
from unfreeze.errors import DataError, Problem
from unfreeze.tasks._base import Columns, Reading

WORD_COLUMNS = ("tokens", "words")
TAG_COLUMNS = ("tags", "ner_tags", "labels", "ner", "iob")
SPAN_COLUMNS = ("entities", "spans", "entity_spans")


def entity_columns(table: Table) -> tuple[str, ...]:
    """Columns that could hold entities: tags where there are words beside them, and character spans."""
    words = columns_named(table, WORD_COLUMNS)
    tags = columns_named(table, TAG_COLUMNS) if words else ()
    found = (*tags, *columns_named(table, SPAN_COLUMNS))
    if columns_named(table, TEXT_COLUMNS) and columns_named(table, LABEL_COLUMNS):
        return tuple(column for column in found if _has_lists(table, column))  # "tokens" may count them there
    return found


def holds_entities(table: Table, columns: Columns) -> bool:
    """Whether a table has words with tags, or a column of character spans; ``columns`` are as the file has them."""
    if columns.label is not None:
        return _has_lists(table, columns.label)
    if columns.text is not None and _has_lists(table, columns.text):
        return bool(columns_named(table, TAG_COLUMNS))
    return bool(entity_columns(table))


def read_entities(tables: Sequence[Table], columns: Columns, *, labelled: bool) -> Reading:
    """Sentences of the tables as examples with IOB2 tags.

    Raises:
        DataError: words and tags differ in number, schemes are mixed, spans lie outside the text or overlap.
    """
    examples: list[tuple[Example, ...]] = []
    counts: list[Count] = []
    says = ""
    for table in tables:
        if not labelled:
            examples.append(_unlabelled(table, columns))
            continue
        in_words = _in_words(table, columns)
        rows, found, told = _tagged(table, columns) if in_words else _spanned(table, columns)
        examples.append(rows)
        counts += found
        says = says or told
    return Reading(tuple(examples), tuple(counts), says)


def _in_words(table: Table, columns: Columns) -> bool:
    """Whether the words are given, not to be found in a text; a file may have both."""
    if columns.text is not None:
        return _has_lists(table, str(find_column(table, "text", synonyms=(), wanted=columns.text)))
    if not columns_named(table, WORD_COLUMNS):
        return False
    if columns.label is not None:
        label = str(find_column(table, "label", synonyms=(), wanted=columns.label))
        items = (item for value in table.columns[label] if _is_list(value) for item in value)
        return not isinstance(next(items, ""), (list, tuple, dict))
    of_text = columns_named(table, SPAN_COLUMNS) and columns_named(table, TEXT_COLUMNS)
    return bool(columns_named(table, TAG_COLUMNS)) or not of_text


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _has_lists(table: Table, column: str) -> bool:
    return any(_is_list(value) for value in table.columns[column])


def _unlabelled(table: Table, columns: Columns) -> tuple[Example, ...]:
    in_words = _in_words(table, columns)
    column = str(find_column(table, "text", synonyms=WORD_COLUMNS if in_words else TEXT_COLUMNS, wanted=columns.text))
    values = list(zip(table.lines, table.columns[column], strict=True))
    if not in_words:
        texts = ["" if text is None else str(text) for _, text in values]
        return tuple(
            Example(text, None, *split_words(text), table.name, line, row)
            for row, (line, text) in enumerate(zip(table.lines, texts, strict=True))
        )
    problems = [p for line, words in values if words is not None for p in _wrong_words(table.name, line, words, column)]
    if problems:
        raise DataError(problems, "Each row needs a list of words.")
    return tuple(
        _of_words([str(word) for word in words or ()], None, table, row) for row, (_, words) in enumerate(values)
    )


def _of_words(
    words: Sequence[str], tags: tuple[str, ...] | None, table: Table, row: int, group: str | None = None
) -> Example:
    """An example from words alone: its text is the words joined by spaces."""
    offsets, place = [], 0
    for word in words:
        offsets.append((place, place + len(word)))
        place += len(word) + 1
    return Example(" ".join(words), tags, tuple(words), tuple(offsets), table.name, table.lines[row], row, group)


def _in_documents(examples: tuple[Example, ...], table: Table) -> tuple[Example, ...]:
    """The examples of a CoNLL file with the documents that it marks."""
    if table.form != "conll" or DOCUMENT not in table.columns:
        return examples
    return tuple(replace(example, document=table.columns[DOCUMENT][example.row]) for example in examples)


def _tagged(table: Table, columns: Columns) -> tuple[tuple[Example, ...], list[Count], str]:
    """Words with tags of any scheme."""
    words = str(find_column(table, "text", synonyms=WORD_COLUMNS, wanted=columns.text))
    tags = str(find_column(table, "label", synonyms=TAG_COLUMNS, wanted=columns.label))
    groups = groups_of(table, columns.group)
    rows = list(zip(range(table.rows), table.columns[words], table.columns[tags], strict=True))
    empty = [table.lines[row] for row, w, t in rows if _is_nothing(w) and _is_nothing(t)]
    rows = [(row, w, t) for row, w, t in rows if not (_is_nothing(w) and _is_nothing(t))]
    problems = [p for row, w, t in rows for p in _mismatch(table.name, table.lines[row], w, t, (words, tags))]
    if problems:
        raise DataError(problems, "Each row needs a list of words and a list of as many tags, such as B-PER, I-PER, O.")
    lines = [table.lines[row] for row, _, _ in rows]
    scheme = recognise_scheme([t for _, _, t in rows], file=table.name, lines=lines, line_a_word=table.form == "conll")
    examples = tuple(_of_words([str(x) for x in w], to_iob2(t, scheme), table, row, groups[row]) for row, w, t in rows)
    counts = [Count("sentences had no words and were dropped", len(empty), table.rows, tuple(empty), table.name)]
    says = f"named entities: words from column {words!r}, {scheme} tags from column {tags!r}"
    return _in_documents(examples, table), counts if empty else [], says


def _is_nothing(value: Any) -> bool:
    return value is None or (_is_list(value) and not value)


def _mismatch(file: str, line: int, words: Any, tags: Any, columns: tuple[str, str]) -> list[Problem]:
    wrong = _wrong_words(file, line, words, columns[0])
    if wrong:
        return wrong
    if not _is_list(tags):
        return [Problem(file, line, f"column {columns[1]!r} holds a list of tags; found {_kind(tags)}")]
    if len(words) != len(tags):
        return [Problem(file, line, f"{len(words)} words but {len(tags)} tags")]
    numbers = [tag for tag in tags if not isinstance(tag, str)]
    if numbers:
        return [Problem(file, line, f"tags must be text such as B-PER; found the {_kind(numbers[0])} {numbers[0]!r}")]
    return []


def _wrong_words(file: str, line: int, words: Any, column: str) -> list[Problem]:
    if not _is_list(words):
        return [Problem(file, line, f"column {column!r} holds a list of words; found {_kind(words)}")]
    strange = [word for word in words if not isinstance(word, (str, int, float))]
    if strange:
        return [Problem(file, line, f"words in column {column!r} must be text; found {_kind(strange[0])}")]
    return []


def _kind(value: Any) -> str:
    names = {
        "NoneType": "nothing",
        "int": "number",
        "float": "number",
        "str": "text",
        "dict": "object",
        "bool": "value",
    }
    return names.get(type(value).__name__, type(value).__name__)


def _spanned(table: Table, columns: Columns) -> tuple[tuple[Example, ...], list[Count], str]:
    """Texts with spans in characters."""
    text_column = str(find_column(table, "text", synonyms=TEXT_COLUMNS, wanted=columns.text))
    span_column = str(find_column(table, "label", synonyms=SPAN_COLUMNS, wanted=columns.label))
    groups = groups_of(table, columns.group)
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
            examples.append(Example(str(text), tuple(tags), words, offsets, table.name, line, row, group))
    if problems:
        raise DataError(problems, "Spans count characters from 0, the end is not included, and they may not overlap.")
    entities = sum(tag.startswith("B-") for e in examples for tag in e.target or ())
    found = (
        ("texts had no words and were dropped", empty, table.rows),
        ("entities began or ended inside a word and were moved to its border", widened, entities),
    )
    counts = [Count(what, len(lines), of, tuple(lines), table.name) for what, lines, of in found if lines]
    says = f"named entities: texts from column {text_column!r}, character spans from column {span_column!r}"
    return tuple(examples), counts, says


def _spans(file: str, line: int, text: str, given: Any) -> tuple[list[tuple[int, int, str]], list[Problem]]:
    """Spans as (start, end, label), with what is wrong with them."""
    spans, problems = [], []
    if given is not None and not _is_list(given):
        return [], [Problem(file, line, f"entities must be a list; found {_kind(given)}")]
    for item in given or ():
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
    whole = all(isinstance(place, int) and not isinstance(place, bool) for place in (start, end))
    return (start, end, label) if whole and isinstance(label, str) and label else None
