"""A predicted file: the input's rows in their order, its columns untouched, what the model says beside them."""

import csv
import errno
import gzip
import io
import json
import re
import string
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze import predicting
from unfreeze.data.reading_csv import csv_blocks, tsv_blocks
from unfreeze.errors import DataError, Interrupted, SettingsError, StorageError
from unfreeze.tasks import Prediction, Reading
from unfreeze.tasks.classification import Classification
from unfreeze.tasks.ner import NamedEntities

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


def columns_of(text, separator):
    [(columns, _)] = (csv_blocks if separator == "," else tsv_blocks)(lambda: (text,), "name")
    return columns


@pytest.mark.parametrize(("suffix", "separator"), predicting.SEPARATORS.items())
def test_rows_keep_their_order_and_their_values_to_the_letter(tmp_path, suffix, separator):
    rows = [{"text": text, "number": str(i)} for i, text in enumerate(AWKWARD)]
    said, out = predicted(tmp_path, "in.jsonl", jsonl(rows), f"out{suffix}")
    columns = columns_of(out, separator)
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
    monkeypatch.setattr(predicting, "read_blocks", lambda *_, **__: pytest.fail("it was read"))
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


def test_an_output_that_must_not_be_written_is_told_with_the_option_of_predict(tmp_path, monkeypatch):
    (tmp_path / "in.csv").write_text("text\none\n", encoding="utf-8")

    def forbidden(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("unfreeze.files.os.fsync", forbidden)
    with pytest.raises(StorageError, match=r"no permission to write here; choose another place with --output$"):
        predicting.predict_file("model", tmp_path / "in.csv", output=tmp_path / "out.csv")


class Namer(Parrot):
    """A model that finds a person in every word of three letters."""

    task = NamedEntities(("O", "B-PER", "I-PER"))

    def predictions(self, examples):
        return [Prediction(tuple("B-PER" if len(w) == 3 else "O" for w in e.words), 0.5) for e in examples]


@pytest.mark.parametrize("name", ["in.conll", "in.txt", "in.bio"])
def test_words_alone_are_predicted_and_come_back_in_their_order(tmp_path, monkeypatch, name):
    monkeypatch.setattr(predicting, "load_model", lambda *_, **__: Namer())
    content = "-DOCSTART-\n\n# text = Ann met Bob\nAnn\nmeets\nBob\n\n#\nNAGC \n\r\nSue\n"
    said, out = predicted(tmp_path, name, content, "out.jsonl")
    rows = [json.loads(line) for line in out.splitlines()]
    assert said.startswith("3 rows predicted")
    assert [row["tokens"] for row in rows] == [["Ann", "meets", "Bob"], ["#", "NAGC"], ["Sue"]]
    assert [[e["text"] for e in row["entities"]] for row in rows] == [["Ann", "Bob"], [], ["Sue"]]
    assert rows[0]["entities"][1] == {"start": 10, "end": 13, "label": "PER", "text": "Bob"}


def test_words_with_tags_are_predicted_as_before_and_half_tagged_ones_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(predicting, "load_model", lambda *_, **__: Namer())
    _, out = predicted(tmp_path, "in.conll", "Ann O\nmet O\n\nSue B-PER\n", "out.jsonl")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["tokens"], row["tags"]) for row in rows] == [(["Ann", "met"], ["O", "O"]), (["Sue"], ["B-PER"])]
    with pytest.raises(DataError, match=r"half\.conll:2: a token without a tag"):
        predicted(tmp_path, "half.conll", "Ann O\nmet\n", "out.jsonl")
    with pytest.raises(DataError, match="the lines are not tokens with tags"):
        predicted(tmp_path, "prose.txt", "Once upon a time\nthere was a file\n", "out.jsonl")


@pytest.mark.parametrize("suffix", predicting.SUFFIXES)
def test_the_output_is_the_same_for_all_sizes_of_blocks(tmp_path, monkeypatch, suffix):
    rows = [{"text": text, "n": i} for i, text in enumerate(AWKWARD)]
    rows[7] |= {"late": "a key that the first rows do not have", "prediction": "mine"}
    outputs = []
    for number in (1, 3, len(rows), 4096):
        monkeypatch.setattr(predicting, "ROWS", number)
        outputs.append(predicted(tmp_path, "in.jsonl", jsonl(rows), f"out{suffix}"))
    assert outputs[1:] == outputs[:1] * 3
    said, out = outputs[0]
    assert "'model_prediction' is the model's" in said
    if suffix == ".jsonl":
        assert [json.loads(line)["late"] for line in out.splitlines()] == [None] * 7 + [rows[7]["late"], None, None]


def test_progress_is_told_at_the_beginning_and_after_each_block(tmp_path, monkeypatch):
    monkeypatch.setattr(predicting, "ROWS", 2)
    (tmp_path / "in.csv").write_text("text\n" + "one\n" * 5, encoding="utf-8")
    told = []
    predicting.predict_file(
        "model", tmp_path / "in.csv", output=tmp_path / "out.csv", progress=lambda *numbers: told.append(numbers)
    )
    assert told == [(0, 5), (2, 5), (4, 5), (5, 5)]


@pytest.mark.parametrize("before", [None, "former\n"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_what_stops_between_two_blocks_leaves_the_former_output_or_none(tmp_path, monkeypatch, before, error):
    class Stopped(Parrot):
        blocks = 0

        def predictions(self, examples):
            Stopped.blocks += 1
            if Stopped.blocks == 3:
                raise error
            return super().predictions(examples)

    monkeypatch.setattr(predicting, "ROWS", 2)
    monkeypatch.setattr(predicting, "load_model", lambda *_, **__: Stopped())
    (tmp_path / "in.csv").write_text("text\n" + "one\n" * 9, encoding="utf-8")
    if before:
        (tmp_path / "out.csv").write_text(before, encoding="utf-8")
    files = sorted(tmp_path.iterdir())
    with pytest.raises((Interrupted, MemoryError)) as caught:
        predicting.predict_file("model", tmp_path / "in.csv", output=tmp_path / "out.csv")
    assert sorted(tmp_path.iterdir()) == files, "nothing is left over"
    assert before is None or _read(tmp_path / "out.csv") == before
    if error is KeyboardInterrupt:
        assert str(caught.value) == f"stopped after 4 rows; {tmp_path / 'out.csv'} was not written"


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("in.csv", "one\n", "two,three\n"),
        ("in.jsonl.gz", '{"text": "one"}\n', "{\n"),
        ("in.conll", "one O\n\n", "two\n"),
    ],
)
def test_a_bad_row_near_the_end_is_named_before_anything_is_predicted(tmp_path, monkeypatch, name, good, bad):
    monkeypatch.setattr(predicting, "ROWS", 2)
    monkeypatch.setattr(predicting, "load_model", lambda *_, **__: pytest.fail("the model was loaded"))
    header = "text\n" if name == "in.csv" else ""
    content = (header + good * 9 + bad).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    line = content.count(b"\n")
    with pytest.raises(DataError, match=rf"^{re.escape(str(tmp_path / name))}:{line}: ") as caught:
        predicting.predict_file("model", tmp_path / name, output=tmp_path / "out.csv")
    assert caught.value.cure
    assert not (tmp_path / "out.csv").exists()


VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8) | st.text(
    string.punctuation + " \t\r\n", max_size=6
)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=6), st.sampled_from([",", "\t"]))
def test_any_table_that_is_written_is_read_back_the_same(values, separator):
    rows = [{"text": a, "second": b} for a, b in values]
    assert columns_of(predicting._as_table(rows, separator), separator) == {
        "text": [a for a, _ in values],
        "second": [b for _, b in values],
    }


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
