import numpy as np
import pytest
import torch

from runs import RUNTIME, make_features, make_model
from tiny import FAMILIES
from unfreeze.engine import prediction
from unfreeze.engine.prediction import logits_of, summed_loss


@pytest.mark.parametrize("kind", ["sequence", "token"])
def test_predictions_come_in_the_order_of_the_input_with_every_batching(kind, encoder_of, monkeypatch):
    model, _ = make_model(encoder_of("bert"), kind)
    features = make_features(20, kind, longest=40)
    expected = logits_of(model, features, runtime=RUNTIME)
    batchings = [
        lambda fs: [[i] for i in range(len(fs))],
        lambda fs: [[i] for i in reversed(range(len(fs)))],
        lambda fs: [list(range(len(fs)))],
        lambda fs: [list(range(0, len(fs), 2)), list(range(1, len(fs), 2))],
    ]
    for batching in batchings:
        monkeypatch.setattr(prediction, "canonical_batches", batching)
        for first, second in zip(expected, logits_of(model, features, runtime=RUNTIME), strict=True):
            assert first.shape == second.shape
            assert np.abs(first - second).max() <= 1e-5
    for feature, values in zip(features, expected, strict=True):
        assert values.shape == ((feature.length, 3) if kind == "token" else (3,))
        assert values.dtype == np.float32


@pytest.mark.parametrize("kind", ["sequence", "token"])
@pytest.mark.parametrize("family", FAMILIES)
def test_padding_changes_no_logit_in_any_family(family, kind, encoder_of):
    model, _ = make_model(encoder_of(family), kind)
    features = make_features(6, kind, longest=50)
    together = logits_of(model, features, runtime=RUNTIME)
    for feature, values in zip(features, together, strict=True):
        alone = logits_of(model, [feature], runtime=RUNTIME)[0]
        assert np.abs(values - alone).max() <= 1e-5
        assert np.array_equal(values.argmax(-1), alone.argmax(-1))


def test_logits_are_computed_in_evaluation_mode_and_without_gradients(encoder_of):
    model, _ = make_model(encoder_of("bert"))
    model.train()
    first, second = (logits_of(model, make_features(4), runtime=RUNTIME) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("kind", ["sequence", "token"])
def test_the_summed_loss_is_torchs_whatever_the_size_of_the_logits(kind):
    features = make_features(8, kind)
    generator = np.random.default_rng(0)
    shapes = [(feature.length, 3) if feature.words else (3,) for feature in features]
    logits = [generator.normal(0, 200, shape).astype(np.float32) for shape in shapes]
    total, number = summed_loss(features, logits)
    expected = sum(
        float(
            torch.nn.functional.cross_entropy(
                torch.tensor(np.atleast_2d(values)).double(), torch.tensor(f.targets), reduction="sum"
            )
        )
        for f, values in zip(features, logits, strict=True)
    )
    assert total == pytest.approx(expected, rel=1e-9)
    assert number == sum(target >= 0 for feature in features for target in feature.targets)


def test_no_target_at_all_is_no_loss():
    assert summed_loss([], []) == (0.0, 0)
