from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from torch.nn.functional import cross_entropy

from runs import LABELS, RUNTIME, SETTINGS, make_data, make_features, make_model, without_dropout
from unfreeze.engine.batches import collate, collate_targets
from unfreeze.engine.dropout import Dropout
from unfreeze.engine.gradients import BatchGradients
from unfreeze.engine.loss import Loss, balanced_weights, loss_for
from unfreeze.engine.settings import TrainingSettings
from unfreeze.engine.stages import enter_stage
from unfreeze.engine.training import Run
from unfreeze.plan import one_stage
from unfreeze.tasks import IGNORED

WEIGHTS = torch.tensor([0.02, 1.0, 3.0])
LOSSES = {
    "plain": Loss(),
    "smoothed": Loss(0.2),
    "weighted": Loss(0.0, WEIGHTS),
    "both": Loss(0.3, WEIGHTS),
}


def targets_of(features):
    return torch.tensor([target for feature in features for target in feature.targets])


def by_torch(encoder, kind, features, loss):
    """Gradients and mean loss of the whole batch, padded, as torch has them."""
    model, _ = make_model(encoder, kind)
    model.eval()
    logits = model(**collate(features, pad_token_id=0, device="cpu")).logits.flatten(0, -2)
    targets = collate_targets(features, "cpu").flatten()
    mean = cross_entropy(
        logits, targets, weight=loss.weights, ignore_index=IGNORED, label_smoothing=loss.smoothing, reduction="mean"
    )
    mean.backward()
    return float(mean.detach()), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def ours(encoder, kind, features, loss, *, most=10_000):
    """The same from the engine, with at most so many tokens in a part."""
    model, outline = make_model(encoder, kind)
    enter_stage(model, outline, stage=one_stage(outline.names).stages[0])
    batch = BatchGradients(model, outline, runtime=RUNTIME, dropout=Dropout(model, seed=0), loss=loss)
    batch.most_tokens = most
    number = loss.number(targets_of(features))
    summed = batch.add(features, start=None, number=number)
    return summed / number, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("most", [10_000, 25], ids=["one part", "several parts"])
@pytest.mark.parametrize(
    ("kind", "way"),
    [
        ("sequence", "narrowed"),
        *((kind, way) for kind in ("sequence", "token") for way in ("packed", "grouped", "padded")),
    ],
)
def test_a_batch_gives_torchs_loss_and_gradients_of_the_whole_batch(kind, way, most, name, encoder_of, monkeypatch):
    encoder, features = without_dropout(encoder_of("bert")), make_features(9, kind)
    assert set(targets_of(features).tolist()) >= {0, 1, 2}
    monkeypatch.setattr("unfreeze.engine.gradients.way_of_batching", lambda *_: way)
    loss, found = ours(encoder, kind, features, LOSSES[name], most=most)
    mean, expected = by_torch(encoder, kind, features, LOSSES[name])
    assert loss == pytest.approx(mean, rel=1e-5)
    assert found.keys() == expected.keys()
    for path, gradient in expected.items():
        assert float((found[path] - gradient).abs().max()) <= 2e-6 * max(1.0, float(gradient.abs().max())), path


@pytest.mark.parametrize("kind", ["sequence", "token"])
def test_targets_that_weigh_less_than_one_together_are_divided_by_what_they_weigh(kind, encoder_of):
    encoder = without_dropout(encoder_of("bert"))
    features = [replace(f, targets=tuple(min(t, 0) for t in f.targets)) for f in make_features(4, kind)]
    assert 0 < LOSSES["both"].number(targets_of(features)) < 1
    loss, found = ours(encoder, kind, features, LOSSES["both"])
    mean, expected = by_torch(encoder, kind, features, LOSSES["both"])
    assert loss == pytest.approx(mean, rel=1e-5)
    assert all(torch.allclose(found[path], expected[path], rtol=1e-4, atol=1e-6) for path in expected)


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_expected_of_log_probabilities_gives_torchs_sum(name):
    chance = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(20, 3, generator=chance), torch.randint(0, 3, (20,), generator=chance)
    expected = LOSSES[name].expected(3, like=logits)
    if name == "plain":
        assert expected is None
        return
    summed = -(expected[:, targets].T * logits.log_softmax(1)).sum()
    assert float(summed) == pytest.approx(float(LOSSES[name].summed(logits, targets)), rel=1e-5)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 5))
def test_balanced_weights_are_scikit_learns_and_a_class_never_shown_has_1(shown, ignored):
    weights = balanced_weights(torch.tensor([*shown, *[IGNORED] * ignored]), 6)
    classes = np.unique(shown)
    expected = np.ones(6)
    expected[classes] = compute_class_weight("balanced", classes=classes, y=np.array(shown))
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-6)


def test_without_any_target_every_class_weighs_1_and_nothing_is_divided_by():
    weights = balanced_weights(torch.full((3,), IGNORED), 2)
    assert weights.tolist() == [1.0, 1.0]
    assert Loss(0.0, weights).number(torch.full((3,), IGNORED)) == 0


def test_the_usual_settings_are_plain_cross_entropy():
    loss = loss_for(TrainingSettings(), targets=torch.tensor([0, 1, 1]), classes=2)
    assert (loss.smoothing, loss.weights) == (0.0, None)
    assert loss.number(torch.tensor([1, IGNORED, 0])) == 2


@pytest.mark.parametrize("kind", ["sequence", "token"])
def test_a_run_weighs_classes_by_its_training_targets_alone(kind, encoder_of):
    features = make_features(24, kind)
    model, outline = make_model(encoder_of("bert"), kind)
    settings = replace(SETTINGS, class_weights="balanced", label_smoothing_factor=0.1, num_train_epochs=1)
    data, plan = make_data(features), one_stage(outline.names)
    run = Run(model, outline, plan=plan, settings=settings, data=data, runtime=RUNTIME)

    def balanced(places):
        shown = [t for place in places for t in features[place].targets if t != IGNORED]
        return compute_class_weight("balanced", classes=np.arange(len(LABELS)), y=np.array(shown))

    assert run._loss.smoothing == 0.1
    np.testing.assert_allclose(run._loss.weights.numpy(), balanced(data.train), rtol=1e-6)
    assert not np.allclose(balanced(data.train), balanced(range(24)), rtol=1e-3)


def test_the_validation_loss_of_the_curve_is_plain_whatever_is_trained_on(encoder_of):
    features = make_features(24)
    curves = {}
    for name, changed in {"plain": {}, "both": {"class_weights": "balanced", "label_smoothing_factor": 0.5}}.items():
        model, outline = make_model(without_dropout(encoder_of("bert")))
        # A rate so low that the weights stay where they are: only how the loss is computed can differ.
        settings = replace(SETTINGS, learning_rate=1e-12, weight_decay=0.0, num_train_epochs=1, **changed)
        run = Run(
            model, outline, plan=one_stage(outline.names), settings=settings, data=make_data(features), runtime=RUNTIME
        )
        (curves[name],) = run.run().curve
    assert curves["both"]["validation_loss"] == pytest.approx(curves["plain"]["validation_loss"], rel=1e-6)
    assert abs(curves["both"]["train_loss"] - curves["plain"]["train_loss"]) > 1e-3
