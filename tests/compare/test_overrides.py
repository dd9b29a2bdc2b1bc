"""What a user may say of training settings, and what is refused."""

from typing import Any

import pytest

from unfreeze.compare.overrides import Overrides, read_overrides
from unfreeze.errors import SettingsError, UnknownName


def test_one_value_is_fixed_and_several_are_a_list_in_the_users_order() -> None:
    said = read_overrides({"learning_rate": (1e-4, 3e-5), "patience": [2], "weight_decay": 1, "warmup_steps": [0, 0.1]})
    assert said.fixed == {"patience": 2, "weight_decay": 1.0}
    assert said.lists == {"learning_rate": (1e-4, 3e-5), "warmup_steps": (0.0, 0.1)}
    assert said.first == {"patience": 2, "weight_decay": 1.0, "learning_rate": 1e-4, "warmup_steps": 0.0}
    assert isinstance(said.first["weight_decay"], float)
    assert said.says("patience")
    assert said.says("learning_rate")
    assert not said.says("num_train_epochs")
    assert not Overrides().says("patience")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"learning_rate": [1e-4, 1e-4]}, "learning_rate lists 0.0001 twice"),
        ({"weight_decay": [0, 0.1, 0.0]}, "weight_decay lists 0.0 twice"),
        ({"learning_rate": []}, "learning_rate lists no value to choose among"),
        ({"learning_rate": [1e-4, 7]}, "learning_rate must be above 0 and at most 1; got 7"),
        ({"num_train_epochs": [2, 2.5]}, "num_train_epochs must be a whole number; got 2.5"),
        ({"learning_rate": [1e-4, "fast"]}, "learning_rate must be a number; got 'fast'"),
        ({"patience": [True]}, "patience must be a whole number; got True"),
    ],
)
def test_a_list_with_a_value_that_cannot_be_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=r".") as refused:
        read_overrides(settings)
    assert said in str(refused.value)


def test_a_list_of_no_setting_offers_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'weight_decay'"):
        read_overrides({"wieght_decay": [0, 1]})


def test_decay_towards_the_start_needs_a_decay() -> None:
    with pytest.raises(SettingsError, match="weight_decay=0 decays towards nothing"):
        read_overrides({"weight_decay_towards": "pretrained", "weight_decay": 0})
    both = read_overrides({"weight_decay_towards": ["zero", "pretrained"], "weight_decay": [0, 1]})
    assert both.lists == {"weight_decay_towards": ("zero", "pretrained"), "weight_decay": (0.0, 1.0)}
    assert read_overrides({"weight_decay_towards": "pretrained"}).says("weight_decay_towards")
