"""Scores and outputs of a trial: what is kept of it, and where."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from unfreeze.compare.recording import OUTPUTS, RESULT, is_collapsed, publish_trial, scored
from unfreeze.data.example import Example
from unfreeze.data.splitting import Fold
from unfreeze.files import read_json
from unfreeze.tasks import Prediction
from unfreeze.tasks.classification import Classification

EXAMPLES = [Example(f"text {i}", "ab"[i % 2]) for i in range(6)]


def material(said: str, test: tuple[int, ...]) -> Any:
    """Rows of which fold 0 validates on 3 and 1; every prediction is what ``said`` says of the example."""
    folds = {0: Fold((0, 2), (3, 1)), None: Fold((0, 1, 2, 3), ())}
    return SimpleNamespace(
        task=Classification(("a", "b")),
        examples=EXAMPLES,
        fold=folds.__getitem__,
        splits=SimpleNamespace(test=test),
        predictions=lambda examples, _: [Prediction(said[i], 1.0) for i in examples],
    )


def test_each_split_is_scored_on_its_own_rows() -> None:
    asked: list[list[int]] = []

    def logits(examples: Any) -> list[np.ndarray]:
        asked.append(list(examples))
        return [np.zeros(2) for _ in examples]

    scores, outputs = scored(material("aaabab", (4, 5)), 0, logits=logits)
    assert asked == [[3, 1], [4, 5]]
    assert scores["validation"]["accuracy"] == 0.5
    assert not scores["validation"]["collapsed"]
    assert scores["test"]["accuracy"] == 1.0
    assert outputs["validation/examples"].tolist() == [3, 1]
    assert outputs["validation/counts"][:, 0].tolist() == [1, 0]
    assert outputs["test/examples"].tolist() == [4, 5]


def test_a_split_without_rows_is_left_out() -> None:
    scores, outputs = scored(material("abbbaa", ()), None, logits=lambda _: [])
    assert (scores, outputs) == ({}, {})
    scores, _ = scored(material("abbbaa", (4, 5)), None, logits=lambda _: [])
    assert list(scores) == ["test"]
    assert scores["test"]["collapsed"]


def test_saying_the_same_of_everything_is_collapsed() -> None:
    a, b = Prediction("a", 1.0), Prediction("b", 1.0)
    assert is_collapsed([a, a])
    assert not is_collapsed([a, b])
    nothing, something = Prediction(("O", "O"), 1.0), Prediction(("O", "B-X"), 1.0)
    assert is_collapsed([nothing, nothing])
    assert not is_collapsed([nothing, something])
    assert not is_collapsed([something, something])


def test_a_record_replaces_what_was_in_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "trial"
    publish_trial(folder, record={"state": "diverged"}, outputs={"test/examples": np.array([1])})
    publish_trial(folder, record={"state": "done"}, outputs={"test/examples": np.array([4, 5])})
    assert read_json(folder / RESULT) == {"state": "done"}
    assert load_file(folder / OUTPUTS)["test/examples"].tolist() == [4, 5]
