"""From a labelled file to a verdict, a report and a model that others can load: texts with one label each."""

import csv
import gzip
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser

import pytest

from commands import everything_in, only_head, refused, say, write_csv
from rows import MARKER, opinions

JOBS = importlib.import_module("unfreeze.compare.jobs")
PLAIN = """
import json, sys, torch, transformers
standard, own, texts = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
model = transformers.AutoModelForSequenceClassification.from_pretrained(standard).eval()
tokenizer = transformers.AutoTokenizer.from_pretrained(standard)
with torch.inference_mode():
    logits = model(**tokenizer(texts, return_tensors="pt", padding=True)).logits
said = {"labels": [model.config.id2label[int(i)] for i in logits.argmax(-1)]}
said["top"] = logits.softmax(-1).amax(-1).tolist()
try:
    transformers.AutoModelForSequenceClassification.from_pretrained(own)
    said["own"] = "it loaded"
except Exception as error:
    said["own"] = f"{type(error).__name__}: {error}"
said["unfreeze"] = "unfreeze" in sys.modules
print(json.dumps(said))
"""
"""What a stranger would run, who has transformers and has never heard of unfreeze."""

TEXTS = ["The film was wonderful they said", "The seats were terrible", "I love this quiet place", ""]


class Page(HTMLParser):
    """Counts open tags, and gathers the text."""

    VOID = frozenset({"meta", "br", "hr", "img", "input", "link", "col", "wbr", "source"})

    def __init__(self):
        super().__init__()
        self.open, self.text, self.references = [], "", []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        self.references += [value for name, value in attrs if name in {"src", "href"} and not value.startswith("#")]

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def spaced(text):
    return " ".join(text.split())


def test_a_comparison_ends_with_a_table_and_a_verdict(compared):
    assert compared.said.code == 0
    for words in ("full", "head-only", "untouched", "majority class", "TF-IDF + linear", "handed over"):
        assert words in compared.said.out
    assert "texts from column 'text', labels from column 'label'" in compared.said.err
    assert f"report   {compared.folder / 'report.html'}" in compared.said.out
    record = json.loads((compared.folder / "recommendation.json").read_text(encoding="utf-8"))
    for sentence in record["recommendation"]["in_short"]:
        assert sentence in compared.said.out


def test_the_output_folder_holds_what_is_promised(compared):
    assert {p.name for p in compared.folder.iterdir()} >= {"report.html", "recommendation.json", "model", "trials"}
    assert not list(compared.folder.rglob("*.part"))
    record = json.loads((compared.folder / "recommendation.json").read_text(encoding="utf-8"))
    assert record.keys() >= {"task", "metric", "command", "recommendation", "arms", "handed_over"}
    assert record["recommendation"].keys() >= {"verdict", "chosen", "sentences"}
    assert record["handed_over"]["reload_check"]["equal"] is True
    assert record["command"].startswith("unfreeze compare ")


def test_the_report_is_one_whole_page_with_the_verdict_and_no_text_of_the_users(compared):
    html = (compared.folder / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(html)
    page.close()
    assert page.open == []
    assert not [reference for reference in page.references if not reference.startswith("data:")]
    record = json.loads((compared.folder / "recommendation.json").read_text(encoding="utf-8"))
    for sentence in record["recommendation"]["in_short"]:
        assert spaced(sentence) in spaced(page.text)
    assert MARKER not in html


def test_no_text_of_the_user_is_in_any_record(compared):
    for path in compared.folder.rglob("*.json"):
        if path.parent.name != "model" or path.name == "unfreeze.json":
            assert MARKER not in path.read_text(encoding="utf-8"), path


def test_plain_transformers_loads_a_standard_head_and_refuses_our_own(compared, fitted):
    assert compared.said.code == fitted.said.code == 0
    command = [
        sys.executable,
        "-c",
        PLAIN,
        str(compared.folder / "model"),
        str(fitted.folder / "model"),
        json.dumps(TEXTS),
    ]
    environment = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert not said["unfreeze"]
    assert "unfreeze-encoder" in said["own"]  # named, so that its finder knows what to install
    lines = say("predict", compared.folder / "model", _texts(compared.folder.parent), "--precision", "fp32").out
    rows = [json.loads(line) for line in lines.splitlines()]
    assert [row["prediction"] for row in rows] == said["labels"]
    assert [row["probability"] for row in rows] == pytest.approx(said["top"], abs=1e-5)


def _texts(folder):
    path = folder / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS), encoding="utf-8")
    return path


def test_the_line_that_loads_our_own_head_is_told_and_works_here(fitted):
    record = json.loads(fitted.said.out)
    assert record["handed_over"]["loads_with"].startswith("import unfreeze")
    rows = [
        json.loads(line)
        for line in say("predict", fitted.folder / "model", _texts(fitted.folder.parent)).out.splitlines()
    ]
    assert [row["text"] for row in rows] == TEXTS
    assert {row["prediction"] for row in rows} <= {"neg", "pos"}


def test_fit_prints_json_alone_and_tests_on_the_rows_that_were_named(fitted):
    assert fitted.said.err == ""
    record = json.loads(fitted.said.out)
    assert record["handed_over"]["name"] == "full"
    assert record["handed_over"]["rows"] == 48
    assert set(record["handed_over"]["test"]) == {"accuracy", "macro_f1"}
    whole = json.loads((fitted.folder / "record.json").read_text(encoding="utf-8"))
    assert whole["data"]["rows"] == {"all": 60, "train": 36, "validation": 12, "test": 12}


def test_the_same_command_again_trains_nothing_and_says_the_same(compared, monkeypatch):
    def trained(*_, **__):
        pytest.fail("a trial was run again")

    monkeypatch.setattr(JOBS, "run_trial", trained)
    monkeypatch.setattr("unfreeze.finishing.train", trained)
    before = {p: p.stat().st_mtime_ns for p in compared.folder.glob("trials/*/*")}
    with only_head("standard"):
        again = say(*compared.command)
    assert again.code == 0
    assert _without_times(again.out) == _without_times(compared.said.out)
    assert {p: p.stat().st_mtime_ns for p in compared.folder.glob("trials/*/*")} == before


def _without_times(table):
    return re.sub(r"(< )?\d+ s\b( in \d+ goes)?", "", table)


def test_predictions_keep_the_rows_of_the_input_in_their_order(compared, reviews_csv, tmp_path):
    assert say("predict", compared.folder / "model", reviews_csv, "--output", tmp_path / "out.csv").code == 0
    with (
        reviews_csv.open(encoding="utf-8", newline="") as given,
        (tmp_path / "out.csv").open(encoding="utf-8", newline="") as out,
    ):
        before, after = list(csv.DictReader(given)), list(csv.DictReader(out))
    assert [{"text": row["text"], "label": row["label"]} for row in after] == before
    assert "日本 🎉" in after[0]["text"]
    assert {row["prediction"] for row in after} <= {"neg", "pos"}
    said = say("predict", compared.folder / "model", reviews_csv, "--output", tmp_path / "out.tsv", "--quiet")
    assert (said.code, said.out, said.err) == (0, "", "")
    with (tmp_path / "out.tsv").open(encoding="utf-8", newline="") as out:
        assert list(csv.DictReader(out, delimiter="\t")) == after


def test_predicting_refuses_in_one_message_what_it_cannot_use(compared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "new.csv").write_text("text\nx\n", encoding="utf-8")
    (tmp_path / "marks.csv").write_text("mark,note\nx,y\n", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    model, before = compared.folder / "model", everything_in(tmp_path)
    refused(say("predict", "empty", "new.csv"), 2, "empty: not a model that unfreeze saved")
    refused(say("predict", "nowhere", "new.csv"), 2, "nowhere")
    refused(say("predict", compared.folder, "new.csv"), 2, f"did you mean {model}?")
    refused(
        say("predict", model, "marks.csv"), 2, "no column for the text; the columns are 'mark', 'note'", "--text-column"
    )
    refused(say("predict", model, "new.csv", "--output", "out.xlsx"), 2, "--output is a file that ends in .csv")
    refused(say("predict", model, "new.csv", "--output", "new.csv"), 2, "is the input itself")
    refused(say("predict", model, "new.csv", "--output", "new.csv/out.csv"), 3, "cannot be written")
    refused(say("predict", model, "new.csv", "--precision", "fp8"), 2, "auto, fp32, bf16")
    assert everything_in(tmp_path) == before


def test_a_dry_run_shows_the_plan_and_writes_nothing(reviews_csv, tiny_encoder_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(JOBS, "run_trial", lambda *_, **__: pytest.fail("it trained"))
    command = ["compare", reviews_csv, "--model", tiny_encoder_dir, "--threads", "1", "--dry-run"]
    said = say(*command, "--strategies", "head-only,gradual")
    assert said.code == 0
    assert "2 labels: " in said.err, "what was recognised is told before anything is trained"
    for words in (
        "head-only",
        "gradual",
        "layers 0–2, top,",
        "on each of 5 folds",
        "all of it ",
        "Howard & Ruder 2018",
    ):
        assert words in said.out
    plan = json.loads(say(*command, "--strategies", "full", "--json", "--budget", "none").out)
    assert plan["arms"][0]["stages"][0]["learns"] == "embeddings, layers 0–2, top, head"
    assert "full" in say("fit", reviews_csv, "--strategy", "full", *command[2:]).out
    assert everything_in(tmp_path) == {}


def test_a_gzipped_file_with_a_split_column_is_split_as_it_says(tiny_encoder_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [row | {"split": ("train", "train", "dev", "test")[i // 2 % 4]} for i, row in enumerate(opinions(48))]
    write_csv(tmp_path / "plain.csv", rows)
    (tmp_path / "mine.csv.gz").write_bytes(gzip.compress((tmp_path / "plain.csv").read_bytes()))
    said = say("compare", "mine.csv.gz", "--strategies", "untouched", "--model", tiny_encoder_dir, "--threads", "1")
    assert said.code == 0
    assert "As given: 24 train, 12 validation, 12 test rows." in said.err
    assert (tmp_path / "unfreeze-mine" / "report.html").is_file()


def test_ctrl_c_leaves_a_comparison_that_the_same_command_ends(reviews_csv, tiny_encoder_dir, tmp_path):
    folder = tmp_path / "out"
    command = ["compare", reviews_csv, "--model", tiny_encoder_dir, "--strategies", "full,untouched", "--folds", "1"]
    command += ["--seeds", "2", "--budget", "none", "--output-dir", folder, "--set", "num_train_epochs=15"]
    command += ["--threads", "1", "--precision", "fp32", "--set", "learning_rate=1e-3", "--set", "patience=15"]
    arguments = [sys.executable, "-m", "unfreeze", *map(str, command)]
    running = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not list(folder.glob("trials/*/result.json")) and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 130, err
    assert "the same command goes on from here" in err
    assert "Traceback" not in err
    assert out == ""
    assert not (folder / "report.html").exists()
    done = {path: path.stat().st_mtime_ns for path in folder.glob("trials/*/result.json")}
    assert done
    assert say(*command).code == 0
    assert (folder / "report.html").is_file()
    assert {path: path.stat().st_mtime_ns for path in done} == done
