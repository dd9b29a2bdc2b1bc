"""Tables as examples: what is kept, dropped, counted and refused."""

import json
import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.data.reading import read_table
from unfreeze.data.table import Table
from unfreeze.data.tags import spans_of
from unfreeze.data.words import split_words
from unfreeze.errors import DataError
from unfreeze.tasks import Columns, Prediction
from unfreeze.tasks.classification import Classification
from unfreeze.tasks.ner import NamedEntities


def table(**columns):
    rows = len(next(iter(columns.values())))
    return Table("t.jsonl", "jsonl", columns, range(1, rows + 1), "")


def read(cls, given, **columns):
    return cls.read([given], Columns(**columns))


@pytest.mark.parametrize("cls", [Classification, NamedEntities])
def test_a_group_column_that_is_not_there_is_refused_with_the_nearest_name(cls):
    given = table(text=["Anna left"], label=["x"], entities=[[]], thread=["t1"])
    assert read(cls, given, group="Thread").examples[0][0].group == "t1"
    with pytest.raises(DataError, match=r"no column 'thred' for the group(.|\n)*--group-column 'thread'"):
        read(cls, given, group="thred")


def test_groups_are_text_and_rows_without_one_stand_alone():
    tokens = table(tokens=[["a"]] * 3, tags=[["O"]] * 3, thread=[7, None, " "])
    assert [e.group for e in read(NamedEntities, tokens, group="thread").examples[0]] == ["7", None, None]


def test_labels_of_any_scalar_type_become_text():
    given = table(text=list("abcdef"), label=[1, 1.0, True, 0.5, " two words ", False])
    assert [e.target for e in read(Classification, given).examples[0]] == [
        "1",
        "1",
        "True",
        "0.5",
        "two words",
        "False",
    ]


def test_rows_without_text_or_label_are_dropped_and_counted_by_line():
    reading = read(Classification, table(text=["a", None, " ", "d", "e", 0], label=["x", "x", "x", None, " ", 0]))
    assert [(e.text, e.target, e.line, e.row) for e in reading.examples[0]] == [("a", "x", 1, 0), ("0", "0", 6, 5)]
    assert [(c.number, c.of, c.rows) for c in reading.counts] == [(2, 6, (2, 3)), (2, 6, (4, 5))]


def test_a_frame_with_gaps_gives_whole_numbers_as_labels():
    frame = pd.DataFrame({"text": ["a", "b", np.nan, "d"], "label": [1, np.nan, 0, 2]})
    reading = read(Classification, read_table(frame))
    assert [(e.text, e.target) for e in reading.examples[0]] == [("a", "1"), ("d", "2")]
    assert sum(c.number for c in reading.counts) == 2


def test_labels_are_named_with_their_number_and_what_looks_like_a_mistake_is_counted():
    texts = ["one", "two", "two", "three", "four", "five"]
    reading = read(Classification, table(text=texts, label=["pos", "neg", "pos", "POS", "NaN", "pos"]))
    assert reading.says.endswith("; 4 labels: pos 3, neg 1, POS 1, NaN 1")
    assert [(c.what, c.rows) for c in reading.counts] == [
        ("rows have a label that looks like a missing value", (5,)),
        ("rows have a label that another spells in other case", (1, 3, 4, 6)),
        ("rows have a text that also stands there with another label", (2, 3)),
    ]
    assert len(reading.examples[0]) == 6, "nothing is changed"
    assert read(Classification, table(text=["a", "b"], label=["x", "y"])).counts == ()


@pytest.mark.parametrize("wrong", [["x"], {"a": 1}, ("x",)])
def test_lists_are_neither_texts_nor_labels(wrong):
    with pytest.raises(DataError, match=r"t.jsonl:2: .*hold a text and one label"):
        read(Classification, table(text=["a", "b"], label=["x", wrong]), label="label")
    with pytest.raises(DataError, match=r":\d+: column .* holds a list"):
        Classification.read([table(text=["a", wrong])], Columns(), labelled=False)


@pytest.mark.parametrize("cls", [Classification, NamedEntities])
def test_unlabelled_reading_keeps_every_row_in_order_whatever_it_holds(cls):
    given = table(text=["a b", None, "", 0, " ", 2.5])
    examples = cls.read([given], Columns(), labelled=False).examples[0]
    assert [e.text for e in examples] == ["a b", "", "", "0", " ", "2.5"]
    assert [(e.row, e.line, e.target) for e in examples] == [(i, i + 1, None) for i in range(6)]


def test_unlabelled_words_are_taken_as_they_are_and_text_where_it_is_asked_for():
    given = table(tokens=[["New", "York"], None, []], text=["New York!", "b", "c"])
    words = NamedEntities.read([given], Columns(), labelled=False).examples[0]
    assert [e.words for e in words] == [("New", "York"), (), ()]
    texts = NamedEntities.read([given], Columns(text="text"), labelled=False).examples[0]
    assert texts[0].words == ("New", "York", "!")
    with pytest.raises(DataError, match=r"t.jsonl:1: column 'tokens' holds a list of words; found text"):
        NamedEntities.read([table(tokens=["New York"])], Columns(), labelled=False)


@pytest.mark.parametrize(
    ("words", "tags", "message"),
    [
        (["Anna"], [3], "tags must be text such as B-PER; found the number 3"),
        (["Anna"], [], "1 words but 0 tags"),
        (["Anna"], "O", "column 'tags' holds a list of tags; found text"),
        (["Anna"], None, "column 'tags' holds a list of tags; found nothing"),
        ("Anna", ["O"], "column 'tokens' holds a list of words; found text"),
        ([{"text": "Anna"}], ["O"], "words in column 'tokens' must be text; found object"),
        ([None], ["O"], "words in column 'tokens' must be text; found nothing"),
    ],
)
def test_words_and_tags_that_do_not_go_together_are_refused_by_line(words, tags, message):
    with pytest.raises(DataError, match=f"t.jsonl:2: {message}"):
        read(NamedEntities, table(tokens=[["a"], words], tags=[["O"], tags]))


def test_empty_sentences_are_dropped_and_counted():
    reading = read(NamedEntities, table(tokens=[["a"], [], None], tags=[["B-X"], [], None]))
    assert [e.words for e in reading.examples[0]] == [("a",)]
    assert [(c.number, c.of, c.rows) for c in reading.counts] == [(2, 3, (2, 3))]


@pytest.mark.parametrize(
    ("entities", "message"),
    [
        ("Anna", "must be a list; found text"),
        (5, "must be a list; found number"),
        ([[0, 4]], "needs start, end and label"),
        ([[False, True, "PER"]], "needs start, end and label"),
        ([[0, 4, ""]], "needs start, end and label"),
        ([[2, 2, "PER"]], "lies outside the text of 9 characters"),
        ([[5, 10, "PER"]], "lies outside the text of 9 characters"),
        ([[-1, 4, "PER"]], "lies outside the text of 9 characters"),
        ([[0, 4, "PER"], [3, 9, "LOC"]], "0 to 4 PER and 3 to 9 LOC overlap"),
    ],
)
def test_spans_that_cannot_be_meant_are_refused_by_line(entities, message):
    with pytest.raises(DataError, match=f"t.jsonl:2: .*{message}") as caught:
        read(NamedEntities, table(text=["a", "Anna left"], entities=[None, entities]))
    assert len(caught.value.problems) == 1


def test_a_file_with_tokens_text_and_spans_is_read_by_what_the_labels_are():
    given = table(text=["Anna left!"], tokens=[["Anna", "left"]], spans=[[[0, 4, "PER"]]])
    assert read(NamedEntities, given).examples[0][0].words == ("Anna", "left", "!")
    assert NamedEntities.read([given], Columns(), labelled=False).examples[0][0].words == ("Anna", "left", "!")
    both = table(**given.columns, tags=[["O", "B-X"]])
    assert read(NamedEntities, both).examples[0][0].target == ("O", "B-X")
    assert read(NamedEntities, both, label="spans").examples[0][0].target == ("B-PER", "O", "O")
    assert read(NamedEntities, both, label="TAGS").examples[0][0].target == ("O", "B-X")


def spelled(spans, length, scheme):
    """The tags of entities in a scheme, written from its definition."""
    tags = ["O"] * length
    for start, end, kind in spans:
        touches = any(other[1] == start and other[2] == kind for other in spans)
        for i in range(start, end):
            first, last = i == start, i == end - 1
            if scheme == "IOB1":
                letter = "B" if first and touches else "I"
            elif scheme == "BIOES":
                letter = "S" if first and last else "B" if first else "E" if last else "I"
            else:
                letter = "B" if first else "I"
            tags[i] = f"{letter}-{kind}"
    return tags


@st.composite
def sentences_with_entities(draw):
    spans, place = [], 0
    for _ in range(draw(st.integers(0, 4))):
        start = place + draw(st.integers(0, 2))
        place = start + draw(st.integers(1, 3))
        spans.append((start, place, draw(st.sampled_from(["PER", "B-X", "é"]))))
    return spans, place + draw(st.integers(1, 2))


@given(st.lists(sentences_with_entities(), min_size=1, max_size=4))
def test_tags_of_any_scheme_give_the_same_examples(rows):
    anchor = ([(0, 2, "PER")], 3)  # one entity that touches none, so that the scheme can be told
    found = []
    for scheme in ("IOB1", "IOB2", "BIOES"):
        given_rows = [(spans, length, spelled(spans, length, scheme)) for spans, length in [anchor, *rows]]
        given_table = table(tokens=[["w"] * n for _, n, _ in given_rows], tags=[tags for *_, tags in given_rows])
        found.append(read(NamedEntities, given_table).examples)
    assert found[0] == found[1] == found[2]
    assert [spans_of(e.target) for e in found[0][0]] == [spans for spans, _ in [anchor, *rows]]


PIECES = ["Zoë", "Zoe\u0308", "👩\u200d🚀", "naïve", "北京", "שלום", "a\u00adb", "❤\ufe0f", "x", "O'Neil"]


@given(st.lists(st.tuples(st.sampled_from(PIECES), st.booleans()), min_size=1, max_size=6))
def test_character_spans_come_out_as_they_went_in(pieces):
    text, spans = "", []
    for piece, marked in pieces:
        if marked:
            spans.append((len(text), len(text) + len(piece), "PER"))
        text += piece + "  "
    rows = [json.loads(json.dumps({"text": text, "entities": spans}))]
    reading = read(NamedEntities, table(text=[rows[0]["text"]], entities=[rows[0]["entities"]]))
    example = reading.examples[0][0]
    shown = NamedEntities(("O", "B-PER", "I-PER")).shown(example, Prediction(example.target, 1.0))["entities"]
    assert reading.counts == ()
    assert [(e["start"], e["end"], e["label"], e["text"]) for e in shown] == [(*s, text[s[0] : s[1]]) for s in spans]


def test_text_given_as_words_and_as_a_string_gives_the_same_words():
    words, offsets = split_words("New York is big")
    example = read(NamedEntities, table(tokens=[list(words)], tags=[["B-LOC", "I-LOC", "O", "O"]])).examples[0][0]
    assert (example.text, example.words, example.offsets) == ("New York is big", words, offsets)


def test_iob1_of_wikigold_gives_the_entities_its_description_counts(shared_data):
    folder = shared_data / "ner_wikigold"
    described = re.findall(r'^- (\{"split".*\})$', (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    splits = [json.loads(line) for line in described]
    tables = [read_table(folder / f"{split['split']}.txt") for split in splits]
    reading = NamedEntities.read(tables, Columns())
    assert "IOB1" in reading.says
    for rows, split in zip(reading.examples, splits, strict=True):
        assert Counter(tag[2:] for e in rows for tag in e.target if tag.startswith("B-")) == split["entities"]


def test_too_few_labels_and_no_entity_are_refused():
    one = read(Classification, table(text=["a", "b"], label=["x", "x"])).examples[0]
    with pytest.raises(DataError, match=r"t.jsonl: found only the label 'x'; at least two"):
        Classification.learned_from(one)
    none = read(NamedEntities, table(tokens=[["a"]], tags=[["O"]])).examples[0]
    with pytest.raises(DataError, match=r"t.jsonl: found no entity"):
        NamedEntities.learned_from(none)
