"""One temperature: found where cross entropy is least, folded into the last layer, and no label changes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from runs import RUNTIME, differing, farthest, make_features, make_model, weights_of
from tiny import FAMILIES
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.engine.calibration import (
    HIGHEST,
    LOWEST,
    SPREAD,
    calibrate,
    calibration_error,
    fitted_temperature,
    scored_targets,
)
from unfreeze.engine.class_means import last_linear
from unfreeze.engine.prediction import logits_of
from unfreeze.tasks import IGNORED


def softmax(logits):
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def cross_entropy(logits, targets):
    return -np.log(softmax(logits)[np.arange(len(targets)), targets]).mean()


def drawn(number, classes, *, sharpness, seed=0):
    """Logits that are ``sharpness`` times too sure, and the targets that chance gives under the true ones."""
    generator = np.random.default_rng(seed)
    true = 2 * generator.normal(size=(number, classes))
    targets = np.array([generator.choice(classes, p=p) for p in softmax(true)])
    return sharpness * true, targets


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("sharpness", [0.2, 1.0, 4.0])
def test_the_temperature_that_made_the_logits_too_sure_is_found_again(sharpness, classes):
    logits, targets = drawn(20_000, classes, sharpness=sharpness)
    assert fitted_temperature(logits, targets) == pytest.approx(sharpness, rel=0.05)


@given(st.integers(1, 60), st.integers(2, 4), st.floats(0.01, 8.0), st.integers(0, 10_000))
def test_whatever_the_rows_it_lies_within_its_bounds_and_its_cost_is_the_least(number, classes, sharpness, seed):
    logits, targets = drawn(number, classes, sharpness=sharpness, seed=seed)

    def cost(temperature):
        return number * cross_entropy(logits / temperature, targets) + 0.5 * (np.log(temperature) / SPREAD) ** 2

    found = fitted_temperature(logits, targets)
    assert LOWEST <= found <= HIGHEST
    assert cost(found) <= min(cost(temperature) for temperature in np.geomspace(LOWEST, HIGHEST, 200)) + 1e-9
    assert cost(found) <= cost(1.0)


@pytest.mark.parametrize("sharpness", [0.5, 3.0])
def test_with_many_rows_it_is_that_of_the_least_cross_entropy(sharpness):
    logits, targets = drawn(2000, 3, sharpness=sharpness)
    least = minimize_scalar(lambda t: cross_entropy(logits / t, targets), bounds=(0.1, 10), method="bounded")
    assert fitted_temperature(logits, targets) == pytest.approx(least.x, rel=0.01)


def test_the_same_evidence_moves_it_farther_the_more_there_is_of_it():
    logits, targets = drawn(40, 3, sharpness=4.0, seed=1)
    times = [(np.repeat(logits, n, axis=0), np.repeat(targets, n)) for n in (1, 5, 100)]
    found = [fitted_temperature(*some) for some in times]
    least = minimize_scalar(lambda t: cross_entropy(logits / t, targets), bounds=(0.1, 20), method="bounded").x
    assert 1.0 < found[0] < found[1] < found[2] < least
    assert found[2] == pytest.approx(least, rel=0.01)


def test_rows_that_tell_little_and_bounds():
    logits = np.array([[2.0, -2.0], [-1.0, 1.0], [0.5, 0.0]])
    right, wrong = np.array([0, 1, 0]), np.array([1, 0, 1])
    assert 0.5 < fitted_temperature(logits, right) < 1.0, "all are right: a little more confidence, not any amount"
    assert 1.0 < fitted_temperature(logits, wrong) < HIGHEST
    assert fitted_temperature(np.zeros((4, 3)), np.array([0, 1, 2, 0])) == pytest.approx(1.0, abs=1e-6)
    assert fitted_temperature(np.zeros((0, 3)), np.zeros(0, dtype=int)) == pytest.approx(1.0, abs=1e-6)
    many = np.repeat(logits, 400, axis=0)
    assert fitted_temperature(50 * many, np.repeat(wrong, 400)) == HIGHEST, "surely wrong of many: nearly even"
    assert fitted_temperature(1e-3 * many, np.repeat(right, 400)) == LOWEST, "tiny logits that are right of many"
    assert fitted_temperature(1e4 * logits, np.array([0, 1, 1])) == HIGHEST, "huge logits overflow nothing"


def test_the_calibration_error_is_the_one_of_its_definition():
    logits, targets = drawn(400, 3, sharpness=3.0)
    probabilities = softmax(logits)
    error = 0.0
    for m in range(15):  # equation 3, bin by bin
        inside = [p for p in range(400) if m / 15 < probabilities[p].max() <= (m + 1) / 15]
        if inside:
            accuracy = np.mean([probabilities[p].argmax() == targets[p] for p in inside])
            confidence = np.mean([probabilities[p].max() for p in inside])
            error += len(inside) / 400 * abs(accuracy - confidence)
    assert calibration_error(logits, targets) == pytest.approx(error, abs=1e-12)
    assert calibration_error(logits / fitted_temperature(logits, targets), targets) < error / 2


def test_the_calibration_error_of_two_texts_by_hand():
    sure = np.log(np.array([[0.9, 0.1], [0.9, 0.1]]))
    assert calibration_error(sure, np.array([0, 1])) == pytest.approx(0.4)  # 90 % sure, 50 % right
    assert calibration_error(np.array([[800.0, 0.0]]), np.array([0])) == 0.0


HEADS = [("sequence", HeadSettings()), ("sequence", HeadSettings("mean", 2)), ("token", HeadSettings())]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("kind", "head"), HEADS, ids=lambda v: getattr(v, "pooling", v))
def test_logits_are_divided_and_no_label_changes(kind, head, family, encoder_of):
    model, outline = make_model(encoder_of(family), kind, head=head)
    torch.nn.init.normal_(last_linear(model, outline).bias)  # a new head's are 0
    features = make_features(12, kind)
    before, logits = weights_of(model), logits_of(model, features, runtime=RUNTIME)
    made = calibrate(model, outline, features=features, logits=logits, temperature=1.7)
    after = logits_of(model, features, runtime=RUNTIME)
    for one, other in zip(logits, after, strict=True):
        assert np.allclose(one / 1.7, other, rtol=1e-5, atol=1e-6)
        assert np.array_equal(one.argmax(-1), other.argmax(-1))
    (path,) = {name.rpartition(".")[0] for name in differing(before, weights_of(model))}
    assert model.get_submodule(path) is last_linear(model, outline)
    assert (made.temperature, made.fitted) == (1.7, False)
    rows, targets = scored_targets(features, after)
    assert made.error_after == pytest.approx(calibration_error(rows, targets), abs=1e-5)


def test_only_targets_that_count_are_counted(encoder_of):
    model, outline = make_model(encoder_of("bert"), "token")
    features = make_features(12, "token")
    logits = logits_of(model, features, runtime=RUNTIME)
    rows, targets = scored_targets(features, logits)
    assert len(targets) == sum(target != IGNORED for feature in features for target in feature.targets)
    assert (targets >= 0).all()
    assert np.array_equal(rows[0], logits[0][[t >= 0 for t in features[0].targets]][0])
    made = calibrate(model, outline, features=features, logits=logits)
    assert (made.fitted, made.targets) == (True, len(targets))
    assert made.temperature == fitted_temperature(rows, targets)
    silent = [replace(feature, targets=(IGNORED,) * feature.length) for feature in features]
    before = weights_of(model)
    nothing = calibrate(model, outline, features=silent, logits=logits)
    assert (nothing.targets, nothing.error_before, nothing.error_after) == (0, None, None)
    assert nothing.temperature == pytest.approx(1.0, abs=1e-6)
    assert farthest(before, weights_of(model)) < 1e-6


def test_without_rows_a_given_temperature_is_taken(encoder_of):
    model, outline = make_model(encoder_of("bert"))
    before = model.classifier.weight.detach().clone()
    made = calibrate(model, outline, features=[], logits=[], temperature=4.0)
    assert torch.equal(model.classifier.weight, before / 4)
    assert (made.temperature, made.targets, made.error_before) == (4.0, 0, None)
