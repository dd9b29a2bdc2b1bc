"""Races in a made-up world: who leaves and why, what is run, and what a budget buys."""

from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from track import RATES, Track, an_arm
from unfreeze.compare.steward import FEWEST_FOLDS, Terms

WAYS = ("full", "head-only", "last-k", "gradual")
PRICE = {"full": 10.0, "gradual": 8.0, "last-k": 4.0, "head-only": 0.5, "untouched": 0.1, "scratch": 6.0}
ARMS = [an_arm(name, heads=2) for name in WAYS]
EQUAL = dict.fromkeys(WAYS, 0.8)
RUN_OUT = Terms(seed=0, seeds=3, most_seeds=3, folds=1, steps_per_epoch=1000, cuts=False)
RACE = Terms(seed=0, seeds=2, most_seeds=5, folds=1, steps_per_epoch=1000)
FOLDS = Terms(seed=0, seeds=1, most_seeds=2, folds=5, steps_per_epoch=1000)


def trials_of(track: Track, name: str) -> int:
    return sum(trial.strategy == name for trial in track.ran)


def whole_price(terms: Terms = RUN_OUT) -> float:
    return sum(PRICE[arm.name] * (arm.tuning_trials + terms.seeds * terms.folds - 1) for arm in ARMS)


def test_without_cuts_every_way_is_searched_and_run_to_its_end() -> None:
    track = Track({"full": 0.9, "head-only": 0.5, "last-k": 0.7, "gradual": 0.8}, PRICE)
    race = track.hold(ARMS, RUN_OUT)
    for arm in ARMS:
        outcome = race.outcomes[arm.name]
        assert (outcome.left, outcome.failed) == (None, None)
        assert len(outcome.tuning) == arm.tuning_trials == 4
        assert outcome.seeds == (0, 1, 2)
        assert trials_of(track, arm.name) == 4 + 2, "the best setting of the search is the first run"
        assert outcome.runs is not None
        assert outcome.runs.scores.shape == (3, 1)


def test_a_way_far_behind_leaves_once_its_heads_were_tried_and_says_why() -> None:
    track = Track(EQUAL | {"head-only": 0.6}, PRICE)
    race = track.hold(ARMS, RACE)
    assert race.outcomes["head-only"].left is not None
    assert "points behind" in race.outcomes["head-only"].left
    assert "after 2 of 4 settings" in race.outcomes["head-only"].left
    assert trials_of(track, "head-only") == 2
    assert all(race.outcomes[name].left is None for name in WAYS if name != "head-only")
    assert race.outcomes["head-only"].runs is None


def test_ways_that_are_equal_stay() -> None:
    left = 0
    for world in range(8):
        race = Track(EQUAL, PRICE, world=world).hold(ARMS, RACE)
        left += sum(outcome.left is not None for outcome in race.outcomes.values())
    assert left == 0


def test_what_is_clear_ends_after_the_first_seeds_and_what_is_close_goes_on() -> None:
    clear = Track({"full": 0.9, "last-k": 0.88}, PRICE, rows=4000, noise=0.001)
    arms = [an_arm("full"), an_arm("last-k")]
    race = clear.hold(arms, RACE)
    assert [len(o.seeds) for o in race.outcomes.values()] == [2, 2]
    assert race.story[-1]["why"] == "the verdict cannot change any more"
    noisy = {"full": 0.9, "last-k": 0.89}
    seeds = [
        {len(o.seeds) for o in Track(noisy, PRICE, rows=4000, noise=0.02, world=w).hold(arms, RACE).outcomes.values()}
        for w in range(4)
    ]
    assert any(most > {2} for most in seeds), seeds
    assert max(max(most) for most in seeds) <= 5


def test_further_seeds_go_to_those_that_cannot_be_told_apart_only() -> None:
    skill = {"full": 0.9, "gradual": 0.895, "last-k": 0.86}
    arms = [an_arm(name) for name in skill]
    found = set()
    for world in range(6):
        race = Track(skill, PRICE, rows=6000, noise=0.006, world=world).hold(arms, RACE)
        found.add(tuple(len(race.outcomes[name].seeds) for name in ("full", "gradual", "last-k")))
    assert any(a == b > c for a, b, c in found), found


def test_where_examples_are_lacking_no_more_seeds_are_run() -> None:
    track = Track({"full": 0.8, "last-k": 0.78}, PRICE, rows=60, noise=0.0, world=3)
    race = track.hold([an_arm("full"), an_arm("last-k")], RACE)
    assert race.story[-1]["why"] == "more runs would not settle it: what is lacking is scored examples"
    assert len(race.outcomes["full"].seeds) == 2


def test_all_finalists_are_run_on_all_folds() -> None:
    race = Track(EQUAL, PRICE, folds=5, rows=100).hold(ARMS, FOLDS)
    for outcome in race.outcomes.values():
        assert outcome.runs is not None
        assert outcome.runs.folds == 5
        assert outcome.runs.examples == 500


def test_floors_that_learn_are_run_last_and_all_with_one_seed_on_the_folds_of_the_others() -> None:
    arms = [an_arm("full"), an_arm("last-k"), an_arm("untouched"), an_arm("scratch")]
    track = Track(dict.fromkeys((a.name for a in arms), 0.8), PRICE, folds=5, rows=50)
    race = track.hold(arms, FOLDS)
    first = next(i for i, trial in enumerate(track.ran) if trial.strategy == "scratch")
    assert {trial.strategy for trial in track.ran[first:]} == {"untouched", "scratch"}
    assert track.ran[0].strategy == "untouched", "what costs nothing is there whatever comes"
    for name in ("untouched", "scratch"):
        runs = race.outcomes[name].runs
        assert runs is not None
        assert runs.scores.shape == (1, 5)


def test_a_way_that_cannot_be_trained_fails_with_its_reason_and_others_go_on() -> None:
    track = Track(EQUAL, PRICE, fails=frozenset({"gradual"}))
    race = track.hold(ARMS, RACE)
    assert race.outcomes["gradual"].failed == "it cannot be trained"
    assert race.outcomes["full"].runs is not None


@given(share=st.floats(0.08, 1.2), world=st.integers(0, 50))
@settings(max_examples=40, deadline=None)
def test_no_budget_is_overrun_and_someone_can_be_handed_over(share: float, world: int) -> None:
    budget = share * whole_price()
    track = Track({"full": 0.84, "head-only": 0.7, "last-k": 0.8, "gradual": 0.83}, PRICE, world=world, budget=budget)
    race = track.hold(ARMS, RACE)
    first_round = sum(PRICE[name] for name in WAYS)
    assert track.spent <= max(first_round, budget), "who starts is decided before the race"
    assert any(outcome.runs is not None for outcome in race.outcomes.values())
    for outcome in race.outcomes.values():
        assert (outcome.runs is None) == bool(outcome.left or outcome.failed)


def test_under_a_short_budget_the_best_so_far_go_on_and_cheap_ones_are_not_lost() -> None:
    skill = {"full": 0.85, "head-only": 0.84, "last-k": 0.8, "gradual": 0.82}
    track = Track(skill, PRICE, budget=22.5 + 0.5 * 4 + 4 * 10 + 12.5, rows=3000, noise=0.0)
    race = track.hold(ARMS, RACE)
    assert race.outcomes["full"].left is None
    assert race.outcomes["head-only"].left is None
    assert "the budget does not hold the rest of it beside full and head-only" in str(race.outcomes["gradual"].left)


def test_a_search_that_the_budget_cut_short_is_told() -> None:
    track = Track(EQUAL, PRICE, budget=22.5 + 12.5)
    race = track.hold(ARMS, RACE)
    kept = [o for o in race.outcomes.values() if o.left is None]
    assert kept
    assert [o.arm.name for o in kept] == list(WAYS), "nobody leaves where that would buy nothing"
    assert any(o.shortened == "only 1 of 4 settings were tried, for the budget was short" for o in kept)
    assert all((o.shortened is None) == (len(o.tuning) == 4) for o in kept)


@pytest.mark.parametrize("ways", [("full", "last-k", "head-only"), WAYS])
@pytest.mark.parametrize("spare", [4, 9, 14])
def test_what_is_left_goes_into_searches_rather_than_further_seeds_of_starved_ways(
    ways: tuple[str, ...], spare: float
) -> None:
    """Over a way that was starved of settings nothing is settled, however many seeds are run."""
    once = Terms(seed=0, seeds=1, most_seeds=5, folds=1, steps_per_epoch=1000)
    skill = {"full": 0.8, "gradual": 0.8, "last-k": 0.81, "head-only": 0.82}
    budget = sum(PRICE[name] for name in ways) + 12.5 + spare
    for world in range(4):
        track = Track(skill, PRICE, world=world, budget=budget, rows=300)
        race = track.hold([an_arm(name, heads=2) for name in ways], once)
        assert all(o.seeds == (0,) for o in race.outcomes.values() if o.shortened)
        unspent = budget - track.spent - 12.5
        short = [name for name, o in race.outcomes.items() if o.shortened]
        assert all(PRICE[name] > unspent for name in short), "a further setting of these would still have fitted"


def test_a_search_that_costs_next_to_nothing_is_ended_whoever_is_best() -> None:
    arms = [an_arm("full", heads=2), an_arm("head-only", heads=2)]
    track = Track({"full": 0.85, "head-only": 0.84}, PRICE | {"head-only": 0.01}, budget=10 + 12.5 + 3, noise=0.0)
    race = track.hold(arms, RACE)
    assert len(race.outcomes["head-only"].tuning) == 4
    assert race.outcomes["head-only"].shortened is None
    assert len(race.outcomes["full"].tuning) == 1


def test_on_one_split_settings_come_before_seeds() -> None:
    skill = {"full": 0.85, "gradual": 0.85, "last-k": 0.7}
    arms = [an_arm(name, heads=2) for name in skill]
    track = Track(skill, PRICE, budget=22 + 3 * 18 + 12.5 + 1, rows=3000, noise=0.0)
    race = track.hold(arms, RACE)
    assert [len(race.outcomes[name].tuning) for name in ("full", "gradual")] == [4, 4]
    assert [len(race.outcomes[name].seeds) for name in ("full", "gradual")] == [1, 1]
    assert race.outcomes["last-k"].left is not None


def test_other_folds_come_before_more_settings_for_they_bring_examples() -> None:
    skill = {"full": 0.85, "gradual": 0.85, "last-k": 0.7}
    arms = [an_arm(name, heads=2) for name in skill]
    track = Track(skill, PRICE, budget=22 + 2 * 18 + 18 + 12.5 + 1, rows=500, noise=0.0, folds=5)
    race = track.hold(arms, FOLDS)
    assert [len(race.outcomes[name].tuning) for name in ("full", "gradual")] == [2, 2]
    assert {race.outcomes[name].runs.folds for name in ("full", "gradual")} == {3}  # type: ignore[union-attr]


def test_fewer_folds_are_run_rather_than_none_but_no_fewer_than_say_something() -> None:
    arms = [an_arm("full", rates=RATES[:1]), an_arm("last-k", rates=RATES[:1])]
    price = {"full": 10.0, "last-k": 10.0}
    for further, folds in ((8, 5), (6, 4), (4, 3), (3, 1)):
        track = Track(dict.fromkeys(price, 0.8), price, folds=5, rows=40, budget=20 + 10 * further + 12.5)
        race = track.hold(arms, Terms(0, 1, 1, 5, 1000))
        ran = {o.runs.folds for o in race.outcomes.values() if o.runs is not None}
        assert ran == {folds}, further
        assert folds == 1 or folds >= FEWEST_FOLDS


@given(most=st.integers(1, 30), world=st.integers(0, 5), folds=st.sampled_from([1, 5]))
@settings(max_examples=40, deadline=None)
def test_a_race_can_be_ended_at_any_moment(most: int, world: int, folds: int) -> None:
    terms = RACE if folds == 1 else FOLDS
    track = Track(EQUAL, PRICE, world=world, folds=folds, rows=60)
    race = track.hold(ARMS, terms, most=most)
    ended = [o for o in race.outcomes.values() if o.runs is not None]
    assert ended, "what was run is not lost"
    assert len({(o.runs.folds, o.runs.examples) for o in ended if o.runs is not None}) == 1, "they pair up"
    for outcome in race.outcomes.values():
        assert outcome.runs is not None or outcome.left or outcome.failed


def test_the_same_answers_give_the_same_race_and_remembered_decisions_hold_whatever_is_left() -> None:
    skill = {"full": 0.84, "head-only": 0.7, "last-k": 0.8, "gradual": 0.83}
    first, decisions = Track(skill, PRICE, budget=120), {}
    one = first.hold(ARMS, RACE, decisions=decisions)
    second = Track(skill, PRICE, budget=120)
    assert second.hold(ARMS, RACE).story == one.story
    again = Track(skill, PRICE, budget=1)
    assert again.hold(ARMS, RACE, decisions=decisions).story == one.story
    assert again.ran == first.ran


def test_a_quarter_of_the_price_loses_little_to_all_of_it() -> None:
    lost: dict[str, list[float]] = {"quarter": [], "all": []}
    for world in range(24):
        skill = dict(zip(WAYS, np.random.default_rng(world).normal(0.8, 0.03, 4).clip(0.6, 0.95), strict=True))
        for name, terms, budget in (("quarter", RACE, 0.25 * whole_price() + 12.5), ("all", RUN_OUT, inf)):
            race = Track(skill, PRICE, world=world, budget=budget, rows=1000).hold(ARMS, terms)
            running = [o for o in race.outcomes.values() if o.runs is not None]
            chosen = max(running, key=lambda o: float(np.nanmean(o.runs.scores)))  # type: ignore[union-attr]
            rate = RATES.index(chosen.chosen.settings.learning_rate)  # type: ignore[union-attr]
            lost[name].append(max(skill.values()) - skill[chosen.arm.name] + 0.01 * rate)
    assert np.mean(lost["quarter"]) < np.mean(lost["all"]) + 0.01


@pytest.mark.parametrize("terms", [RACE, FOLDS, RUN_OUT])
def test_every_decision_is_plain_data(terms: Terms) -> None:
    import json

    race = Track(EQUAL | {"head-only": 0.5}, PRICE, folds=terms.folds, rows=100).hold(ARMS, terms)
    assert json.loads(json.dumps(race.story)) == race.story
    assert all(set(decision) >= {"stage", "on", "out"} for decision in race.story)
