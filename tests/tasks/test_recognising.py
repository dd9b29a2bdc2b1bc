"""Which task a table is for, and what is said where that is not clear."""

import re
from pathlib import Path

import pytest

import unfreeze.data
from unfreeze.data.reading import read_table
from unfreeze.data.table import Table
from unfreeze.errors import DataError, SettingsError, UnknownName
from unfreeze.tasks import TASKS, Columns, recognise_task, task

DEMO = Path(unfreeze.data.__file__).parent / "demo" / "messages.jsonl"
SENTENCE = ["Anna", "left"]
TAGS = ["B-PER", "O"]
SPANS = [{"start": 0, "end": 4, "label": "PER"}]


def table(form="jsonl", **columns):
    rows = len(next(iter(columns.values())))
    return Table("t.jsonl", form, columns, range(1, rows + 1), "")


def name_of(table, *, wanted=None, **columns):
    return recognise_task(table, Columns(**columns), wanted=wanted).name


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        ({"text": ["a"], "label": ["x"]}, "classification"),
        ({" Text ": ["a"], "LABEL": [1]}, "classification"),
        ({"tokens": [SENTENCE], "ner_tags": [TAGS]}, "ner"),
        ({"Tokens": [SENTENCE], "Labels": [TAGS]}, "ner"),
        ({"text": ["Anna left"], "entities": [SPANS]}, "ner"),
        ({"text": ["Anna left"], "tokens": [SENTENCE], "labels": [TAGS]}, "ner"),
        ({"text": ["a b"], "label": ["x"], "tokens": [2], "tags": ["news"]}, "classification"),
        ({"text": ["a b"], "label": ["x"], "entities": ["Paris; Lima"]}, "classification"),
        ({"tokens": ["Anna left"], "tags": ["B-PER O"]}, "ner"),
    ],
)
def test_a_table_is_recognised_by_its_columns_and_their_values(columns, name):
    assert name_of(table(**columns)) == name


def test_columns_that_the_user_named_decide_in_any_case():
    both = table(text=["Anna left"], topic=["x"], Entities=[SPANS])
    assert name_of(both, label="TOPIC") == "classification"
    assert name_of(both, label="entities") == "ner"
    assert name_of(table(premise=["a"], label=["x"]), text="premise") == "classification"
    assert name_of(table(wordlist=[SENTENCE], tags=[TAGS]), text="wordlist") == "ner"
    assert name_of(both, wanted="ner", label="topic") == "ner"


@pytest.mark.parametrize(("role", "named"), [("label", "topik"), ("text", "txet")])
def test_a_column_that_is_not_there_is_refused_with_the_nearest_name(role, named):
    with pytest.raises(DataError, match=rf"no column '{named}' for the {role}(.|\n)*Did you mean --{role}-column"):
        name_of(table(text=["a"], topic=["x"], entities=[SPANS]), **{role: named})


def test_no_task_and_an_unknown_task_are_refused_with_the_choices():
    with pytest.raises(SettingsError, match=r"columns mr, ref fit no task.*--text-column.*classification, ner"):
        name_of(table(mr=["a"], ref=["b"]))
    with pytest.raises(UnknownName, match=r"'ners'.*Did you mean 'ner'"):
        name_of(table(mr=["a"], ref=["b"]), wanted="ners")


def test_the_demo_corpus_fits_several_tasks_and_the_error_says_every_way_out():
    demo = read_table(DEMO)
    with pytest.raises(SettingsError) as caught:
        name_of(demo)
    assert "--task ner" in str(caught.value)
    assert "--task classification with --label-column topic or --label-column sentiment" in str(caught.value)
    assert name_of(demo, label="topic") == name_of(demo, wanted="classification") == "classification"
    with pytest.raises(DataError, match=r"'topic', 'sentiment'(.|\n)*--label-column"):
        TASKS["classification"].read([demo], Columns())
    assert len(TASKS["classification"].read([demo], Columns(label="topic")).examples[0]) == 720
    assert name_of(demo, label="entities") == "ner"
    assert len(TASKS["ner"].read([demo], Columns()).examples[0]) == 720


def test_every_shared_data_set_is_recognised_or_refused_as_its_columns_say(shared_data):
    expected = {"cls": "classification", "mt": "classification", "ner": "ner", "bias": None, "gen": None}
    files = [p for p in sorted(shared_data.glob("*/*")) if re.search(r"(test|dev)\.(csv|txt|jsonl)$", p.name)]
    seen = set()
    for path in files:
        kind = path.parent.name.split("_")[0]
        if kind not in expected:
            continue
        seen.add(kind)
        read = read_table(path)
        if expected[kind] is None:
            with pytest.raises(SettingsError, match="fit no task"):
                name_of(read)
        else:
            name = name_of(read)
            assert name == expected[kind]
            assert len(TASKS[name].read([read], Columns()).examples[0]) == read.rows, path
    assert seen == set(expected)


def test_two_tasks_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two tasks are named 'ner'"):
        task(type("Other", (), {"name": "ner"}))
