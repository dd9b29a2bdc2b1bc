"""What holds for every task: a new one needs rows in ``ROWS``, and is covered."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from rows import opinions, sentences
from runs import RUNTIME
from unfreeze.compare.material import Material
from unfreeze.compare.trials import Trained, Trial, planned, train
from unfreeze.data.example import Example
from unfreeze.data.splitting import Fold, Splits
from unfreeze.data.table import Table
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.engine.batches import collate, collate_targets
from unfreeze.engine.prediction import logits_of, summed_loss
from unfreeze.engine.settings import TrainingSettings
from unfreeze.engine.training import State, Watch
from unfreeze.export.handing_over import load_model, save_model
from unfreeze.tasks import IGNORED, TASKS, Columns, Feature

NUMBER = 32


def _labelled_texts():
    rows = opinions(NUMBER, hard=0.0)
    return {"text": [row["text"] for row in rows], "label": [row["label"] for row in rows]}


def _tagged_words():
    rows = sentences(NUMBER)
    return {"tokens": [[w for w, _ in row] for row in rows], "tags": [[t for _, t in row] for row in rows]}


ROWS = {"classification": _labelled_texts, "ner": _tagged_words}
"""For each task the columns of 32 rows that can be learned by heart."""
EVERY = sorted(TASKS)
SETTINGS = TrainingSettings(
    learning_rate=3e-3, num_train_epochs=50, per_device_train_batch_size=8, patience=50, adam_epsilon=1e-6
)


def table_of(name):
    if name not in ROWS:
        pytest.fail(f"the task {name!r} has no rows to be tested with: add a maker of {NUMBER} rows to ROWS")
    return Table("rows.jsonl", "jsonl", ROWS[name](), range(1, NUMBER + 1), "")


def material_of(name, encoder):
    cls = TASKS[name]
    examples = cls.read([table_of(name)], Columns()).examples[0]
    task = cls.learned_from(examples)
    every = tuple(range(len(examples)))
    splits = Splits((Fold(every, every),), (), "given", ())
    encoded = task.encode(examples, encoder)
    return Material(task, encoder, examples, splits, encoded.features, encoded.counts, (), {})


def trial_of(settings=SETTINGS):
    return Trial("full", HeadSettings("standard"), settings, 0)


@pytest.fixture(scope="module")
def taught(encoder_of):
    """For each task its material, and a model that has learned it."""
    found = {}

    def get(name):
        if name not in found:
            material = material_of(name, encoder_of("bert"))
            found[name] = material, train(material, trial_of(), runtime=RUNTIME, folder=None, watch=Watch())
        return found[name]

    return get


def answers_of(material, model, features=None):
    """Logits and predictions of all examples."""
    features = material.features if features is None else features
    logits = logits_of(model, features, runtime=RUNTIME)
    return logits, material.task.decode(material.examples, features, logits=logits)


@pytest.mark.parametrize("name", EVERY)
def test_every_task_has_rows_that_it_alone_recognises_and_reads_whole(name):
    table = table_of(name)
    assert [other for other in EVERY if TASKS[other].recognises(table, Columns())] == [name]
    assert len(TASKS[name].label_candidates(table)) == 1
    reading = TASKS[name].read([table, table], Columns())
    assert [len(rows) for rows in reading.examples] == [NUMBER, NUMBER]
    assert reading.counts == ()
    unlabelled = TASKS[name].read([table], Columns(), labelled=False).examples[0]
    assert [(e.text, e.words) for e in unlabelled] == [(e.text, e.words) for e in reading.examples[0]]
    assert {e.target for e in unlabelled} == {None}
    assert TASKS[name].metric in TASKS[name].learned_from(reading.examples[0]).details(
        np.zeros(TASKS[name].learned_from(reading.examples[0]).counts([], []).shape[1])
    )


@pytest.mark.parametrize("name", EVERY)
def test_a_few_rows_can_be_learned_by_heart(taught, name):
    material, trained = taught(name)
    _, predictions = answers_of(material, trained.model)
    score = material.task.score(material.task.counts(material.examples, predictions).sum(0))
    assert score >= 0.95, f"{material.task.metric} {score} after {trained.state.epoch} epochs"


@pytest.mark.parametrize("name", EVERY)
def test_padding_batching_and_order_change_no_prediction(taught, name):
    material, trained = taught(name)
    together, predictions = answers_of(material, trained.model)
    for feature, expected in zip(material.features, together, strict=True):
        (alone,) = logits_of(trained.model, [feature], runtime=RUNTIME)
        assert np.abs(alone - expected).max() <= 1e-5
        assert (alone.argmax(-1) == expected.argmax(-1)).all()
    order = np.random.default_rng(1).permutation(len(material.features))
    shuffled = [material.features[i] for i in order]
    assert [p.value for p in answers_of(material, trained.model, shuffled)[1]] == [p.value for p in predictions]
    backwards = material.examples[::-1]
    again = material.task.encode(backwards, material.encoder).features
    logits = logits_of(trained.model, again, runtime=RUNTIME)
    values = [p.value for p in material.task.decode(backwards, again, logits=logits)]
    assert values[::-1] == [p.value for p in predictions]


@pytest.mark.parametrize("name", EVERY)
def test_the_loss_is_the_mean_surprise_at_the_gold_answers_and_nothing_else(taught, name):
    material, trained = taught(name)
    logits, _ = answers_of(material, trained.model)
    total, number = 0.0, 0
    label_of = material.task.labels
    for feature, values in zip(material.features, logits, strict=True):
        example = material.examples[feature.example]
        if material.task.kind == "sequence":
            gold = [(values, example.target)]
        else:
            gold = [(values[place], example.target[word]) for place, word in enumerate(feature.words) if word >= 0]
        for row, answer in gold:
            weights = [math.exp(float(value)) for value in row]
            total -= math.log(weights[label_of.index(answer)] / sum(weights))
            number += 1
    answers = sum(1 if material.task.kind == "sequence" else len(e.target) for e in material.examples)
    assert number == answers
    assert summed_loss(material.features, logits) == (pytest.approx(total, rel=1e-5), number)
    inputs = collate(material.features, pad_token_id=0, device="cpu")
    with torch.inference_mode():
        padded = trained.model(**inputs).logits
    targets = collate_targets(material.features, "cpu")
    loss = cross_entropy(padded.flatten(0, -2), targets.flatten(), ignore_index=IGNORED, reduction="sum")
    assert float(loss) == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("name", EVERY)
def test_a_saved_model_says_the_same_after_loading(taught, name, tmp_path):
    material, trained = taught(name)
    _, before = answers_of(material, trained.model)
    save_model(trained, material, folder=tmp_path / "model", card="card\n")
    loaded = load_model(tmp_path / "model", threads=1, precision="fp32")
    assert loaded.task == material.task
    after = loaded.predictions(material.examples)
    assert [p.value for p in after] == [p.value for p in before]
    assert [p.probability for p in after] == pytest.approx([p.probability for p in before], abs=1e-6)


@pytest.mark.parametrize("name", EVERY)
def test_floors_give_one_valid_prediction_an_example_without_seeing_its_target(encoder_of, name):
    material = material_of(name, encoder_of("bert"))
    train_rows, asked = material.examples[:24], material.examples[24:]
    floors = material.task.floors(train_rows, asked, seed=0)
    assert len(floors) >= 2
    assert any(len({p.value for p in said}) > 1 for said in floors.values()), "no floor reads the text"
    blind = [Example(e.text, None, e.words, e.offsets) for e in asked]
    for floor, predictions in floors.items():
        assert [p.value for p in material.task.floors(train_rows, blind, seed=0)[floor]] == [
            p.value for p in predictions
        ]
        assert len(predictions) == len(asked)
        for example, prediction in zip(asked, predictions, strict=True):
            values = [prediction.value] if material.task.kind == "sequence" else prediction.value
            assert set(values) <= set(material.task.labels)
            assert material.task.kind == "sequence" or len(values) == len(example.words)
            assert 0 <= prediction.probability <= 1
        assert np.isfinite(material.task.counts(asked, predictions)).all()


@pytest.mark.parametrize("name", EVERY)
def test_every_head_a_task_asks_for_can_be_built_and_read(encoder_of, name):
    material = material_of(name, encoder_of("bert"))
    heads = material.task.heads(reads_layers=True)
    assert heads[0] == HeadSettings("standard")
    assert set(material.task.heads(reads_layers=False)) < set(heads)
    for head in heads:
        if head.layers > 3:  # the tiny encoder has three layers
            continue
        model, outline, plan = planned(material, Trial("full", head, SETTINGS, 0), runtime=RUNTIME)
        logits, predictions = answers_of(material, Trained(model, outline, plan, State()).model)
        assert {values.shape[-1] for values in logits} == {len(material.task.labels)}
        assert len(predictions) == NUMBER


@pytest.mark.parametrize("name", EVERY)
def test_rows_without_a_target_are_encoded_but_never_learned_from(encoder_of, name):
    material = material_of(name, encoder_of("bert"))
    blind = [Example(e.text, None, e.words, e.offsets) for e in material.examples]
    features: tuple[Feature, ...] = material.task.encode(blind, material.encoder).features
    assert [f.inputs for f in features] == [f.inputs for f in material.features]
    assert {target for f in features for target in f.targets} == {IGNORED}
