import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.encoders.outline import Outline
from unfreeze.errors import SettingsError, UnknownName
from unfreeze.strategies import STRATEGIES, Search, spelling_of, strategy, strategy_named


def outline(depth):
    layers = tuple((f"layer.{i}",) for i in range(depth))
    return Outline(("embed",), layers, ("pooler",), ("head",), ("shared",), {}, "layer", "base")


def test_full_and_scratch_train_everything_and_differ_in_where_they_start():
    full, scratch = (strategy_named(name).plan(outline(3)) for name in ("full", "scratch"))
    assert full.ever_trainable == scratch.ever_trainable == set(outline(3).names)
    assert (full.encoder_weights, scratch.encoder_weights) == ("pretrained", "random")


def test_head_only_trains_the_head_and_untouched_nothing():
    assert strategy_named("head-only").plan(outline(3)).ever_trainable == {"head"}
    untouched = strategy_named("untouched").plan(outline(3))
    assert untouched.ever_trainable == set()
    assert untouched.head_fit == "class-means"


@given(st.integers(1, 12), st.data())
def test_last_k_trains_just_the_top_layers_what_lies_above_and_the_head(depth, data):
    k = data.draw(st.integers(1, depth))
    plan = strategy_named(f"last-k:k={k}").plan(outline(depth))
    assert plan.ever_trainable == {*(f"layer.{i}" for i in range(depth - k, depth)), "pooler", "head"}
    assert outline(depth).frozen_depth(plan.ever_trainable) == depth - k


@pytest.mark.parametrize("k", [0, -1, 4])
def test_last_k_refuses_a_number_of_layers_that_is_not_there(k):
    with pytest.raises(SettingsError, match=f"between 1 and the encoder's 3 layers; got {k}"):
        strategy_named(f"last-k:k={k}").plan(outline(3))


@given(st.integers(1, 12), st.floats(0.01, 0.99))
def test_gradual_opens_one_part_more_a_stage_from_the_top_until_all_is_open(depth, until):
    parts, plan = outline(depth), strategy_named(f"gradual:until={until}").plan(outline(depth))
    opened = [stage.trainable for stage in plan.stages]
    assert opened[0] == {"pooler", "head"}
    assert opened[-1] == set(parts.names)
    assert [parts.frozen_depth(names) for names in opened] == [*range(depth, 0, -1), 0, 0]
    assert all(one < two for one, two in itertools.pairwise(opened))
    assert plan.stages[-1].start == until
    gaps = [two.start - one.start for one, two in zip(plan.stages, plan.stages[1:], strict=False)]
    assert max(gaps) - min(gaps) < 1e-9


@pytest.mark.parametrize("until", [0, 1, -0.5, "nan"])
def test_gradual_refuses_an_end_outside_training(until):
    with pytest.raises(SettingsError, match="until must lie between 0 and 1"):
        strategy_named(f"gradual:until={until}").plan(outline(3))


def test_a_strategy_is_spelled_with_the_settings_that_are_not_the_usual_ones():
    assert strategy_named("last-k:k=4").k == 4
    for spelling in ("full", "last-k:k=4", "gradual:until=0.25"):
        assert spelling_of(strategy_named(spelling)) == spelling
    assert spelling_of(strategy_named("last-k:k=2")) == "last-k"


@pytest.mark.parametrize(
    ("spelling", "error", "said"),
    [
        ("fulll", UnknownName, "no strategy named 'fulll'. Did you mean 'full'"),
        ("last-k:n=2", UnknownName, "no setting of last-k named 'n'"),
        ("full:k=2", SettingsError, "full has no settings"),
        ("last-k:k=two", SettingsError, r"k takes a value like 2 \(int\); got 'two'"),
        ("last-k:k", SettingsError, "got ''"),
        ("", UnknownName, "no strategy named ''"),
    ],
)
def test_a_spelling_that_names_nothing_is_refused_with_a_way_out(spelling, error, said):
    with pytest.raises(error, match=said):
        strategy_named(spelling)


def test_two_strategies_cannot_have_one_name():
    with pytest.raises(ValueError, match="two strategies are named 'full'"):
        strategy("full", Search(None, 1))(type("Another", (), {}))
    assert STRATEGIES["full"].__name__ == "Full"


def test_rates_lie_evenly_on_a_log_scale():
    search = Search((1e-4, 1e-2), 1)
    assert search.rates(1) == (1e-3,)
    assert search.rates(2) == (3.2e-4, 3.2e-3)
    assert search.rates(3) == (1e-3, 1e-4, 1e-2)
    assert search.rates(5) == (1e-3, 3.2e-4, 3.2e-3, 1e-4, 1e-2)
    assert Search(None, 0).rates(3) == ()
