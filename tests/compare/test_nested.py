"""Races whose settings are chosen on inner folds: what is searched where, what is run with it, at what price."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from track import RATES, Track, an_arm
from unfreeze.compare.outcomes import ArmOutcome, chosen_most_often
from unfreeze.compare.pricing import Shape, entrants, fit_into, price_of
from unfreeze.compare.race import Race
from unfreeze.compare.search import best_trial
from unfreeze.compare.steward import FEWEST_FOLDS, Terms
from unfreeze.compare.trials import Trial
from unfreeze.errors import SettingsError

WAYS = ("full", "head-only", "last-k")
PRICE = {"full": 10.0, "last-k": 4.0, "head-only": 0.5, "untouched": 0.1, "scratch": 6.0}
ARMS = [an_arm(name, heads=2) for name in WAYS]
FLOORS = [an_arm("untouched"), an_arm("scratch")]
EQUAL = dict.fromkeys((*WAYS, "untouched", "scratch"), 0.8)
FOLDS = Terms(seed=0, seeds=1, most_seeds=2, folds=5, steps_per_epoch=1000, nested=True)
ONE = Terms(seed=0, seeds=2, most_seeds=4, folds=1, steps_per_epoch=1000, nested=True)
TERMS = {5: FOLDS, 1: ONE}


def held(terms: Terms, *, cuts: bool = False, arms: Any = ARMS, **track: Any) -> tuple[Track, Race]:
    world = Track(**({"skill": EQUAL, "price": PRICE, "folds": terms.folds, "rows": 60, "worse": 0.0} | track))
    return world, world.hold(arms, replace(terms, cuts=cuts))


def ran(track: Track, name: str, fold: int) -> list[Trial]:
    return [trial for trial in track.ran if (trial.strategy, trial.fold) == (name, fold)]


@pytest.mark.parametrize("folds", [1, 5])
def test_every_fold_is_run_with_the_best_settings_of_its_own_search(folds: int) -> None:
    terms = TERMS[folds]
    track, race = held(terms)
    chosen = set()
    for name in WAYS:
        outcome = race.outcomes[name]
        assert outcome.runs is not None
        assert outcome.runs.scores.shape == (terms.seeds, folds)
        for fold in range(folds):
            search = ran(track, name, folds + fold)
            assert len(set(search)) == len(search) == 4
            scores = {trial: float(track.outputs(trial)["validation/counts"][:, 0].mean()) for trial in search}
            best = best_trial(scores)
            for run in ran(track, name, fold):
                assert run == best.again(seed=run.settings.seed, fold=fold).stopped_after(3), "3 was its best epoch"
            chosen.add((name, fold, best.again(seed=0, fold=None)))
    assert len({settings for _, _, settings in chosen}) > len(WAYS) or folds == 1, "not the same on all folds"


def test_what_rows_that_report_say_changes_no_setting() -> None:
    @dataclass
    class Otherwise(Track):
        """The same world, but on the rows that report every model scores something else."""

        def outputs(self, trial: Trial) -> dict[str, np.ndarray]:
            found = super().outputs(trial)
            if int(trial.fold or 0) < self.folds:
                found["validation/counts"][:, 0] = 1 - found["validation/counts"][:, 0]
            return found

    one = Track(EQUAL, PRICE, folds=5, rows=60, worse=0.0)
    other = Otherwise(EQUAL, PRICE, folds=5, rows=60, worse=0.0)
    races = [world.hold(ARMS, replace(FOLDS, cuts=False)) for world in (one, other)]
    assert set(one.ran) == set(other.ran)
    for name in WAYS:
        assert races[0].outcomes[name].chosen_on == races[1].outcomes[name].chosen_on
        assert races[0].outcomes[name].chosen == races[1].outcomes[name].chosen
        scores = [race.outcomes[name].runs.scores for race in races]  # type: ignore[union-attr]
        assert not np.allclose(*scores)


def test_all_searches_on_further_folds_advance_together_and_nobody_leaves_there() -> None:
    track, race = held(FOLDS, cuts=True)
    further = [(t.strategy, t.fold) for t in track.ran if int(t.fold or 0) > 5]
    pairs = {(name, fold) for name in WAYS for fold in range(6, 10)}
    assert set(further[: len(pairs)]) == pairs, "the first round has one trial of each search"
    assert {pair: further.count(pair) for pair in pairs} == dict.fromkeys(pairs, 4)
    assert all(outcome.left is None for outcome in race.outcomes.values())


@pytest.mark.parametrize("folds", [1, 5])
def test_the_price_counts_every_trial_that_is_run(folds: int) -> None:
    terms = TERMS[folds]
    track, _ = held(terms, arms=[*ARMS, *FLOORS])
    shape = Shape((*WAYS, "untouched", "scratch"), terms.seeds, folds, nested=True)
    priced = sum(shape.trials_of(arm) * PRICE[arm.name] for arm in (*ARMS, *FLOORS))
    assert track.spent == pytest.approx(priced)


def test_floors_are_searched_on_inner_folds_too() -> None:
    track, race = held(FOLDS, arms=[*ARMS, *FLOORS])
    for name in ("untouched", "scratch"):
        assert [trial.fold for trial in track.ran if trial.strategy == name] == [5, 6, 7, 8, 9, 0, 1, 2, 3, 4]
        runs = race.outcomes[name].runs
        assert runs is not None
        assert runs.scores.shape == (1, 5)


@given(share=st.floats(0.1, 1.2), world=st.integers(0, 50), folds=st.sampled_from([1, 5]))
@settings(max_examples=60, deadline=None)
def test_no_budget_is_overrun_and_someone_can_be_handed_over(share: float, world: int, folds: int) -> None:
    terms = TERMS[folds]
    shape = Shape(WAYS, terms.seeds, folds, nested=True)
    budget = share * sum(shape.trials_of(arm) * PRICE[arm.name] for arm in ARMS)
    skill = {"full": 0.84, "head-only": 0.7, "last-k": 0.8}
    track, race = held(terms, cuts=True, skill=skill, world=world, budget=budget)
    start = sum(PRICE[name] for name in WAYS) + 1.25 * PRICE["full"]
    assert track.spent <= max(start + PRICE["full"], budget), "who starts is decided before the race"
    assert any(outcome.runs is not None for outcome in race.outcomes.values())
    for outcome in race.outcomes.values():
        assert (outcome.runs is None) == bool(outcome.left or outcome.failed)
        if outcome.runs is not None:
            assert outcome.runs.folds == 1 or outcome.runs.folds >= FEWEST_FOLDS
            assert set(outcome.chosen_on) == set(range(outcome.runs.folds))


@given(most=st.integers(1, 80), world=st.integers(0, 5), folds=st.sampled_from([1, 5]))
@settings(max_examples=40, deadline=None)
def test_a_race_can_be_ended_at_any_moment(most: int, world: int, folds: int) -> None:
    track = Track(EQUAL, PRICE, world=world, folds=folds, rows=60)
    race = track.hold(ARMS, TERMS[folds], most=most)
    ended = [o for o in race.outcomes.values() if o.runs is not None]
    reported = [trial for trial in track.ran if int(trial.fold or 0) == 0]
    assert bool(ended) == bool(reported), "what was run is not lost"
    assert len({(o.runs.folds, o.runs.examples) for o in ended if o.runs is not None}) <= 1, "they pair up"
    for outcome in race.outcomes.values():
        assert outcome.runs is not None or outcome.left or outcome.failed


def test_remembered_decisions_give_the_same_race() -> None:
    first, decisions = Track(EQUAL, PRICE, folds=5, rows=60, budget=300.0), {}
    one = first.hold(ARMS, FOLDS, decisions=decisions)
    again = Track(EQUAL, PRICE, folds=5, rows=60, budget=1.0)
    assert again.hold(ARMS, FOLDS, decisions=decisions).story == one.story
    assert again.ran == first.ran


def test_a_way_that_cannot_be_trained_on_a_further_fold_fails_alone() -> None:
    @dataclass
    class Failing(Track):
        def run(self, trial: Trial) -> dict[str, Any] | str:
            found = super().run(trial)
            return "no" if (trial.strategy, trial.fold) == ("last-k", 7) else found

    race = Failing(EQUAL, PRICE, folds=5, rows=60).hold(ARMS, FOLDS)
    assert race.outcomes["last-k"].failed == "no"
    assert race.outcomes["last-k"].runs is None
    assert race.outcomes["full"].runs is not None
    assert race.outcomes["full"].runs.folds == 5


def settings_on(fold: int, rate: float) -> Trial:
    arm = ARMS[0]
    return arm.trial(arm.heads[0], rate, seed=0, fold=fold)


def test_what_most_folds_chose_is_handed_over_and_equals_are_told_apart_by_their_mean_inner_score() -> None:
    low, mid, high = RATES
    chosen = {0: settings_on(5, low), 1: settings_on(6, mid), 2: settings_on(7, mid)}
    assert chosen_most_often(chosen, []).settings.learning_rate == mid
    del chosen[2]
    searches = [
        {settings_on(5, low): 0.9, settings_on(5, mid): 0.8, settings_on(5, high): float("nan")},
        {settings_on(6, low): 0.5, settings_on(6, mid): 0.7, settings_on(6, high): 0.99},
    ]
    assert chosen_most_often(chosen, searches).settings.learning_rate == mid, "0.75 against 0.7"
    assert chosen_most_often(chosen, searches[:0]).settings.learning_rate == low, "the first"


def test_the_epochs_of_the_last_training_are_those_of_the_settings_that_are_handed_over() -> None:
    outcome = ArmOutcome(ARMS[0])
    for fold, (rate, epochs) in enumerate([(RATES[0], 8), (RATES[1], 2), (RATES[1], 3)]):
        best = settings_on(5 + fold, rate)
        outcome.tried[best] = {"best_epoch": epochs}
        outcome.choose_on(fold, best)
        outcome.records[0, fold] = {"best_epoch": epochs}
    assert [record["best_epoch"] for record in outcome.records_of_chosen()] == [2, 3]
    assert outcome.run_at((1, 0)) == settings_on(0, RATES[0]).again(seed=1, fold=0).stopped_after(8)


def test_whoever_starts_under_a_budget_can_also_be_run() -> None:
    prices: dict[str, Any] = {"trial_prices": PRICE, "prefix": 0.0}
    two = 10 + 4 + 10 + 4 + 8
    assert entrants(two, [ARMS[0], ARMS[2]], **prices, nested=True) == ("full", "last-k")
    with pytest.raises(SettingsError, match="too short for two ways"):
        entrants(two - 1, [ARMS[0], ARMS[2]], **prices, nested=True)
    assert entrants(two - 14, [ARMS[0], ARMS[2]], **prices) == ("full", "last-k")


def test_all_start_whose_first_setting_fits_beside_the_last_training() -> None:
    prices: dict[str, Any] = {"trial_prices": PRICE, "prefix": 0.0}
    arms = sorted(ARMS, key=lambda arm: arm.strategy.search.priority)
    names = [arm.name for arm in arms]
    whole = sum(PRICE[name] for name in names) + 12.5 + 8
    assert entrants(whole, arms, **prices) == tuple(names)
    assert entrants(whole - 1, arms, **prices) == tuple(n for n in names if n != names[-1])


def test_the_last_training_is_given_up_rather_than_the_way_of_the_highest_priority() -> None:
    prices: dict[str, Any] = {"trial_prices": PRICE, "prefix": 0.0}
    arms = sorted(ARMS, key=lambda arm: arm.strategy.search.priority)
    assert arms[0].name == "full"
    short = PRICE["full"] + PRICE["head-only"] + 8.0
    assert entrants(short, arms, **prices) == ("full", "head-only"), "its first model is handed over as it is"
    without = entrants(short - 1, arms, **prices)
    assert "full" not in without, "what does not fit at all does not start"
    assert len(without) >= 2


def test_a_plan_that_is_cut_to_a_budget_stays_nested() -> None:
    prices: dict[str, Any] = {"trial_prices": PRICE, "prefix": 0.0}
    most = Shape(WAYS, 2, 5, nested=True)
    shape = fit_into(price_of(most, ARMS, **prices) - 1, ARMS, **prices, most=most)
    assert shape.nested
    assert shape != most
