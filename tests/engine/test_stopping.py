import math

import pytest

from unfreeze.engine.stopping import is_better, is_given_up

BEST = {"score": 0.5, "validation_loss": 0.4}


@pytest.mark.parametrize(
    ("score", "loss", "expected"),
    [
        (0.6, 9.0, True),
        (0.4, 0.0, False),
        (0.5, 0.3, True),
        (0.5, 0.4, False),
        (0.5, 0.5, False),
        (math.nan, 0.1, False),
    ],
)
def test_a_higher_score_is_better_and_among_equals_the_lower_loss(score, loss, expected):
    assert is_better(score, loss, than=BEST) is expected


def test_the_first_epoch_is_better_than_none():
    assert is_better(0.0, 9.0, than=None)


@pytest.mark.parametrize(
    ("epoch", "best", "opened", "expected"),
    [(4, 2, 0, True), (3, 2, 0, False), (9, 0, 0, False), (6, 2, 5, False), (7, 2, 5, True), (6, 5, 3, False)],
)
def test_a_run_is_given_up_after_its_patience_but_no_stage_before_it_came(epoch, best, opened, expected):
    assert is_given_up(epoch, best, patience=2, opened=opened) is expected
