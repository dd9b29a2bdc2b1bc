"""What a search gives out: from where, how much, in which order, and what it finds; nothing is trained."""

import importlib
import logging
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rows import opinions
from unfreeze.compare.arms import Arm, make_arms
from unfreeze.compare.material import Material, Sources, prepare
from unfreeze.compare.options import Options
from unfreeze.compare.search import best_trial, search_order
from unfreeze.compare.trials import Trial
from unfreeze.encoders.loading import load_encoder
from unfreeze.engine.settings import TrainingSettings, range_for
from unfreeze.errors import MissingExtra, SettingsError
from unfreeze.strategies import STRATEGIES
from unfreeze.tasks import Columns

NAN = float("nan")
DRAWN = ("random", "tpe")
RIVALS = sorted(n for n, cls in STRATEGIES.items() if not cls.search.floor and cls.search.kind in (None, "sequence"))
some_settings = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def material(tiny_encoder_dir: Any) -> Material:
    import pandas as pd

    return prepare(Sources(pd.DataFrame(opinions(60))), load_encoder(str(tiny_encoder_dir)), columns=Columns())


def arms_of(material: Material, names: Any = None, **changed: Any) -> list[Arm]:
    return make_arms(names, material, **({"tuning": 3, "overrides": {}, "seed": 0} | changed))


def searched(
    arm: Arm, score: Callable[[Trial], float], *, seed: int = 0, best_epoch: int = 3
) -> tuple[list[list[Trial]], dict[Trial, float]]:
    """The lists of a search with these scores."""
    scores: dict[Trial, float] = {}
    records: dict[Trial, Mapping[str, Any]] = {}
    lists = []
    for trials in search_order(arm, scores, records=records, seed=seed, fold=0):
        lists.append(trials)
        for trial in trials:
            scores[trial] = score(trial)
            if math.isfinite(scores[trial]):
                records[trial] = {"best_epoch": best_epoch}
    return lists, scores


def by_key(trial: Trial) -> float:
    """A score that looks arbitrary, fails now and then, and is always the same."""
    number = int(trial.key[-8:], 16)
    return NAN if number % 7 == 0 else number / 2**32


def features_of(material: Material) -> int:
    return len(material.places(material.splits.folds[0].train))


@some_settings
@given(
    method=st.sampled_from(["grid", *DRAWN]),
    trials=st.integers(1, 12),
    seed=st.integers(0, 1000),
    epochs=st.sampled_from([None, 4]),
)
def test_whatever_is_searched_no_trial_comes_twice_and_every_arm_has_the_same_number(
    material: Material, method: str, trials: int, seed: int, epochs: int | None
) -> None:
    overrides = {} if epochs is None else {"num_train_epochs": epochs}
    number = None if method == "grid" else trials
    arms = [
        arm
        for arm in arms_of(material, search=method, trials=number, overrides=overrides, seed=seed)
        if not arm.strategy.search.floor
    ]
    assert {arm.tuning_trials for arm in arms} == {number or arms[0].tuning_trials}
    for arm in arms:
        lists, scores = searched(arm, by_key, seed=seed)
        tried = [trial for trials in lists for trial in trials]
        assert len(lists[0]) == 1
        assert all(lists)
        assert len(set(tried)) == len(tried) == len(scores)
        assert arm.tuning_trials - arm.fits_schedule <= len(tried) <= arm.tuning_trials
        assert searched(arm, by_key, seed=seed)[0] == lists


@some_settings
@given(method=st.sampled_from(DRAWN), name=st.sampled_from(RIVALS), seed=st.integers(0, 1000))
def test_every_drawn_trial_lies_in_its_arms_own_space(material: Material, method: str, name: str, seed: int) -> None:
    arm = arms_of(material, [name], search=method, trials=10)[0]
    search, features = STRATEGIES[name].search, features_of(material)
    assert search.learning_rate is not None
    low, high = search.learning_rate
    lists, _ = searched(arm, by_key, seed=seed)
    for trial in [trial for trials in lists for trial in trials][: 10 - arm.fits_schedule]:
        chosen = trial.settings
        assert low <= chosen.learning_rate <= high
        assert trial.head in arm.heads
        assert chosen.per_device_train_batch_size in search.batch_sizes
        assert chosen.weight_decay in search.weight_decays
        assert chosen.warmup_steps in search.warmup_shares
        assert chosen.steps_per_epoch(features) * chosen.num_train_epochs >= search.min_steps
        assert chosen.num_train_epochs <= arm.longest
        assert (chosen.seed, trial.fold) == (seed, 0)


@pytest.mark.parametrize("method", DRAWN)
def test_a_drawn_search_begins_where_the_grid_does(material: Material, method: str) -> None:
    grids, drawn = arms_of(material), arms_of(material, search=method)
    for grid, arm in zip(grids, drawn, strict=True):
        assert searched(arm, by_key)[0][0] == searched(grid, by_key)[0][0]
        assert arm.tuning_trials == grid.tuning_trials
        assert (arm.sampling is None) == arm.strategy.search.floor


@pytest.mark.parametrize("method", DRAWN)
def test_another_seed_or_arm_draws_other_settings(material: Material, method: str) -> None:
    arm = arms_of(material, ["full"], search=method, trials=8)[0]
    other = replace(arm, name="full-again")

    def rates(arm: Arm, seed: int) -> list[float]:
        return [trial.settings.learning_rate for trials in searched(arm, by_key, seed=seed)[0] for trial in trials][1:7]

    assert len({*rates(arm, 0), *rates(arm, 1), *rates(other, 0)}) >= 15


def test_random_search_draws_the_first_trials_whatever_the_number(material: Material) -> None:
    few, many = (arms_of(material, ["full"], search="random", trials=n)[0] for n in (5, 9))
    first = [trial for trials in searched(few, by_key)[0] for trial in trials][:4]
    assert [trial for trials in searched(many, by_key)[0] for trial in trials][:4] == first


def test_tpe_draws_a_third_blindly_side_by_side_and_then_one_by_one(material: Material) -> None:
    arm = arms_of(material, ["full"], search="tpe", trials=19)[0]
    assert [len(trials) for trials in searched(arm, by_key)[0]][:14] == [1, 5, *[1] * 12]
    few = arms_of(material, ["full"], search="tpe", trials=5)[0]
    assert [len(trials) for trials in searched(few, by_key)[0]][:2] == [1, 3]


@pytest.mark.parametrize("stop", [1, 2, 5])
@pytest.mark.parametrize("method", ["grid", *DRAWN])
def test_a_search_that_was_interrupted_asks_the_same_when_it_goes_on(
    material: Material, method: str, stop: int
) -> None:
    arm = arms_of(material, ["full"], search=method, trials=None if method == "grid" else 9)[0]
    whole, scores = searched(arm, by_key)
    ledger: dict[Trial, float] = {}
    order = search_order(arm, ledger, records={}, seed=0, fold=0)
    for trials in (next(order) for _ in range(min(stop, len(whole) - 1))):
        ledger |= {trial: by_key(trial) for trial in trials}

    again: list[Trial] = []

    def told(trial: Trial) -> float:
        again.extend([] if trial in ledger else [trial])
        return ledger.get(trial, by_key(trial))

    assert searched(arm, told) == (whole, scores)
    assert again == [trial for trials in whole for trial in trials if trial not in ledger]


@pytest.mark.parametrize("method", DRAWN)
def test_of_a_small_space_every_point_is_tried_once(material: Material, method: str) -> None:
    lists = {"learning_rate": [1e-4, 2e-4], "weight_decay": [0.0, 0.1]}
    fixed = {"per_device_train_batch_size": 8, "warmup_steps": 0.1, "num_train_epochs": 4}
    arm = arms_of(material, ["full"], search=method, trials=40, overrides=lists | fixed)[0]
    tried = [trial for trials in searched(arm, by_key)[0] for trial in trials]
    assert arm.tuning_trials == len(tried) == 2 * 2 * len(arm.heads)
    found = {(t.head, t.settings.learning_rate, t.settings.weight_decay) for t in tried}
    assert found == set(product(arm.heads, *lists.values()))
    assert {(t.settings.per_device_train_batch_size, t.settings.num_train_epochs) for t in tried} == {(8, 4)}


def test_an_explicit_grid_is_the_full_product_of_its_lists_after_the_heads(material: Material) -> None:
    lists = {"learning_rate": [3e-5, 1e-4, 3e-4], "per_device_train_batch_size": [8, 16], "num_train_epochs": [2, 3]}
    for arm in arms_of(material, overrides=lists):
        listed, _ = searched(arm, lambda trial: 1.0 if trial.head.pooling == "mean" else 0.5)
        tried = [trial for trials in listed for trial in trials]
        if arm.strategy.search.floor:
            assert len(tried) == len(arm.heads)
            continue
        assert [trial.head for trial in tried[: len(arm.heads)]] == list(arm.heads)
        assert {trial.head.pooling for trial in tried[len(arm.heads) :]} == {"mean"}
        points = [tuple(getattr(trial.settings, name) for name in lists) for trial in tried]
        assert set(points[: len(arm.heads)]) == {(3e-5, 8, 2)}
        assert sorted(points[len(arm.heads) - 1 :]) == sorted(product(*lists.values()))
        assert len(tried) == arm.tuning_trials == 12 + len(arm.heads) - 1
        assert arm.longest == 3


def test_a_list_of_another_setting_leaves_the_middle_rate_and_fits_the_schedule(material: Material) -> None:
    arm = arms_of(material, ["full"], overrides={"per_device_train_batch_size": [8, 64]})[0]
    lists, scores = searched(arm, lambda trial: 1 / trial.settings.per_device_train_batch_size, best_epoch=3)
    tried = [trial for trials in lists for trial in trials]
    assert {trial.settings.learning_rate for trial in tried} == {STRATEGIES["full"].search.rates(1)[0]}
    assert [trial.settings.per_device_train_batch_size for trial in tried] == [8, 8, 64, 8]
    assert tried[-1].settings.num_train_epochs == 4
    features = features_of(material)
    steps = [t.settings.num_train_epochs * t.settings.steps_per_epoch(features) for t in tried[:-1]]
    assert min(steps) >= STRATEGIES["full"].search.min_steps
    assert arm.starved(best_trial(scores), arm.base.steps_per_epoch(features)) is None


def test_fewer_epochs_are_drawn_where_they_are_enough_steps(material: Material) -> None:
    features, search = features_of(material), STRATEGIES["full"].search
    found = {}
    for size in (1, 16):
        fixed = {"per_device_train_batch_size": size}
        arm = arms_of(material, ["full"], search="random", trials=30, overrides=fixed)[0]
        drawn = searched(arm, by_key)[0][:2]
        found[size] = {trial.settings.num_train_epochs for trials in drawn for trial in trials}
        least = -(-search.min_steps // -(-features // size))
        assert found[size] == {max(search.num_train_epochs, least), max(search.num_train_epochs // 2, least)}
    assert [len(epochs) for epochs in found.values()] == [2, 1]


def test_a_failed_trial_does_not_end_a_search(material: Material) -> None:
    for method in DRAWN:
        arm = arms_of(material, ["full"], search=method, trials=9)[0]
        lists, _ = searched(arm, lambda _: NAN)
        assert sum(map(len, lists)) == 8  # nothing to fit a schedule to


def smooth(trial: Trial) -> float:
    """Highest at a rate off the middle, with one of the choices of everything else."""
    own = trial.settings
    off = abs(math.log10(own.learning_rate / 6e-3))
    wrong = (own.per_device_train_batch_size != 32) + (own.weight_decay != 0.0) + (own.warmup_steps != 0.06)
    return 1.0 - 0.4 * off - 0.03 * wrong - 0.05 * (trial.head.layers == 1)


def test_tpe_finds_better_settings_than_chance(material: Material) -> None:
    overrides = {"num_train_epochs": 4}
    found: dict[str, list[float]] = {}
    for method in DRAWN:
        arm = arms_of(material, ["head-only"], search=method, trials=40, overrides=overrides)[0]
        found[method] = [max(searched(arm, smooth, seed=seed)[1].values()) for seed in range(20)]
    assert sum(found["tpe"]) > sum(found["random"])
    assert sum(a > b for a, b in zip(found["tpe"], found["random"], strict=True)) >= 14


@pytest.mark.parametrize(
    ("share", "starved"), [(0.0, True), (0.04, True), (0.06, False), (0.5, False), (0.94, False), (0.96, True)]
)
def test_a_drawn_best_rate_near_an_end_of_its_range_is_starved(material: Material, share: float, starved: bool) -> None:
    arm = arms_of(material, ["full"], search="random", trials=9)[0]
    assert arm.rate_range == STRATEGIES["full"].search.learning_rate
    low, high = arm.rate_range
    trial = arm.trial(arm.heads[0], low * (high / low) ** share, seed=0, fold=0)
    said = arm.starved(trial, arm.base.steps_per_epoch(features_of(material)))
    assert ("at the edge of the range" in str(said)) == starved


@pytest.mark.parametrize("method", ["grid", *DRAWN])
@pytest.mark.parametrize(
    ("rates", "best", "starved"),
    [
        ([1e-4, 2e-4], 2e-4, False),
        ([2e-4, 1e-4, 4e-4], 2e-4, False),
        ([2e-4, 1e-4, 4e-4], 4e-4, True),
        ([2e-4, 1e-4, 4e-4], 1e-4, True),
        (1e-3, 1e-3, False),
    ],
)
def test_the_edge_of_a_users_list_counts_where_the_list_has_an_inside(
    material: Material, method: str, rates: Any, best: float, starved: bool
) -> None:
    arm = arms_of(material, ["full"], search=method, overrides={"learning_rate": rates})[0]
    trial = arm.trial(arm.heads[0], best, seed=0, fold=0)
    assert (arm.starved(trial, arm.base.steps_per_epoch(features_of(material))) is not None) == starved


def test_an_arm_with_larger_batches_than_usual_needs_its_steps_all_the_same(material: Material) -> None:
    arm = arms_of(material, ["full"], search="random", trials=9)[0]
    few = replace(arm.base, per_device_train_batch_size=64)
    said = arm.starved(Trial("full", arm.heads[0], few, 0), arm.base.steps_per_epoch(features_of(material)))
    assert "training steps are fewer than the 200 it needs" in str(said)


def test_tpe_without_optuna_names_the_extra_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "optuna" else real(name, *a))
    Options(search="random")
    with pytest.raises(MissingExtra, match=r"pip install 'unfreeze\[search\]'"):
        Options(search="tpe")


def test_optuna_that_cannot_be_imported_names_the_extra(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    arm = arms_of(material, ["full"], search="tpe")[0]
    with pytest.raises(MissingExtra, match=r"unfreeze\[search\]"):
        searched(arm, by_key)


def test_tpe_says_nothing_and_leaves_optunas_talking_as_it_was(
    material: Material, capfd: pytest.CaptureFixture[str]
) -> None:
    import optuna

    before = optuna.logging.get_verbosity()
    searched(arms_of(material, ["full"], search="tpe", trials=8)[0], by_key)
    assert optuna.logging.get_verbosity() == before == logging.INFO
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"search": "bayes"}, "search must be 'grid', 'random' or 'tpe'; got 'bayes'"),
        ({"search": "random", "trials": 0}, "trials must be at least 1; got 0"),
        ({"trials": 5}, "trials are for a search that draws settings, and a grid tries all of its own"),
        ({"search": "tpe", "tuning": 5}, "choose the number of trials instead"),
        ({"tuning": 0, "settings": {"learning_rate": [1e-4, 2e-4]}}, "but learning_rate lists values to choose among"),
    ],
)
def test_choices_that_do_not_go_together_are_refused_with_a_way_out(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=r".") as refused:
        Options(**options)
    assert said in str(refused.value)


@pytest.mark.parametrize("method", ["grid", *DRAWN])
def test_each_optimizer_of_a_list_is_tried_with_rates_that_suit_it(material: Material, method: str) -> None:
    arm = arms_of(material, ["full"], search=method, overrides={"optim": ["adamw", "sgd"]})[0]
    if arm.sampling is not None:
        arm = replace(arm, sampling=replace(arm.sampling, trials=20))
    tried = [trial for trials in searched(arm, by_key)[0] for trial in trials]
    assert {trial.settings.optim for trial in tried} == {"adamw", "sgd"}
    for trial in tried:
        low, high = range_for(trial.settings.optim, STRATEGIES["full"].search.learning_rate) or (0.0, 0.0)
        assert low <= trial.settings.learning_rate <= high
    if method == "grid":
        return
    low, high = range_for("sgd", STRATEGIES["full"].search.learning_rate) or (0.0, 0.0)
    for rate, starved in ((low, True), ((low * high) ** 0.5, False), (high, True)):
        trial = arm.trial_with(arm.heads[0], replace(arm.base, optim="sgd", learning_rate=rate), seed=0, fold=0)
        assert ("at the edge" in str(arm.starved(trial, 1000))) == starved


def test_settings_that_are_not_searched_are_as_usual(material: Material) -> None:
    arm = arms_of(material, ["full"], search="random", trials=6, overrides={"max_grad_norm": 2})[0]
    usual = asdict(TrainingSettings()) | {"max_grad_norm": 2.0}
    for trial in (trial for trials in searched(arm, by_key)[0] for trial in trials):
        own = asdict(trial.settings)
        assert {name: own[name] for name in ("max_grad_norm", "adam_epsilon", "patience", "stop_after")} == {
            name: usual[name] for name in ("max_grad_norm", "adam_epsilon", "patience", "stop_after")
        }
