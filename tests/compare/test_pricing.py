"""What is left out where the budget is short: arms first, then seeds, then folds, never steps."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.compare.arms import Arm
from unfreeze.compare.pricing import FINISHING, REFIT, Shape, ceil_minutes, fit_into, plan_as_dict, price_of
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.engine.settings import TrainingSettings
from unfreeze.errors import SettingsError
from unfreeze.strategies import strategy_named

RIVALS, FLOORS = ("full", "head-only", "last-k", "gradual"), ("untouched", "scratch")


def an_arm(name: str) -> Arm:
    rates = (1e-4,) if name in FLOORS else (1e-4, 1e-5)
    return Arm(name, strategy_named(name), (HeadSettings(),), rates, TrainingSettings())


ARMS = [an_arm(name) for name in (*RIVALS, *FLOORS)]
PRICES = {"full": 40.0, "head-only": 4.0, "last-k": 10.0, "gradual": 30.0, "untouched": 1.0, "scratch": 20.0}
MOST = Shape((*RIVALS, *FLOORS), 3, 2)


def price(shape: Shape) -> float:
    return price_of(shape, ARMS, trial_prices=PRICES, prefix=5.0)


def fitted(budget: float) -> Shape:
    return fit_into(budget, ARMS, trial_prices=PRICES, prefix=5.0, most=MOST)


def test_a_price_counts_the_search_the_runs_the_floors_once_and_the_last_training() -> None:
    assert price(Shape(("head-only",), 1, 1)) == 5 + 4 * (2 + 1 - 1) + 4 * REFIT + FINISHING
    assert (
        price(Shape(("head-only", "scratch"), 3, 2)) == 5 + 4 * (2 + 6 - 1) + 20 * (1 + 2 - 1) + 4 * REFIT + FINISHING
    )


def test_enough_budget_leaves_nothing_out() -> None:
    assert fitted(price(MOST)) == Shape((*RIVALS, "untouched", "scratch"), 3, 2)


def test_floors_go_before_arms_and_arms_of_low_priority_first() -> None:
    assert fitted(price(MOST) - 1).arms == (*RIVALS, "untouched")
    assert fitted(price(Shape(RIVALS, 3, 2)) - 1) == Shape(
        ("full", "head-only", "last-k", "untouched", "scratch"), 3, 2
    )


def test_seeds_go_only_when_two_arms_do_not_fit_and_folds_after_them() -> None:
    pair = price(Shape(("head-only", "last-k"), 3, 2))
    assert fitted(pair) == Shape(("head-only", "last-k"), 3, 2)
    fewer = fitted(pair - 1)
    assert (fewer.seeds, fewer.folds) == (2, 2)
    one = fitted(price(Shape(("head-only", "last-k"), 1, 2)) - 1)
    assert (one.seeds, one.folds) == (1, 1)


@given(st.floats(1, 2000))
def test_what_fits_fits_has_two_arms_and_drops_no_steps(budget: float) -> None:
    least = price(Shape(("head-only", "last-k"), 1, 1))
    if budget < least:
        with pytest.raises(SettingsError, match="too short for two ways"):
            fitted(budget)
        return
    shape = fitted(budget)
    assert price(shape) <= budget
    assert len([name for name in shape.arms if name in RIVALS]) >= 2
    more = price(Shape((*shape.arms, *(n for n in RIVALS if n not in shape.arms)), shape.seeds, shape.folds))
    assert more > budget or set(RIVALS) <= set(shape.arms)


def test_the_budget_that_is_said_to_do_does() -> None:
    with pytest.raises(SettingsError, match=r"--budget \d+m would do for the cheapest, \d+m for all") as short:
        fitted(10)
    least, every = (int(minutes) for minutes in re.findall(r"(\d+)m", str(short.value)))
    assert fitted(60 * least).seeds == 1
    assert fitted(60 * every) == Shape((*RIVALS, "untouched", "scratch"), 3, 2)
    assert short.value.exit_code == 2


@given(st.floats(0.1, 1e6))
def test_minutes_rounded_up_always_hold_the_seconds(seconds: float) -> None:
    assert int(ceil_minutes(seconds)[:-1]) * 60 > seconds


def test_floors_alone_can_be_compared() -> None:
    floors = [arm for arm in ARMS if arm.name in FLOORS]
    shape = fit_into(100, floors, trial_prices=PRICES, prefix=0.0, most=Shape(FLOORS, 1, 1))
    assert set(shape.arms) == set(FLOORS)


def test_a_single_way_needs_only_itself_to_fit() -> None:
    one = [ARMS[0]]
    most = Shape(("full",), 3, 1)
    assert fit_into(1000, one, trial_prices=PRICES, prefix=0.0, most=most) == most
    with pytest.raises(SettingsError, match="too short for one way"):
        fit_into(10, one, trial_prices=PRICES, prefix=0.0, most=most)


def test_the_plan_names_what_is_left_out() -> None:
    shape = fitted(price(MOST) - 1)
    plan = plan_as_dict(shape, ARMS, trial_prices=PRICES, prefix=5.0)
    assert {row["name"]: row["reason"] for row in plan["arms"] if not row["kept"]} == {
        "scratch": "does not fit the budget"
    }
    assert plan["total_seconds"] == price(shape)


@given(st.sets(st.sampled_from([arm.name for arm in ARMS])), st.integers(1, 3), st.integers(1, 5))
def test_the_prices_of_a_plan_add_up_to_its_total(names: set[str], seeds: int, folds: int) -> None:
    plan = plan_as_dict(Shape(tuple(names), seeds, folds), ARMS, trial_prices=PRICES, prefix=5.0)
    kept = sum(row["price_seconds"] for row in plan["arms"] if row["kept"])
    assert plan["total_seconds"] == pytest.approx(kept + plan["prefix_seconds"] + plan["refit_seconds"])
    dearest = max((PRICES[name] for name in names if name in RIVALS), default=0.0)
    assert plan["refit_seconds"] == REFIT * dearest + FINISHING
