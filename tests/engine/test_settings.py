import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.engine.settings import SGD_RATES, TrainingSettings, range_for
from unfreeze.errors import SettingsError


def test_the_rate_rises_to_its_top_and_falls_to_nothing_as_computed_by_hand():
    shares = [TrainingSettings(warmup_steps=0.2).rate_share(step, 10) for step in range(11)]
    assert shares == pytest.approx([1 / 3, 2 / 3, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 0])
    shares = [TrainingSettings(warmup_steps=3).rate_share(step, 5) for step in range(5)]
    assert shares == pytest.approx([0.25, 0.5, 0.75, 1, 0.5])
    shares = [TrainingSettings(warmup_steps=0).rate_share(step, 4) for step in range(4)]
    assert shares == pytest.approx([1, 0.75, 0.5, 0.25])


@given(st.integers(1, 200), st.floats(0, 300))
def test_every_step_has_a_rate_above_0_and_at_most_the_full_one(total, warmup):
    shares = [TrainingSettings(warmup_steps=warmup).rate_share(step, total) for step in range(total)]
    assert all(0 < share <= 1 for share in shares)
    top = shares.index(max(shares))
    assert all(a <= b for a, b in pairwise(shares[: top + 1]))
    assert all(a >= b for a, b in pairwise(shares[top:]))


def test_the_last_features_of_a_pass_get_a_step_too():
    settings = TrainingSettings(per_device_train_batch_size=8)
    assert [settings.steps_per_epoch(number) for number in (0, 1, 8, 9, 16)] == [1, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 0),
        ("learning_rate", 1.5),
        ("learning_rate", math.nan),
        ("num_train_epochs", 0),
        ("per_device_train_batch_size", 0),
        ("weight_decay", -0.1),
        ("warmup_steps", -1),
        ("max_grad_norm", 0),
        ("adam_epsilon", 0),
        ("patience", 0),
        ("stop_after", 0),
        ("seed", -1),
        ("label_smoothing_factor", 1.0),
        ("label_smoothing_factor", -0.1),
        ("label_smoothing_factor", math.nan),
        ("optim", "lamb"),
        ("optim", 3),
        ("class_weights", "equal"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_name(name, value):
    with pytest.raises(SettingsError, match=rf"^{name} must be .*; got {value}$"):
        TrainingSettings(**{name: value})


def test_all_wrong_values_are_named_at_once():
    with pytest.raises(SettingsError, match=r"learning_rate must .*; patience must "):
        TrainingSettings(learning_rate=2, patience=0)


def test_words_that_are_not_known_are_refused_with_those_that_are():
    with pytest.raises(SettingsError, match=r"^optim must be adamw, adam or sgd; got rmsprop$"):
        TrainingSettings(optim="rmsprop")
    with pytest.raises(SettingsError, match=r"^class_weights must be none or balanced; got None$"):
        TrainingSettings(class_weights=None)


def test_rates_for_sgd_are_those_for_adamw_times_a_factor_and_at_most_1():
    assert range_for("sgd", (3e-5, 3e-4)) == pytest.approx((3e-5 * SGD_RATES, 3e-4 * SGD_RATES))
    assert range_for("sgd", (3e-4, 3e-2)) == pytest.approx((3e-4 * SGD_RATES, 1.0))
    assert range_for("adam", (3e-5, 3e-4)) == range_for("adamw", (3e-5, 3e-4)) == (3e-5, 3e-4)
    assert range_for("sgd", None) is None


@pytest.mark.parametrize(("warmup", "epochs"), [(0.1, 1), (0.0, 0), (0.25, 2), (12.0, 2), (13.0, 3)])
def test_warm_up_ends_with_an_epoch(warmup, epochs):
    assert TrainingSettings(num_train_epochs=8, warmup_steps=warmup).warm_epochs(6) == epochs
