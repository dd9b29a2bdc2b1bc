"""A predicted file: the input's rows in their order, its columns untouched, what the model says beside them."""

import csv
import io
import json
import string
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze import predicting
from unfreeze.data.reading_csv import parse_csv, parse_tsv
from unfreeze.errors import SettingsError, StorageError
from unfreeze.tasks import Prediction, Reading
from unfreeze.tasks.classification import Classification

AWKWARD = [
    "plain",
    'a "quoted" one, é',
    "two\nlines",
    "a\rlone return",
    "tab\there",
    "",
    "  spaces  ",
    "日本 🎉",
    "NA",
    "007",
]


class Parrot:
    """A model that says the length of each text, so that rows can be told apart."""

    task = Classification(("no", "yes"))

    def predictions(self, examples):
        return [Prediction(str(len(example.text)), 0.5) for example in examples]


@pytest.fixture(autouse=True)
def parrot(monkeypatch):
    monkeypatch.setattr(predicting, "load_model", lambda *_, **__: Parrot())


def predicted(tmp_path, name, content, output):
    (tmp_path / name).write_text(content, encoding="utf-8", newline="")
    said = predicting.predict_file("model", tmp_path / name, output=tmp_path / output)
    return said, _read(tmp_path / output)


def _read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return file.read()


def jsonl(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.mark.parametrize(("suffix", "parse"), [(".csv", parse_csv), (".tsv", parse_tsv)])
def test_rows_keep_their_order_and_their_values_to_the_letter(tmp_path, suffix, parse):
    rows = [{"text": text, "number": str(i)} for i, text in enumerate(AWKWARD)]
    said, out = predicted(tmp_path, "in.jsonl", jsonl(rows), f"out{suffix}")
    columns, _ = parse(out, "out")
    assert said == f"{len(rows)} rows predicted, written to {tmp_path / ('out' + suffix)}"
    assert list(columns) == ["text", "number", "prediction", "probability"]
    assert columns["text"] == AWKWARD
    assert columns["number"] == [str(i) for i in range(len(AWKWARD))]
    assert columns["prediction"] == [str(len(text)) for text in AWKWARD]


def test_json_lines_keep_every_type(tmp_path):
    rows = [{"text": "x", "n": 1, "f": 0.5, "b": True, "none": None, "l": [1, "é"], "o": {"a": []}}]
    _, out = predicted(tmp_path, "in.jsonl", jsonl(rows), "out.jsonl")
    assert [json.loads(line) for line in out.splitlines()] == [rows[0] | {"prediction": "1", "probability": 0.5}]
    assert "é" in out


def test_cells_hold_what_is_no_text_as_json(tmp_path):
    rows = [{"text": "x", "n": 1, "b": True, "none": None, "l": [1, "é"]}]
    _, out = predicted(tmp_path, "in.jsonl", jsonl(rows), "out.csv")
    assert next(iter(csv.DictReader(io.StringIO(out)))) == {
        "text": "x", "n": "1", "b": "true", "none": "", "l": '[1, "é"]', "prediction": "1", "probability": "0.5",
    }  # fmt: skip


def test_a_column_of_the_input_is_never_overwritten(tmp_path):
    said, out = predicted(tmp_path, "in.csv", "text,prediction,model_prediction\nabc,mine,too\n", "out.csv")
    assert out.splitlines() == [
        "text,prediction,model_prediction,model_model_prediction,probability",
        "abc,mine,too,3,0.5",
    ]
    assert "'model_model_prediction' is the model's, 'prediction' the file's own" in said
    assert said.startswith("1 row predicted")


def test_without_an_output_rows_are_printed_as_json_lines(tmp_path, capsys):
    (tmp_path / "in.csv").write_text("text\none\nthree\n", encoding="utf-8")
    assert predicting.predict_file("model", tmp_path / "in.csv") == "2 rows predicted"
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["prediction"] for row in shown] == ["3", "5"]


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("out.xlsx", "ends in .csv, .tsv, .jsonl; got"),
        ("out", "ends in .csv"),
        ("in.csv", "is the input itself, which is never overwritten"),
        ("folder.csv", "is a folder; name a file, such as"),
    ],
)
def test_an_output_that_cannot_be_meant_is_refused_before_anything_is_read(tmp_path, monkeypatch, output, words):
    (tmp_path / "in.csv").write_text("text\none\n", encoding="utf-8")
    (tmp_path / "folder.csv").mkdir()
    monkeypatch.setattr(predicting, "read_table", lambda *_: pytest.fail("it was read"))
    with pytest.raises(SettingsError, match=words):
        predicting.predict_file("model", tmp_path / "in.csv", output=tmp_path / output)
    assert (tmp_path / "in.csv").read_text(encoding="utf-8") == "text\none\n"


def test_a_suffix_in_capitals_is_the_same_format(tmp_path):
    _, out = predicted(tmp_path, "in.csv", "text\none\n", "OUT.TSV")
    assert out == "text\tprediction\tprobability\none\t3\t0.5\n"


def test_an_output_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / "in.csv").write_text("text\none\n", encoding="utf-8")
    with pytest.raises(StorageError, match="cannot be written"):
        predicting.predict_file("model", tmp_path / "in.csv", output=tmp_path / "in.csv" / "out.csv")


VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8) | st.text(
    string.punctuation + " \t\r\n", max_size=6
)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=6), st.sampled_from([",", "\t"]))
def test_any_table_that_is_written_is_read_back_the_same(values, separator):
    rows = [{"text": a, "second": b} for a, b in values]
    parse = parse_csv if separator == "," else parse_tsv
    columns, _ = parse(predicting._as_table(rows, separator), "name")
    assert columns == {"text": [a for a, _ in values], "second": [b for _, b in values]}


def test_the_task_reads_the_file_without_its_labels(tmp_path, monkeypatch):
    seen = []

    class Reader(Classification):
        @classmethod
        def read(cls, tables, columns, *, labelled=True):
            seen.append((columns.text, labelled))
            return Reading(((SimpleNamespace(text="x"),),))

    parrot = Parrot()
    parrot.task = Reader(("a", "b"))
    monkeypatch.setattr(predicting, "load_model", lambda *_, **__: parrot)
    (tmp_path / "in.csv").write_text("mine,label\none,\n", encoding="utf-8")
    predicting.predict_file("model", tmp_path / "in.csv", text_column="mine", output=tmp_path / "out.csv")
    assert seen == [("mine", False)]
