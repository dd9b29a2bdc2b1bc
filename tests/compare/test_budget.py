"""What is left of a budget, and who says that it is spent."""

from math import inf

import pytest

from rows import Listening
from track import Track, an_arm
from unfreeze.compare.budget import CAUTION, THREADED, Limited, Purser
from unfreeze.compare.outcomes import ArmOutcome
from unfreeze.compare.pricing import FINISHING, REFIT
from unfreeze.compare.standing import Purse


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
