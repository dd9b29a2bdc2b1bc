"""A small firm with a thousand reviews and modest compute: a budget, a verdict, and a model at any moment."""

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest

import unfreeze
from commands import LEARN, Said, say
from rows import Listening, opinions, write_jsonl
from unfreeze.errors import Interrupted


@pytest.fixture(scope="module")
def thousand(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A thousand customer reviews, as one file."""
    with (shared_data / "cls_customer_reviews" / "train.csv").open(encoding="utf-8", newline="") as stream:
        rows = {row["text"]: row["label"] for row in csv.DictReader(stream)}
    chosen = random.Random(0).sample(sorted(rows), 1000)
    path = tmp_path_factory.mktemp("firm") / "reviews.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("text", "label"), *((text, rows[text]) for text in chosen)])
    return path


@pytest.fixture(scope="module")
def bought(thousand: Path, tiny_encoder_dir: Path) -> tuple[Said, Path]:
    """What the budget gave; what it holds depends on the machine."""
    folder = thousand.parent / "out"
    ways = ("--strategies", "full,head-only,last-k,untouched")
    size = (
        "--model",
        tiny_encoder_dir,
        "--budget",
        "60s",
        "--set",
        "num_train_epochs=4",
        "--workers",
        "1",
        "--folds",
        "2",
    )
    return say("compare", thousand, *ways, *size, "--output-dir", folder, *LEARN), folder


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def test_a_budget_buys_a_verdict_in_three_sentences_and_a_model(bought: tuple[Said, Path]) -> None:
    said, folder = bought
    assert said.code == 0, said.err
    assert "each of 2 folds" in said.err
    advice = read(folder, "recommendation.json")
    assert len(advice["in_short"]) == 3
    assert all(sentence in " ".join(said.out.split()) for sentence in map(" ".join, map(str.split, advice["in_short"])))
    assert advice["chosen"] in ("full", "head-only", "last-k")
    assert advice["effect"] is None or advice["effect"]["low"] <= advice["effect"]["high"]
    labels = set(read(folder, "model/unfreeze.json")["labels"])
    assert set(unfreeze.load_comparison(folder).best.predict(["a fine camera", "it broke at once"])) <= labels


def test_whatever_the_budget_left_out_is_named_with_its_reason(bought: tuple[Said, Path]) -> None:
    _, folder = bought
    record, advice = read(folder, "record.json"), read(folder, "recommendation.json")
    lacking = {arm["name"] for arm in record["arms"] if arm["state"] != "done"}
    assert set(advice["left_out"]) == lacking
    assert all(advice["left_out"].values())
    assert set(advice["costs"]) | lacking == {arm["name"] for arm in record["arms"]}
    decided = [step["stage"] for step in record["race"]]
    assert decided[0] == "settings 1"
    assert len(decided) == len(set(decided))
    assert "How the race went" in (folder / "report.html").read_text(encoding="utf-8")


def test_stopped_at_any_moment_there_is_a_model_that_loads(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "opinions.jsonl", opinions(80))
    settings = {"num_train_epochs": 2, "per_device_train_batch_size": 16, "learning_rate": 1e-2}
    options: dict[str, Any] = {"threads": 1, "precision": "fp32", "budget": None, "folds": 2, "settings": settings}
    with pytest.raises(Interrupted, match=r"the best model so far \(.*points on validation\) is in .*model"):
        unfreeze.compare(
            file,
            model=str(tiny_encoder_dir),
            strategies=("full", "head-only"),
            output_dir=tmp_path / "out",
            watcher=Listening(2),
            **options,
        )
    assert "not finished" in (tmp_path / "out" / "model" / "README.md").read_text(encoding="utf-8")
    from unfreeze.export.handing_over import load_model

    assert set(load_model(tmp_path / "out" / "model", threads=1).predict(["good film", "bad film"])) <= {"neg", "pos"}
