"""Strict entity F1, against seqeval and by its definition."""

import warnings

import numpy as np
import pytest
from seqeval.metrics import classification_report
from seqeval.scheme import IOB2

from unfreeze.data.example import Example
from unfreeze.data.tags import repair_iob2
from unfreeze.tasks import Prediction
from unfreeze.tasks.ner import NamedEntities

KINDS = ("LOC", "ORG", "PER")
TASK = NamedEntities(("O", *(f"{letter}-{kind}" for kind in KINDS for letter in "BI")))


def random_rows(generator):
    """Sentences, some of them empty: gold tags in valid IOB2, and what a model said, valid or not."""
    gold, said = [], []
    for length in generator.integers(0, 8, int(generator.integers(1, 6))):
        tags = [TASK.labels[i] for i in generator.integers(0, 7, length)]
        gold.append(list(repair_iob2(tags)))
        keep = generator.random(length) < generator.choice([0.3, 0.8, 1.0])
        noise = [TASK.labels[i] for i in generator.integers(0, 7, length)]
        said.append([g if k else n for g, k, n in zip(gold[-1], keep, noise, strict=True)])
    return gold, said


def counted(gold, said):
    return TASK.counts([Example("", tuple(g), tuple(g)) for g in gold], [Prediction(tuple(s), 1.0) for s in said])


def seqevals(gold, said):
    if not any(gold):
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where a type is not predicted
        return classification_report(gold, said, mode="strict", scheme=IOB2, output_dict=True, zero_division=0)


@pytest.mark.parametrize("repaired", [False, True])
def test_strict_f1_is_seqevals_on_a_thousand_random_cases(repaired):
    generator = np.random.default_rng(7)
    for case in range(1000):
        gold, said = random_rows(generator)
        said = [list(repair_iob2(tags)) for tags in said] if repaired else said
        rows = counted(gold, said)
        details, theirs = TASK.details(rows.sum(0)), seqevals(gold, said)
        micro = theirs.get("micro avg", {"f1-score": 0, "precision": 0, "recall": 0})
        for ours, key in (("strict entity F1", "f1-score"), ("precision", "precision"), ("recall", "recall")):
            assert details[ours] == pytest.approx(micro[key], abs=1e-12), (case, gold, said)
        for kind in KINDS:
            assert details[f"F1 {kind}"] == pytest.approx(theirs.get(kind, {"f1-score": 0})["f1-score"], abs=1e-12)
        assert (rows[:, :3] == rows[:, 3:].reshape(len(rows), 3, 3).sum(1)).all()


def test_counts_of_parts_sum_to_those_of_the_whole_in_any_order():
    generator = np.random.default_rng(2)
    for _ in range(50):
        gold, said = random_rows(generator)
        order = generator.permutation(len(gold))
        cut = int(generator.integers(0, len(gold) + 1))
        shuffled = [gold[i] for i in order], [said[i] for i in order]
        parts = [counted(*(side[part] for side in shuffled)) for part in (slice(cut), slice(cut, None))]
        assert (parts[0].sum(0) + parts[1].sum(0) == counted(gold, said).sum(0)).all()
        sums = np.stack([counted(gold, said).sum(0)] * 2)
        assert TASK.score(sums).shape == (2,)


@pytest.mark.parametrize(
    ("gold", "said", "hits"),
    [
        (["B-PER", "I-PER"], ["B-PER", "I-PER"], 1),
        (["B-PER", "I-PER"], ["B-PER", "O"], 0),
        (["B-PER", "I-PER"], ["B-LOC", "I-LOC"], 0),
        (["B-PER", "I-PER"], ["B-PER", "B-PER"], 0),
        (["B-PER", "B-PER"], ["B-PER", "I-PER"], 0),
        (["B-PER", "I-PER"], ["O", "I-PER"], 0),
    ],
)
def test_only_the_same_words_and_the_same_type_are_a_hit(gold, said, hits):
    assert counted([gold], [said])[0, 0] == hits


def test_gold_entities_of_a_type_that_training_has_not_shown_are_missed_not_forgotten():
    rows = counted([["B-NEW", "B-PER"]], [["O", "B-PER"]])
    assert TASK.details(rows.sum(0))["recall"] == 0.5


def test_types_are_in_alphabetical_order_whatever_the_order_of_the_rows():
    rows = [Example("x", (tag,), ("x",)) for tag in ("B-PER", "O", "B-LOC", "B-é-x")]
    task = NamedEntities.learned_from(rows)
    assert task == NamedEntities.learned_from(rows[::-1])
    assert task.labels == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER", "B-é-x", "I-é-x")
    assert task.types == ("LOC", "PER", "é-x")
    assert [task.stratum(row) for row in rows] == ["PER", "none", "LOC", "é-x"]
