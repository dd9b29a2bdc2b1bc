"""What is left of a budget, and who says that it is spent."""

from math import inf

import pytest

from rows import Listening
from track import Track, an_arm
from unfreeze.compare.budget import CAUTION, MOST_WAITING, THREADED, Limited, Purser
from unfreeze.compare.outcomes import ArmOutcome
from unfreeze.compare.pricing import FINISHING, REFIT
from unfreeze.compare.standing import Purse
from unfreeze.encoders.head_settings import HeadSettings


def test_a_purse_holds_trials_and_the_last_training_which_nothing_runs_beside() -> None:
    price = {"full": 10.0, "last-k": 4.0}
    needed = 2 * 10 + 3 * 4 + REFIT * 1.5 * 10
    assert Purse(needed, price, 1.5).holds({"full": 2, "last-k": 3})
    assert not Purse(needed - 0.1, price, 1.5).holds({"full": 2, "last-k": 3})
    assert Purse(3 * 4 + REFIT * 1.5 * 4, price, 1.5).holds({"last-k": 3})
    assert Purse().holds({"full": 10**6})


def test_prices_follow_what_trials_took_shared_among_those_side_by_side() -> None:
    purser = Purser(100.0, spent=lambda: 30.0, prices={"full": 5.0, "last-k": 2.0}, workers=2)
    arm, track = an_arm("full"), Track({"full": 0.8}, {"full": 12.0})
    outcome = ArmOutcome(arm)
    trial = arm.trial(arm.heads[0], arm.rates[0], seed=0, fold=0)
    outcome.tried[trial] = track.run(trial)  # type: ignore[assignment]
    purse = purser.purse([outcome])
    assert purse.left == purser.left() == 100 - FINISHING - 30
    assert purse.prices == {"full": pytest.approx(CAUTION * 12 / 2), "last-k": 2.0}
    assert purse.alone == 2 * THREADED
    assert Purser(None, spent=lambda: 1e9, prices={}).left() == inf


def test_where_trials_wait_for_other_work_the_end_of_a_comparison_will_too() -> None:
    arm, track = an_arm("full"), Track({"full": 0.8}, {"full": 12.0})
    outcome, purser = ArmOutcome(arm), Purser(200.0, spent=lambda: 30.0, prices={"full": 5.0})
    trial = arm.trial(arm.heads[0], arm.rates[0], seed=0, fold=0)
    outcome.tried[trial] = track.run(trial) | {"cpu_seconds": 3.0}
    assert purser.left() == 200 - FINISHING - 30
    assert purser.purse([outcome]).left == purser.left() == 200 - 4 * FINISHING - 30
    outcome.tried[trial] = track.run(trial) | {"cpu_seconds": 0.1}
    assert purser.purse([outcome]).left == 200 - MOST_WAITING * FINISHING - 30
    outcome.tried[trial] = track.run(trial) | {"cpu_seconds": 24.0}  # two threads
    assert purser.purse([outcome]).left == 200 - FINISHING - 30


def test_the_budget_stops_trials_and_is_told_from_the_user() -> None:
    left = [5.0]
    limited = Limited(Listening(), left=lambda: left[0])
    assert not limited.stop()
    left[0] = 0.0
    assert limited.stop()
    assert limited.ran_out
    stopped = Limited(Listening(-1), left=lambda: 5.0)
    assert stopped.stop()
    assert not stopped.ran_out


def test_an_arm_is_priced_by_its_trials_with_its_best_head() -> None:
    """A BiLSTM takes many times what a linear head takes, and trials to come have the best head."""
    arm = an_arm("full")
    outcome, seconds = ArmOutcome(arm), {"standard": 2.0, "mean": 90.0}
    for pooling, score in (("standard", 0.5), ("mean", 0.7)):
        trial = arm.trial(HeadSettings(pooling), arm.rates[0], seed=0, fold=0)  # type: ignore[arg-type]
        outcome.tuning[trial], outcome.tried[trial] = score, dict.fromkeys(("seconds", "cpu_seconds"), seconds[pooling])
    purser = Purser(1000.0, spent=lambda: 0.0, prices={"full": 5.0})
    assert purser.purse([outcome]).prices == {"full": pytest.approx(CAUTION * 90)}
    outcome.tuning = {trial: 1 - score for trial, score in outcome.tuning.items()}
    assert purser.purse([outcome]).prices == {"full": pytest.approx(CAUTION * 2)}
