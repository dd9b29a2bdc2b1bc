"""Texts with one label: what is cut, what the numbers mean, and that they are scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from tiny import FAMILIES
from unfreeze.data.example import Example
from unfreeze.tasks import IGNORED, Feature, Prediction
from unfreeze.tasks.classification import Classification

LABELS = ("a", "b", "c d", "é")


def test_accuracy_and_macro_f1_are_scikit_learns_on_a_thousand_random_cases():
    generator = np.random.default_rng(0)
    task = Classification(LABELS)
    for case in range(1000):
        number, classes = int(generator.integers(1, 25)), int(generator.integers(1, 5))
        gold, guess = ([LABELS[i] for i in generator.integers(0, classes, number)] for _ in range(2))
        rows = task.counts([Example("x", g) for g in gold], [Prediction(p, 1.0) for p in guess])
        details = task.details(rows.sum(0))
        assert details["accuracy"] == pytest.approx(accuracy_score(gold, guess), abs=1e-12), case
        assert details["macro_f1"] == pytest.approx(f1_score(gold, guess, average="macro"), abs=1e-12), case
        order = generator.permutation(number)
        cut = int(generator.integers(0, number + 1))
        assert (rows[order][:cut].sum(0) + rows[order][cut:].sum(0) == rows.sum(0)).all()
        assert task.score(np.stack([rows.sum(0), rows[:1].sum(0)]))[1] == float(gold[0] == guess[0])


def test_gold_labels_that_training_has_not_shown_count_as_wrong():
    task = Classification(("a", "b"))
    rows = task.counts([Example("x", "new"), Example("x", "a")], [Prediction("a", 1.0), Prediction("a", 1.0)])
    assert task.details(rows.sum(0))["accuracy"] == 0.5
    assert task.unseen(Example("x", "new")) == "new"
    assert task.unseen(Example("x", "a")) is task.unseen(Example("x", None)) is None


def test_no_rows_score_nothing_without_a_warning():
    task = Classification(("a", "b"))
    assert task.details(task.counts([], []).sum(0)) == {"accuracy": 0.0, "macro_f1": 0.0}


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_are_cut_at_the_window_and_what_is_lost_is_counted(encoder_of, family):
    encoder = encoder_of(family)
    task = Classification(("a", "b"))
    texts = ["boat", "the old harbour " * 40, "", "letters to " * 60]
    examples = [Example(text, "b", line=i + 2) for i, text in enumerate(texts)]
    encoded = task.encode(examples, encoder)
    whole = [encoder.tokenizer(text, verbose=False)["input_ids"] for text in texts]
    assert [f.length for f in encoded.features] == [min(len(ids), encoder.window) for ids in whole]
    assert [f.example for f in encoded.features] == [0, 1, 2, 3]
    assert list(encoded.features[0].inputs["input_ids"]) == whole[0]
    assert encoded.features[1].inputs["input_ids"][:20] == whole[1][:20]
    assert encoded.features[1].inputs["input_ids"][-1] == whole[1][-1]
    (count,) = encoded.counts
    assert (count.number, count.of, count.rows) == (2, 4, (3, 5))
    lost = sum(max(0, len(ids) - encoder.window) for ids in whole)
    assert f"({lost:,} tokens lost)" in count.what
    assert f"window of {encoder.window} tokens" in count.what
    assert task.encode([], encoder).features == ()


def test_a_label_that_is_unknown_is_no_target(encoder_of):
    task = Classification(("None", "a"))
    rows = [Example("boat", None), Example("boat", "new"), Example("boat", "a"), Example("boat", "None")]
    assert [f.targets for f in task.encode(rows, encoder_of("bert")).features] == [(IGNORED,), (IGNORED,), (1,), (0,)]


def test_predictions_come_in_the_order_of_the_examples():
    task = Classification(("a", "b"))
    examples = [Example(str(i), None) for i in range(4)]
    features = [Feature(i, {}, (IGNORED,)) for i in (2, 0, 3, 1)]
    logits = [np.array([0, margin], np.float32) for margin in (3.0, -1.0, 1000.0, 0.5)]
    predicted = task.decode(examples, features, logits=logits)
    assert [p.value for p in predicted] == ["a", "b", "b", "b"]
    assert [p.probability for p in predicted] == pytest.approx([1 / (1 + np.exp(-m)) for m in (1.0, 0.5, 3.0)] + [1.0])
    assert task.shown(examples[0], predicted[0]) == {"prediction": "a", "probability": 0.731059}


@pytest.mark.parametrize("names", [("a", "b", "c"), ("z", "y", "x"), ("10", "9", "é")])
def test_the_order_of_labels_changes_no_named_prediction(names):
    generator = np.random.default_rng(3)
    logits = generator.normal(size=(20, 3))
    examples = [Example(str(i), names[i % 3]) for i in range(20)]
    by_name = [dict(zip(names, row, strict=True)) for row in logits]
    features = [Feature(i, {}, (IGNORED,)) for i in range(20)]
    task = Classification.learned_from(examples)
    assert task.labels == tuple(sorted(names))
    assert Classification.learned_from(examples[::-1]) == task
    for labels in (task.labels, task.labels[::-1]):
        rows = [np.array([row[label] for label in labels]) for row in by_name]
        predicted = Classification(labels).decode(examples, features, logits=rows)
        assert [p.value for p in predicted] == [max(row, key=row.get) for row in by_name]
