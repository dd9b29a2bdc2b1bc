"""The race on kept trials: it gets the records that are kept, pays what they cost, and stops with its budget."""

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

keeping, racing, replay, world_of, living = (
    importlib.import_module(name) for name in ("replay_kept", "replay_racing", "replay", "replay_world", "replay_live")
)
COSTS = {"full": 80.0, "gradual": 70.0, "last-k": 30.0, "head-only": 1.0}
RIGHT = {"full": 0.9, "gradual": 0.75, "last-k": 0.7, "head-only": 0.6}
"""How often each arm is right; its middle rate 4 points more often than its others."""


def row(strategy: str, rate: float, seed: int, found: np.ndarray) -> dict[str, Any]:
    scores = {split: {"accuracy": float(found[:, 0].mean())} for split in ("validation", "test")}
    about = {"strategy": strategy, "pooling": "standard", "layers": 1, "rate": rate, "seed": seed}
    cost = {"cpu_seconds": COSTS.get(strategy, 10.0), "trainable_parameters": 1000}
    how = {"epochs": 20, "patience": 3, "state": "done", "best_epoch": 8, "curve": [], "scores": scores}
    return about | how | cost


def answers(random: np.random.Generator, share: float, rows: int) -> np.ndarray:
    right = random.random(rows) < share
    return np.stack([right, np.ones(rows)], axis=1)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder, random = tmp_path_factory.mktemp("kept"), np.random.default_rng(0)
    about = {"data": "made_up", "task": "classification", "metric": "accuracy"}
    about |= {"rows": {"train": 300, "validation": 300, "test": 400}}
    kept = keeping.Kept(about)
    for seed in (0, 1):
        for arm, share in RIGHT.items():
            for rate in (1e-4, 3e-5, 3e-4):
                of = share - 0.04 * (rate != 1e-4)
                some = {split: answers(random, of, rows) for split, rows in (("validation", 300), ("test", 400))}
                kept.add(row(arm, rate, seed, some["validation"]), some)
    kept.write(folder, "made_up-300")
    peers = keeping.Kept({"task": "classification", "metric": "accuracy"})
    for name in ("default", "competent, 3 epochs"):
        for seed in (0, 1):
            some = {split: answers(random, 0.8, rows) for split, rows in (("validation", 300), ("test", 400))}
            peers.add(row(name, 1e-4, seed, some["validation"]), some)
    peers.write(folder, "made_up-300-peers")
    return world_of.read_world(folder, "made_up-300")


def test_with_enough_of_a_budget_the_best_arm_is_chosen(world: Any) -> None:
    for order in world_of.orders_of(world, 4):
        choice = racing.race(world, order, budget=world.exhaustive_price)
        assert world.settings[choice.setting][0] == "full"
        assert choice.trials >= 4


@pytest.mark.parametrize("share", [0.05, 0.1, 0.25, 0.5, 1.0])
def test_a_race_never_spends_more_than_its_budget_and_the_room_for_the_last_training(world: Any, share: float) -> None:
    budget = share * world.exhaustive_price
    for order in world_of.orders_of(world, 3):
        assert racing.race(world, order, budget=budget).spent <= budget + racing.last_training(world)


def test_the_last_training_is_left_its_room_where_trials_do_not_need_it(world: Any) -> None:
    for order in world_of.orders_of(world, 3):
        spent = racing.race(world, order, budget=0.5 * world.exhaustive_price).spent
        assert spent <= 1.1 * 0.5 * world.exhaustive_price, "prices are told a tenth wrong at the most"


def test_a_budget_that_holds_no_trial_chooses_nothing(world: Any) -> None:
    choice = racing.race(world, world_of.orders_of(world, 1)[0], budget=-racing.last_training(world))
    assert choice.setting is None
    assert choice.trials == 0


def test_one_order_gives_one_choice(world: Any) -> None:
    order = world_of.orders_of(world, 1)[0]
    budget = 0.25 * world.exhaustive_price
    assert racing.race(world, order, budget=budget) == racing.race(world, order, budget=budget)


def test_the_first_seed_of_an_order_is_the_one_that_is_raced_first(world: Any) -> None:
    for order in world_of.orders_of(world, 6):
        going = racing._Replay(world, order, racing.Clock(1.0))
        arm = going.arms()[0]
        trial = arm.trial(arm.heads[0], arm.rates[0], seed=0, fold=0)
        assert going.place(trial)[1] == order.seeds[0]


def test_the_tables_show_every_way_with_its_price_and_its_lead(world: Any) -> None:
    lines = replay.lines_of(world, orders=world_of.orders_of(world, 3), budgets=(0.25, 1.0))
    names = [line.name for line in lines]
    assert names[:2] == ["default Trainer", "competent script"]
    assert names[-2:] == ["race at 25%", "race at 100%"]
    best = lines[names.index("exhaustive, best on validation")]
    assert best.price == world.exhaustive_price
    assert best.regret == pytest.approx(0, abs=0.01)
    assert best.ahead.mean() == pytest.approx(0.1, abs=0.05)
    shown = replay.table(world, lines)
    assert "| exhaustive, best on validation |" in shown
    assert len({line.count("|") for line in shown.splitlines() if line.startswith("|")}) == 1
    assert "### Mean over 2 cells" in replay.mean_table([world, world], [lines, lines])


def line(name: str, *, regret: float, ahead: float, spread: float, over: float, share: float = 0.25) -> Any:
    draws = np.linspace(ahead - spread, ahead + spread, 1001)
    return replay.Line(name, 0.8, regret, 10.0, draws, over, "", share)


def test_what_is_wanted_is_held_against_the_mean_and_against_the_worst_cell() -> None:
    good = line("race at 25%", regret=0.002, ahead=-0.004, spread=0.02, over=0.03)
    bad = line("race at 25%", regret=0.012, ahead=-0.03, spread=0.01, over=0.0)
    told = replay.wanted([[good], [good]])
    assert told.count("yes") == 4
    assert "| race at 25%, which takes 25.0%: mean regret | ≤ 0.50 | 0.20 | yes |" in told
    told = replay.wanted([[good], [bad]])
    assert told.count("no |") == 4
    assert "25.0%: cells surely more than 1 point below the competent script | 0 | 1 | no |" in told


def test_a_wish_is_held_against_the_largest_budget_whose_trials_take_no_more_than_its_share() -> None:
    usual = {"regret": 0.0, "ahead": 0.0, "spread": 0.01, "over": 0.1}
    lines = [line(f"race at {name}%", share=share, **usual) for name, share in ((5, 0.09), (10, 0.13), (25, 0.27))]
    told = replay.wanted([lines])
    assert "race at 5%, which takes 9.0%: mean regret | ≤ 1.00" in told
    assert "race at 10%, which takes 13.0%: mean regret | ≤ 0.50" in told
    assert "race at 25%" not in told


def test_a_real_race_is_set_beside_the_replays_at_what_its_trials_took(world: Any) -> None:
    live = living.Live("full 0.0001", 0.91, "better", world.exhaustive_price, 12, 401.2, 400.0)
    choices = living.replayed(world, budget=live.spent)
    assert len(choices) == living.ORDERS
    assert {world.settings[choice.setting][0] for choice in choices} == {"full"}
    row = living.row_of(world, live, choices)
    assert row.startswith("| made_up-300 | 400 / 401 | ")
    assert "| full 0.0001 | full 100% | 91.0 | " in row
    assert row.count("|") == living.HEAD[0].count("|") == living.HEAD[1].count("|")
