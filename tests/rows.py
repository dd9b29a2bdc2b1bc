"""Made-up labelled rows for tests that run whole comparisons, and options that keep those short."""

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import unfreeze
from unfreeze import finishing
from unfreeze.compare.watching import Watcher

GOOD = ("good", "wonderful", "love", "quiet")
BAD = ("bad", "terrible", "hate", "noise")
NAMES = {"PER": (("Anna", "Berg"), ("Doctor", "Silva")), "LOC": (("Oslo",), ("Lima",), ("Geneva",))}
MARKER = "zebrafinch"
"""A word that stands in texts only: where it turns up in a record, a user's text has leaked."""


def opinions(number: int = 90, *, hard: float = 0.15, seed: int = 3) -> list[dict[str, str]]:
    """Texts with the labels "neg" and "pos", a share of them labelled at random, all texts different."""
    chance = random.Random(seed)
    rows = []
    for i in range(number):
        label = ("neg", "pos")[i % 2]
        said = chance.choice(GOOD if label == "pos" else BAD)
        where = chance.choice(("film", "place", "music", "seats", "order", "train"))
        if chance.random() < hard:
            label = chance.choice(("neg", "pos"))
        rows.append({"text": f"The {where} number {i} was {said} they said {MARKER}", "label": label})
    return rows


def sentences(number: int, *, seed: int = 5) -> list[list[tuple[str, str]]]:
    """Sentences of (word, IOB2 tag), each with one person or place."""
    chance = random.Random(seed)
    out = []
    for i in range(number):
        kind = chance.choice(("PER", "LOC"))
        name = chance.choice(NAMES[kind])
        tags = [f"B-{kind}", *[f"I-{kind}"] * (len(name) - 1)]
        verb = "works in" if kind == "LOC" else "writes to"
        words = [*f"The company {i} {MARKER} {verb}".split(), *name, "."]
        out.append(list(zip(words, ["O"] * (len(words) - len(name) - 1) + tags + ["O"], strict=True)))
    return out


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_conll(path: Path, rows: list[list[tuple[str, str]]]) -> Path:
    path.write_text("\n".join("".join(f"{w} {t}\n" for w, t in row) for row in rows) + "\n", encoding="utf-8")
    return path


QUICK = {"threads": 1, "precision": "fp32", "budget": None, "race": False}
"""What comparisons in tests share: the same bits on every processor, no timing in the decisions, nobody who leaves."""

STRATEGIES = ("full", "head-only", "untouched")


@cache
def compared_opinions(encoder: Path, base: Path) -> unfreeze.Comparison:
    """One finished comparison on two folds for all tests; its folder is for reading only."""
    base.mkdir(exist_ok=True)
    return compare_opinions(write_jsonl(base / "opinions.jsonl", opinions()), encoder, base / "opinions")


def compare_opinions(file: Path, encoder: Path, folder: Path, **changed: Any) -> unfreeze.Comparison:
    """The comparison of ``compared_opinions``, or one that differs in what is named."""
    settings = {"num_train_epochs": 15, "patience": 15, "per_device_train_batch_size": 8, "learning_rate": 1e-2}
    usual = {"strategies": STRATEGIES, "folds": 2, "seeds": 1, "settings": settings, **QUICK}
    return unfreeze.compare(file, model=str(encoder), output_dir=folder, **(usual | changed))


@cache
def compared_sentences(encoder: Path, base: Path) -> unfreeze.Comparison:
    """One finished comparison of entities with given splits and two seeds; its folder is for reading only."""
    base.mkdir(exist_ok=True)
    every = sentences(90)
    parts = {"train": every[:50], "validation": every[50:70], "test": every[70:]}
    files = {name: write_conll(base / f"{name}.conll", rows) for name, rows in parts.items()}
    settings = {"num_train_epochs": 12, "patience": 12, "per_device_train_batch_size": 8, "learning_rate": 1e-2}
    return unfreeze.compare(
        **files,
        strategies=("full", "head-only"),
        seeds=2,
        settings=settings,
        model=str(encoder),
        output_dir=base / "sentences",
        **QUICK,
    )


class Listening(Watcher):
    """Remembers what it is told, and stops a comparison after so many trials were begun."""

    def __init__(self, most: int | None = None) -> None:
        self.sentences: list[str] = []
        self.begun: list[str] = []
        self.most = most

    def said(self, text: str) -> None:
        self.sentences.append(text)

    def began(self, arm: str, doing: str) -> None:
        self.begun.append(f"{arm}: {doing}")

    def stop(self) -> bool:
        return self.most is not None and len(self.begun) > self.most


def findings(folder: Path) -> dict[str, Any]:
    """What must be the same whenever a comparison is run: no time, no place."""
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    kept = ("name", "state", "score", "interval", "scores", "details", "test", "settings", "tuning", "starved", "runs")
    results = sorted((folder / "trials").glob("*/result.json"))
    trials = {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in results}
    return {
        "arms": [{key: arm[key] for key in kept} for arm in record["arms"]],
        "recommendation": {k: v for k, v in record["recommendation"].items() if k not in ("costs", "in_short")},
        "handed over": record["handed_over"],
        "weights": {name: trial["weights_sha256"] for name, trial in trials.items()},
        "curves": {name: trial["curve"] for name, trial in trials.items()},
    }


def last_trainings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """A list that every last training on all rows is put into from now on: its trial, and what it gave."""
    real, trained = finishing.train, list[tuple[Any, Any]]()

    def spied(material: Any, trial: Any, **more: Any) -> Any:
        trained.append((trial, real(material, trial, **more)))
        return trained[-1][1]

    monkeypatch.setattr(finishing, "train", spied)
    return trained
