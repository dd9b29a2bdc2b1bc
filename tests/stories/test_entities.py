"""From spans or CoNLL columns to entities with exact places in the user's own text."""

import gzip
import json
import random

import pytest

from commands import LEARN, say
from rows import NAMES, sentences, write_conll

FRAMES = (
    "“{0}” — said {1}!",
    "  {0},\t{1}\u00a0and nobody else ",
    "Żółć 🎉 {1}: {0}",
    "({0}) {1}…",
    "{0}'s letter to {1}",
)


def spanned(number, *, seed=2):
    """Texts with awkward spacing and scripts, each with a person and a place, and their spans in characters."""
    chance, rows = random.Random(seed), []
    for i in range(number):
        person, place = (" ".join(chance.choice(NAMES[kind])) for kind in ("PER", "LOC"))
        text = chance.choice(FRAMES).format(person, place) + f" {i}"
        spans = [(text.index(said), said, kind) for said, kind in ((person, "PER"), (place, "LOC"))]
        entities = [{"start": s, "end": s + len(said), "label": kind} for s, said, kind in sorted(spans)]
        rows.append({"id": i, "text": text, "entities": entities})
    return rows


@pytest.fixture(scope="module")
def finder(tmp_path_factory, tiny_encoder_dir):
    """A folder with ``spans.jsonl`` and a model that learned from it."""
    base = tmp_path_factory.mktemp("entities")
    rows = spanned(70)
    (base / "spans.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    command = ["fit", base / "spans.jsonl", "--strategy", "full", "--model", tiny_encoder_dir]
    slower = ["learning_rate=3e-3" if word == "learning_rate=1e-2" else word for word in LEARN]
    learning = (*slower, "--set", "num_train_epochs=14", "--set", "patience=14")
    said = say(*command, "--output-dir", base / "out", *learning)
    assert said.code == 0, said.err
    assert "texts from column 'text', character spans from column 'entities'" in said.err
    return base


def test_entities_are_found_at_their_exact_characters(finder):
    said = say("predict", finder / "out" / "model", finder / "spans.jsonl")
    assert said.code == 0
    assert "'model_entities' is the model's, 'entities' the file's own" in said.err
    given, found = spanned(70), [json.loads(line) for line in said.out.splitlines()]
    assert [{key: row[key] for key in given[0]} for row in found] == given
    right = 0
    for row in found:
        for entity in row["model_entities"]:
            assert row["text"][entity["start"] : entity["end"]] == entity["text"]
        places = [{key: e[key] for key in ("start", "end", "label")} for e in row["model_entities"]]
        right += places == row["entities"]
    assert right >= 40  # of 70: enough to have seen many an exact place


def test_texts_without_words_and_lists_of_words_are_predicted_too(finder, tmp_path):
    (tmp_path / "texts.jsonl").write_text('{"text": ""}\n{"text": null}\n{"text": "Anna Berg"}\n', encoding="utf-8")
    rows = [
        json.loads(line) for line in say("predict", finder / "out" / "model", tmp_path / "texts.jsonl").out.splitlines()
    ]
    assert [row["text"] for row in rows] == ["", None, "Anna Berg"]
    assert rows[0]["entities"] == rows[1]["entities"] == []
    write_conll(tmp_path / "words.conll", sentences(5))
    output = tmp_path / "out.jsonl"
    assert say("predict", finder / "out" / "model", tmp_path / "words.conll", "--output", output).code == 0
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [row["tokens"] for row in rows] == [[word for word, _ in sentence] for sentence in sentences(5)]
    for row in rows:
        for entity in row["entities"]:
            assert " ".join(row["tokens"])[entity["start"] : entity["end"]] == entity["text"]


def test_conll_columns_of_the_first_scheme_are_recognised_and_said(tiny_encoder_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    older = [[(word, tag.replace("B-", "I-")) for word, tag in sentence] for sentence in sentences(40)]
    write_conll(tmp_path / "plain", older)
    (tmp_path / "old.conll.gz").write_bytes(gzip.compress((tmp_path / "plain").read_bytes()))
    short = ("--strategies", "untouched", "--folds", "1", "--budget", "none", "--threads", "1", "--json")
    said = say("compare", "old.conll.gz", "--model", tiny_encoder_dir, *short)
    assert said.code == 0
    record = json.loads(said.out)
    assert (record["task"], record["metric"]) == ("ner", "strict entity F1")
    whole = json.loads((tmp_path / "unfreeze-old" / "record.json").read_text(encoding="utf-8"))
    assert "IOB1 tags from column 'tags'" in whole["data"]["says"][0]
    assert whole["data"]["labels"] == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
