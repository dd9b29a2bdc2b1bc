"""What ``--set`` takes."""

import pytest

from unfreeze.cli.settings import settings_of
from unfreeze.errors import SettingsError


def test_settings_are_numbers_whole_where_they_can_be():
    found = settings_of(["num-train-epochs=1e1", "learning_rate=3e-5", "warmup_steps=0.5"])
    assert found == {"num_train_epochs": 10, "learning_rate": 3e-5, "warmup_steps": 0.5}
    assert isinstance(found["num_train_epochs"], int)


def test_several_values_are_a_list():
    assert settings_of(["learning_rate=3e-5, 1e-4", "num_train_epochs=3"]) == {
        "learning_rate": [3e-5, 1e-4],
        "num_train_epochs": 3,
    }


def test_settings_that_are_words_stay_words():
    found = settings_of(["optim=sgd,adam", "class-weights=balanced", "label_smoothing_factor=0.1"])
    assert found == {"optim": ["sgd", "adam"], "class_weights": "balanced", "label_smoothing_factor": 0.1}


def test_a_name_that_is_no_setting_is_left_to_be_refused_by_who_knows_all_names():
    assert settings_of(["optimm=sgd"]) == {"optimm": "sgd"}


@pytest.mark.parametrize(
    ("items", "said"),
    [
        (["learning_rate"], "--set takes NAME=NUMBER"),
        (["learning_rate=3e-5,"], "got 'learning_rate=3e-5,'"),
        (["learning_rate=3e-5,fast"], "or numbers to choose among"),
        (["optim=adamw,lamb"], "--set optim takes adamw, adam or sgd; got 'optim=adamw,lamb'"),
        (["patience=inf"], "--set takes NAME=NUMBER"),
        (["patience=2", "patience=3"], "--set names patience twice; several values to choose among are one list"),
    ],
)
def test_what_cannot_be_read_is_refused_with_an_example(items, said):
    with pytest.raises(SettingsError, match=r".") as refused:
        settings_of(items)
    assert said in str(refused.value)
