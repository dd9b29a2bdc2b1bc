"""Counted facts, and the refusal to go on where too much was lost."""

import pytest

from unfreeze.data.audit import Count, check_share
from unfreeze.errors import DataError


def test_a_count_keeps_the_first_twenty_lines_and_knows_its_share():
    count = Count("rows were dropped", 30, 1200, tuple(range(2, 32)))
    assert count.rows == tuple(range(2, 22))
    assert count.share == 0.025
    assert str(count) == "30 of 1,200 rows were dropped"
    assert Count("rows were dropped", 0, 0).share == 0


def test_a_share_at_the_limit_passes_and_above_it_is_refused():
    check_share([Count("rows were dropped", 10, 100)], 0.1, file="t.csv")
    with pytest.raises(DataError) as caught:
        check_share([Count("rows had no text", 11, 100, (4, 9)), Count("rows were long", 1, 100)], 0.1, file="t.csv")
    assert str(caught.value).startswith(
        "t.csv:4: 11 of 100 rows had no text (11.0%, at most 10% is allowed); in lines 4, 9 …"
    )
    assert len(caught.value.problems) == 1
    with pytest.raises(DataError, match=r"^test.csv: 9 of 10 rows had no text \(90"):
        check_share([Count("rows had no text", 9, 10, file="test.csv")], 0.1, file="t.csv")
    assert "--max-dropped 0.12" in caught.value.cure


@pytest.mark.parametrize(("number", "of"), [(11, 100), (1, 3), (999, 1000), (5, 5)])
def test_the_limit_that_the_cure_offers_lets_the_data_pass(number, of):
    counts = [Count("rows were dropped", number, of)]
    with pytest.raises(DataError) as caught:
        check_share(counts, 0.1)
    check_share(counts, float(caught.value.cure.split()[-1].rstrip(".")))
