"""Splits: every row once, nothing on both sides, the same mixture everywhere, the same splits every time."""

from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dealt_rows import datasets
from unfreeze.data.splitting import FOLDS, Splits, make_splits, text_key
from unfreeze.errors import DataError, UnknownName


def split(n, *, classes=2, groups=None, given=None, keys=None, seed=0):
    strata = [f"c{i % classes}" for i in range(n)]
    return make_splits(
        keys=keys or [f"text {i}" for i in range(n)], strata=strata, groups=groups or [None] * n, given=given, seed=seed
    )


def sides(splits: Splits):
    """Each pair of row sets that must share nothing."""
    for fold in splits.folds:
        yield fold.train, fold.validation
    yield splits.not_test, splits.test


def made(data, given, seed=0):
    try:
        return make_splits(**data, given=given, seed=seed)
    except DataError:  # everything hangs together, or a class is too small: refused, as other tests say
        assume(False)


@given(
    data=datasets(),
    names=st.sampled_from([None, ["train"], ["train", "test"], ["train", "dev"], ["train", "val", "test"]]),
)
def test_every_row_has_one_place_and_no_text_or_group_lies_on_both_sides(data, names):
    given = names and [names[i * 7 % len(names)] for i in range(len(data["keys"]))]
    splits = made(data, given)
    assert sorted([*splits.not_test, *splits.test, *splits.left_out]) == list(range(len(data["keys"])))
    for one, other in sides(splits):
        for values in (data["keys"], data["groups"]):
            assert not {values[row] for row in one} & {values[row] for row in other} - {None}
    for fold in splits.folds:
        assert sorted([*fold.train, *fold.validation]) == list(splits.not_test)
        assert list(fold.train) == sorted(fold.train)
    if len(splits.folds) > 1:
        assert sorted(row for fold in splits.folds for row in fold.validation) == list(splits.not_test)
    if names is None:
        assert splits.left_out == ()


@given(data=datasets(), order=st.randoms(use_true_random=False))
def test_made_splits_do_not_depend_on_the_order_of_the_rows(data, order):
    # one of a pair of rows alike in everything may stand for the other, so each row gets a text of its own
    data["keys"] = [f"{key} {i}" for i, key in enumerate(data["keys"])]
    places = list(range(len(data["keys"])))
    order.shuffle(places)
    moved = {name: [values[place] for place in places] for name, values in data.items()}
    here, there = made(data, None), made(moved, None)
    assert {places[row] for row in there.test} == set(here.test)
    assert [{places[row] for row in f.validation} for f in there.folds] == [set(f.validation) for f in here.folds]


@given(counts=st.lists(st.integers(5, 60), min_size=1, max_size=5), seed=st.integers(0, 3))
def test_each_part_holds_each_class_in_its_share_to_within_one_row(counts, seed):
    strata = [f"c{c}" for c, count in enumerate(counts) for _ in range(count)]
    assume(len(strata) >= 10)
    keys = [str(i) for i in range(len(strata))]
    splits = make_splits(keys=keys, strata=strata, groups=[None] * len(keys), given=None, seed=seed)
    rest = Counter(strata[row] for row in splits.not_test)
    for c, count in enumerate(counts):
        assert abs(sum(strata[row] == f"c{c}" for row in splits.test) - count / 5) < 1
        for fold in splits.folds:
            assert abs(sum(strata[row] == f"c{c}" for row in fold.validation) - rest[f"c{c}"] / FOLDS) < 1


@pytest.mark.parametrize(("n", "folds", "validation"), [(3_740, 5, 0.2), (3_760, 1, 0.2), (12_600, 1, 0.1)])
def test_few_rows_become_folds_and_many_one_validation_split(n, folds, validation):
    splits = split(n, classes=4)
    assert len(splits.folds) == folds
    assert len(splits.test) == pytest.approx(0.2 * n, abs=4)
    assert len(splits.folds[0].validation) == pytest.approx(validation * len(splits.not_test), abs=4)
    assert ("5 stratified folds" if folds == 5 else f"{validation:.0%}".replace("%", "\u00a0%")) in splits.origin


def test_the_seed_changes_the_splits_and_nothing_else_does():
    assert split(100) == split(100)
    assert split(100).test != split(100, seed=1).test


def test_these_splits_are_the_same_in_every_version():
    splits = split(20)
    assert splits.test == (2, 10, 11, 19)
    assert [fold.validation for fold in splits.folds] == [
        (5, 12, 16),
        (4, 7, 14, 17),
        (13, 15, 18),
        (3, 6, 8),
        (0, 1, 9),
    ]


def test_given_splits_are_kept():
    names = ["train"] * 10 + ["Dev"] * 5 + ["test "] * 5
    splits = split(20, given=names)
    assert splits.folds[0].train == tuple(range(10))
    assert splits.folds[0].validation == tuple(range(10, 15))
    assert splits.test == tuple(range(15, 20))
    assert splits.origin == "As given: 10 train, 5 validation, 5 test rows."


def test_train_and_validation_alone_leave_no_test_split():
    splits = split(20, given=["train", "valid"] * 10)
    assert (len(splits.folds), splits.test) == (1, ())


def test_train_and_test_alone_give_folds_of_the_train_rows():
    splits = split(40, given=["train"] * 30 + ["test"] * 10)
    assert len(splits.folds) == 5
    assert splits.not_test == tuple(range(30))
    assert splits.test == tuple(range(30, 40))


def test_train_rows_equal_to_validation_or_test_rows_are_left_out():
    keys = [f"text {i}" for i in range(20)]
    keys[0], keys[1], keys[12] = keys[12], keys[15], keys[16]
    keys[2] = keys[12]  # equal to a validation row that is itself left out, and so to a test row
    splits = split(20, given=["train"] * 10 + ["dev"] * 5 + ["test"] * 5, keys=keys)
    assert splits.left_out == (1, 2, 12)
    assert "3 rows left out" in splits.origin


def test_a_train_row_may_share_a_group_with_a_validation_row_that_is_left_out():
    keys = [f"text {i}" for i in range(19)] + ["text 12"]
    groups = ["a", *[None] * 11, "a", *[None] * 7]
    splits = split(20, given=["train"] * 10 + ["dev"] * 5 + ["test"] * 5, keys=keys, groups=groups)
    assert splits.left_out == (12,)


def test_train_rows_of_a_group_in_test_are_left_out():
    groups = ["a", "b", *[None] * 17, "b"]
    assert split(20, given=["train"] * 10 + ["dev"] * 5 + ["test"] * 5, groups=groups).left_out == (1,)


REFUSED = {
    "few rows": ({"n": 9}, "9 rows"),
    "a small class": ({"n": 40, "classes": 9}, "'c4' has 4 rows; 5 are needed"),
    "a class of one text": (
        {"n": 12, "keys": ["same", "b"] * 6},
        "'c0' has 6 rows, but without equal texts and groups only 1; 5 are",
    ),
    "a class of one row": ({"n": 11, "classes": 6}, "'c5' has 1 row; 5 are needed"),
    "one row": ({"n": 1}, "1 row; at least 10"),
    "a small class in train": ({"n": 20, "given": ["train"] * 8 + ["test"] * 12}, "'c1' has 4 rows"),
    "too few groups": (
        {"n": 20, "classes": 1, "groups": [f"g{i // 4}" for i in range(20)]},
        "no row is left for validation",
    ),
    "no train rows": (
        {"n": 20, "given": ["dev", "test"] * 10},
        r"no row is in the train split \(10 test, 10 validation",
    ),
    "rows without a split": (
        {"n": 20, "given": ["train", None] * 10},
        "rows without a split: 10 of 20; the others name one",
    ),
    "train equal to test": (
        {"n": 20, "keys": ["a", "a"] * 10, "given": ["train", "test"] * 10},
        r"every train row \(10\) is also in another split",
    ),
    "validation equal to test": (
        {"n": 21, "keys": ["a", "b", "b"] * 7, "given": ["train", "dev", "test"] * 7},
        r"every validation row \(7\) is also in another split",
    ),
}


@pytest.mark.parametrize(("arguments", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_split_is_refused_with_counts(arguments, says):
    with pytest.raises(DataError, match=says):
        split(**arguments)


def test_a_class_that_lost_its_rows_to_test_is_refused_with_how_many_it_lost():
    keys = [f"text {i}" for i in range(40)]
    keys[1:18:2] = keys[21:38:2]  # nine of the ten rows of c1 in train have the text of one in test
    with pytest.raises(DataError) as refused:
        split(40, given=["train"] * 20 + ["test"] * 20, keys=keys)
    assert [problem.what for problem in refused.value.problems] == [
        "class 'c1' has 1 row left (9 rows left out: the text or group is also in validation or test); 5 are needed"
    ]


def test_a_single_row_is_told_in_the_singular():
    keys = [f"text {i}" for i in range(40)]
    keys[0] = keys[30]
    splits = split(40, given=["train"] * 39 + ["test"], keys=[*keys[:39], keys[0]])
    assert splits.left_out == (0, 30)
    one = split(21, given=["train"] * 10 + ["dev"] * 10 + ["test"], keys=[*keys[1:11], *keys[11:21], keys[1]])
    assert (
        one.origin == "As given: 9 train, 10 validation, 1 test row; 1 row left out, being also in validation or test."
    )


def test_a_class_that_lies_mostly_in_one_group_is_still_in_every_train_part():
    strata = ["a"] * 30 + ["b"] * 30
    groups = [*[str(i) for i in range(30)], *["one"] * 26, "two", "three", "four", "five"]
    splits = make_splits(keys=[str(i) for i in range(60)], strata=strata, groups=groups, given=None)
    for one, _ in sides(splits):
        assert {strata[row] for row in one} == {"a", "b"}


def test_an_unknown_split_offers_the_nearest():
    with pytest.raises(UnknownName, match=r"no split named 'validaton'\. Did you mean 'validation'"):
        split(20, given=["train", "validaton"] * 10)


def test_columns_of_different_length_are_refused():
    with pytest.raises(ValueError, match="12 keys, 11 strata, 12 groups"):
        make_splits(keys=["a"] * 12, strata=["a"] * 11, groups=[None] * 12, given=None)


@given(st.text())
def test_the_key_of_a_key_is_itself(text):
    assert text_key(text_key(text)) == text_key(text)


def test_texts_that_differ_in_case_spacing_or_unicode_spelling_are_equal():
    assert text_key(" Caf\u00e9 \n STRASSE ﬁn") == text_key("cafe\u0301 straße fin")
    assert text_key("good") != text_key("not good")
