"""Inner folds: training rows of a fold alone, with nothing on two sides."""

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dealt_rows import datasets
from unfreeze.data.splitting import Splits, make_splits
from unfreeze.errors import DataError


def nested(number: int, **more: Any) -> Splits:
    rows: dict[str, Any] = {
        "keys": [f"text {i}" for i in range(number)],
        "strata": ["ab"[i % 2] for i in range(number)],
    }
    return make_splits(**(rows | {"groups": [None] * number, "given": None} | more), nested=True)


@given(data=datasets(), names=st.sampled_from([None, ["train", "test"], ["train", "dev"], ["train", "val", "test"]]))
def test_no_text_or_group_lies_on_two_sides_of_an_inner_fold_and_what_it_reports(
    data: dict[str, Any], names: list[str] | None
) -> None:
    given_splits = names and [names[i * 7 % len(names)] for i in range(len(data["keys"]))]
    try:
        splits = make_splits(**data, given=given_splits, nested=True)
    except DataError:  # too much hangs together: refused, as other tests say
        assume(False)
    assert len(splits.inner) == len(splits.folds)
    for outer, inner in zip(splits.folds, splits.inner, strict=True):
        assert sorted([*inner.train, *inner.validation]) == list(outer.train)
        assert list(inner.train) == sorted(inner.train)
        assert list(inner.validation) == sorted(inner.validation)
        assert {data["strata"][row] for row in inner.validation} <= {data["strata"][row] for row in inner.train}
        sides = [inner.train, inner.validation, outer.validation, splits.test]
        for values in (data["keys"], data["groups"]):
            found = [{values[row] for row in side} - {None} for side in sides]
            assert sum(map(len, found)) == len(set().union(*found))


def test_of_several_folds_the_next_one_chooses() -> None:
    splits = nested(100)
    for k, inner in enumerate(splits.inner):
        assert inner.validation == splits.folds[(k + 1) % 5].validation


def test_of_a_single_split_a_fifth_of_the_training_rows_chooses_always_the_same() -> None:
    given_splits = ["train"] * 50 + ["dev"] * 20
    (inner,) = nested(70, given=given_splits).inner
    assert (len(inner.train), len(inner.validation)) == (40, 10)
    assert nested(70, given=given_splits).inner == (inner,)
    assert nested(70, given=given_splits, seed=1).inner != (inner,)
    assert nested(20, given=["train"] * 15 + ["dev"] * 5).inner[0].validation == (1, 10, 14), "of every version"


def test_all_else_is_as_without_inner_folds() -> None:
    rows: dict[str, Any] = {"keys": [f"text {i}" for i in range(90)], "strata": ["ab"[i % 2] for i in range(90)]}
    plain = make_splits(**rows, groups=[None] * 90, given=None)
    splits = nested(90)
    assert plain.inner == ()
    assert (plain.folds, plain.test, plain.origin) == (splits.folds, splits.test, splits.origin)


def test_a_class_with_one_training_row_stays_in_training() -> None:
    for row in range(50):
        strata = ["ab"[i % 2] for i in range(70)]
        strata[row] = "rare"
        (inner,) = nested(70, strata=strata, given=["train"] * 50 + ["dev"] * 20).inner
        assert row in inner.train
        assert len(inner.validation) >= 9


def test_two_groups_are_enough_where_they_are_all_the_training_rows() -> None:
    for seed in range(5):
        groups = ["large"] * 24 + ["small"] * 6 + [None] * 10
        (inner,) = nested(40, groups=groups, given=["train"] * 30 + ["dev"] * 10, seed=seed).inner
        assert len(inner.validation) in (6, 24)


def test_training_rows_that_all_hang_together_are_refused() -> None:
    groups = ["one"] * 30 + [None] * 10
    with pytest.raises(DataError, match=r"no row is left for validation of an inner fold \(--nested\)|would lie in"):
        nested(40, groups=groups, given=["train"] * 30 + ["dev"] * 10)
