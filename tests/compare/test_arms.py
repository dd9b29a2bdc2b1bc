"""Which settings an arm tries, in which order, and when it counts as starved."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rows import opinions
from unfreeze.compare.arms import Arm, make_arms
from unfreeze.compare.material import Material, Sources, prepare
from unfreeze.compare.overrides import TUNABLE
from unfreeze.compare.search import best_trial, fitted_schedule, search_order
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.encoders.loading import load_encoder
from unfreeze.engine.settings import SGD_RATES, TrainingSettings
from unfreeze.errors import SettingsError, UnknownName
from unfreeze.strategies import STRATEGIES, Search, strategy_named
from unfreeze.tasks import Columns

NAN = float("nan")


@pytest.fixture(scope="module")
def material(tiny_encoder_dir: Any) -> Material:
    import pandas as pd

    return prepare(Sources(pd.DataFrame(opinions(60))), load_encoder(str(tiny_encoder_dir)), columns=Columns())


def an_arm(name: str = "full", *, rates: tuple[float, ...] = (1e-4, 2e-5, 5e-4), epochs: int = 8) -> Arm:
    heads = (HeadSettings(), HeadSettings("mean"))
    return Arm(name, strategy_named(name), heads, rates, TrainingSettings(num_train_epochs=epochs))


def run(arm: Arm, scores: list[float]) -> tuple[list[tuple[str, float]], str, float]:
    """What a search tries with these scores, and the head and rate it ends with."""
    given, tried, left = {}, [], list(scores)
    for trials in search_order(arm, given, records={}, seed=4, fold=0):
        for trial in trials:
            tried.append((trial.head.pooling, trial.settings.learning_rate))
            given[trial] = left.pop(0)
            assert (trial.settings.seed, trial.fold, trial.strategy) == (4, 0, arm.name)
    assert not left
    best = best_trial(given)
    return tried, best.head.pooling, best.settings.learning_rate


def test_a_search_tries_every_head_and_then_the_other_rates_with_the_best_head() -> None:
    tried, head, rate = run(an_arm(), [0.5, 0.6, 0.7, 0.4])
    assert tried == [("standard", 1e-4), ("mean", 1e-4), ("mean", 2e-5), ("mean", 5e-4)]
    assert (head, rate) == ("mean", 2e-5)


def test_the_standard_head_and_the_first_rate_win_a_tie() -> None:
    tried, head, rate = run(an_arm(), [0.5, 0.5, 0.5, 0.5])
    assert tried[2:] == [("standard", 2e-5), ("standard", 5e-4)]
    assert (head, rate) == ("standard", 1e-4)


def test_settings_without_a_score_lose_to_any_other() -> None:
    _, head, rate = run(an_arm(), [NAN, 0.0, NAN, NAN])
    assert (head, rate) == ("mean", 1e-4)


@given(st.lists(st.one_of(st.floats(0, 1), st.just(NAN)), min_size=4, max_size=4))
def test_a_search_always_tries_as_many_settings_as_it_says_and_none_twice(scores: list[float]) -> None:
    arm = an_arm()
    tried, _, _ = run(arm, scores)
    assert len(set(tried)) == len(tried) == arm.tuning_trials == 4


@pytest.mark.parametrize("tuning", [1, 2, 3, 5])
def test_every_arm_but_floors_has_the_same_number_of_settings_to_try(material: Material, tuning: int) -> None:
    arms = make_arms(None, material, tuning=tuning, overrides={}, seed=0)
    assert len({len(arm.heads) for arm in arms if not arm.strategy.search.floor}) > 1
    assert len({arm.tuning_trials for arm in arms if not arm.strategy.search.floor}) == 1


@pytest.mark.parametrize(
    ("arm", "rate", "said"),
    [
        (an_arm(), 1e-4, None),
        (an_arm(), 2e-5, "its best learning rate, 2e-05, lies at the edge"),
        (an_arm(), 5e-4, "lies at the edge"),
        (an_arm(rates=(1e-4, 3e-5)), 3e-5, None),
        (an_arm(rates=(1e-4,)), 1e-4, None),
        (an_arm(epochs=7), 1e-4, "175 training steps are fewer than the 200 it needs"),
        (an_arm("scratch", epochs=1), 1e-4, None),
        (an_arm("untouched", rates=(1.0,)), 1.0, None),
    ],
)
def test_an_arm_at_the_edge_or_with_too_few_steps_is_starved(arm: Arm, rate: float, said: str | None) -> None:
    found = arm.starved(arm.trial(arm.heads[0], rate, seed=0, fold=0), 25)
    assert found is None if said is None else said in str(found)


def test_few_rows_get_more_epochs_instead_of_fewer_steps(material: Material) -> None:
    steps = {}
    for size in (4, 16, 64):
        overrides = {"per_device_train_batch_size": size}
        for arm in make_arms(None, material, tuning=3, overrides=overrides, seed=0):
            a_pass = arm.base.steps_per_epoch(len(material.places(material.splits.folds[0].train)))
            steps[arm.name, size] = arm.base.num_train_epochs * a_pass
            assert arm.starved(arm.trial(arm.heads[0], 0.5, seed=0, fold=0), a_pass) is None
    assert min(steps[name, size] for name, size in steps if name == "full") >= 200


def test_arms_come_by_priority_and_floors_last(material: Material) -> None:
    arms = make_arms(("all",), material, tuning=1, overrides={}, seed=0)
    order = [(arm.strategy.search.floor, arm.strategy.search.priority) for arm in arms]
    assert order == sorted(order)
    names = [arm.name for arm in arms]
    assert [*names[:3], *names[-2:]] == ["full", "head-only", "last-k", "untouched", "scratch"]


def test_the_arm_with_the_most_heads_has_two_rates_to_try_unless_one_is_asked_for(material: Material) -> None:
    found = {}
    for tuning in (1, 2, 3):
        arms = make_arms(["full", "head-only"], material, tuning=tuning, overrides={}, seed=0)
        found[tuning] = [len(arm.rates) for arm in arms]
    assert found == {1: [2, 1], 2: [3, 2], 3: [3, 2]}


def test_a_head_in_closed_form_is_linear_and_of_one_layer_none_is_a_mix(material: Material) -> None:
    class Task:
        kind = "sequence"

        def heads(self, *, reads_layers: bool) -> tuple[HeadSettings, ...]:
            more = (HeadSettings("mean", 4, mixed=True), HeadSettings("mean", 4, network="mlp"))
            return (HeadSettings(), HeadSettings("mean"), *(more if reads_layers else ()))

    other = replace(material, task=Task())  # type: ignore[arg-type]
    small = replace(material.encoder, config=type(material.encoder.config)(num_hidden_layers=1))
    found = {}
    for name, encoder in (("untouched", material.encoder), ("head-only", small)):
        (arm,) = make_arms([name], replace(other, encoder=encoder), tuning=1, overrides={}, seed=0)
        found[name] = arm.heads
    assert found["untouched"] == (HeadSettings(), HeadSettings("mean"))
    assert found["head-only"] == (HeadSettings(), HeadSettings("mean"), HeadSettings("mean", network="mlp"))


def test_a_fixed_rate_leaves_the_heads_to_try(material: Material) -> None:
    arms = make_arms(None, material, tuning=3, overrides={"learning_rate": 0.001}, seed=7)
    assert {arm.rates for arm in arms if arm.learns} == {(0.001,)}
    rivals = [arm for arm in arms if not arm.strategy.search.floor]
    assert {arm.name for arm in rivals} > {"full", "head-only"}
    assert all(arm.tuning_trials == 3 + arm.strategy.search.reads_layers for arm in rivals)
    assert {arm.base.seed for arm in arms} == {7}


def test_sgd_has_a_range_of_its_own_unless_the_user_fixed_the_rate(material: Material) -> None:
    def rates(**overrides: Any) -> dict[str, tuple[float, ...]]:
        return {arm.name: arm.rates for arm in make_arms(None, material, tuning=3, overrides=overrides, seed=0)}

    usual, sgd = rates(), rates(optim="sgd")
    assert rates(optim="adam") == usual
    assert sgd["full"] == pytest.approx([SGD_RATES * rate for rate in usual["full"]], rel=0.05)
    low, high = strategy_named("head-only").search.learning_rate or (0.0, 0.0)
    assert sgd["head-only"] == Search((SGD_RATES * low, 1.0), 1).rates(2), "no rate lies above 1"
    assert SGD_RATES * high > 1
    assert {name: len(some) for name, some in sgd.items()} == {name: len(some) for name, some in usual.items()}
    assert sgd["untouched"] == usual["untouched"]
    assert rates(optim="sgd", learning_rate=0.5)["full"] == (0.5,)
    arms = make_arms(None, material, tuning=3, overrides={"optim": "sgd", "class_weights": "balanced"}, seed=0)
    assert {(arm.base.optim, arm.base.class_weights) for arm in arms} == {("sgd", "balanced")}


def test_no_head_reads_more_layers_than_the_encoder_has(material: Material) -> None:
    small = replace(material.encoder, config=type(material.encoder.config)(num_hidden_layers=1))
    heads = make_arms(["head-only"], replace(material, encoder=small), tuning=3, overrides={}, seed=0)[0].heads
    assert heads == (HeadSettings(), HeadSettings("mean"))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"learning_rat": 1e-3}, "Did you mean 'learning_rate'"),
        ({"seed": 1}, "no training setting named 'seed'"),
        ({"learning_rate": "fast"}, "learning_rate must be a number; got 'fast'"),
        (
            {"num_train_epochs": 2.5, "patience": True},
            "num_train_epochs must be a whole number; got 2.5; patience must",
        ),
        ({"learning_rate": NAN}, "learning_rate must be above 0"),
        ({"optim": "lamb"}, "optim must be adamw, adam or sgd; got lamb"),
        ({"class_weights": 2}, "class_weights must be none or balanced; got 2"),
        ({"label_smoothing_factor": "little"}, "label_smoothing_factor must be a number; got 'little'"),
        ({"label_smoothing_factor": 1}, "label_smoothing_factor must be at least 0 and below 1; got 1"),
        ({"num_train_epochs": 0}, "num_train_epochs must be at least 1"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(material: Material, overrides: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=r".") as refused:
        make_arms(["full"], material, tuning=1, overrides=overrides, seed=0)
    assert said in str(refused.value)
    assert "seed" not in TUNABLE


def test_a_strategy_named_twice_or_unknown_is_refused(material: Material) -> None:
    with pytest.raises(SettingsError, match="named twice: full, last-k, last-k"):
        make_arms(["full", "last-k", "last-k:k=2"], material, tuning=1, overrides={}, seed=0)
    with pytest.raises(UnknownName, match="Did you mean 'full'"):
        make_arms(["ful"], material, tuning=1, overrides={}, seed=0)


@pytest.mark.parametrize(("best_epoch", "epochs"), [(2, 3), (7, None), (8, 12), (6, 7)])
def test_the_schedule_is_fitted_to_where_the_best_trial_peaked(best_epoch: int, epochs: int | None) -> None:
    best = an_arm().trial(HeadSettings(), 1e-4, seed=0, fold=0)
    fitted = fitted_schedule(best, best_epoch)
    assert (fitted and fitted.settings.num_train_epochs) == epochs
    assert fitted is None or (fitted.head, fitted.settings.learning_rate) == (best.head, 1e-4)


def test_a_fixed_schedule_and_no_search_leave_the_schedule_alone(material: Material) -> None:
    def fits(tuning: int, **overrides: int) -> dict[str, bool]:
        arms = make_arms(None, material, tuning=tuning, overrides=overrides, seed=0)
        return {arm.name: arm.fits_schedule for arm in arms}

    assert fits(3) == {name: name not in {"untouched", "scratch"} for name in fits(3)}
    assert not any(fits(0).values())
    assert not any(fits(3, num_train_epochs=4).values())


def test_unnamed_are_the_usual_ways_and_all_are_those_that_suit_the_task(material: Material) -> None:
    def names(which: tuple[str, ...] | None) -> set[str]:
        return {arm.name for arm in make_arms(which, material, tuning=1, overrides={}, seed=0)}

    suiting = {n for n, cls in STRATEGIES.items() if cls.search.kind in (None, material.task.kind)}
    assert names(("all",)) == suiting
    assert names(None) == {n for n in suiting if STRATEGIES[n].search.by_default}
    assert {"full", "head-only", "last-k", "gradual", "untouched", "scratch"} <= names(None)


def test_a_way_for_another_kind_of_task_is_refused(material: Material) -> None:
    with pytest.raises(SettingsError, match="entity-mask: only for tasks that label each token, and this one labels"):
        make_arms(("full", "entity-mask"), material, tuning=1, overrides={}, seed=0)
