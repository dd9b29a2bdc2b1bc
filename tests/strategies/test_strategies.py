import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.encoders.outline import Outline
from unfreeze.errors import SettingsError, UnknownName
from unfreeze.strategies import STRATEGIES, Search, spelling_of, stage_rows, strategy, strategy_named


def outline(depth):
    layers = tuple((f"layer.{i}",) for i in range(depth))
    norm = (f"layer.{depth - 1}.norm",)
    whole = (*layers[:-1], (*layers[-1], *norm))
    return Outline(("embed",), whole, ("pooler",), ("head",), ("shared",), {}, "layer", "base", output_norm=norm)


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
    layers = {f"layer.{i}" for i in range(depth - k, depth)}
    assert plan.ever_trainable == {*layers, f"layer.{depth - 1}.norm", "pooler", "head"}
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


def test_gradual_decays_no_rate_unless_it_is_asked_to():
    plain, decayed = (strategy_named(name).plan(outline(3)) for name in ("gradual", "gradual:decay=0.5"))
    assert {share for stage in plain.stages for share in stage.lr_scales.values()} == {1.0}
    assert [stage.start for stage in decayed.stages] == [stage.start for stage in plain.stages]
    assert [stage.trainable for stage in decayed.stages] == [stage.trainable for stage in plain.stages]
    shares = {"pooler": 1, "head": 1, "layer.2": 1 / 2, "layer.2.norm": 1 / 2, "layer.1": 1 / 4, "layer.0": 1 / 8}
    assert decayed.stages[-1].lr_scales == shares | {"embed": 1 / 16, "shared": 1 / 16}
    for stage in decayed.stages:  # a part's share is the same in each stage
        assert stage.lr_scales.items() <= decayed.stages[-1].lr_scales.items()


@given(st.integers(1, 24), st.floats(0.1, 1.0))
def test_layer_decay_trains_everything_each_part_at_a_decay_of_the_one_above(depth, decay):
    parts = outline(depth)
    (stage,) = strategy_named(f"layer-decay:decay={decay}").plan(parts).stages
    assert stage.trainable == set(parts.names)
    shares = stage.lr_scales
    assert shares["head"] == shares["pooler"] == 1.0
    for i in range(depth):
        assert shares[f"layer.{i}"] == pytest.approx(decay ** (depth - i))
    assert shares["embed"] == shares["shared"] == pytest.approx(decay ** (depth + 1))


@pytest.mark.parametrize("name", ["gradual", "layer-decay"])
@pytest.mark.parametrize("decay", [0, -0.5, 1.01, "nan", "inf"])
def test_a_decay_that_is_none_is_refused(name, decay):
    with pytest.raises(SettingsError, match=f"{name}: decay must be above 0 and at most 1"):
        strategy_named(f"{name}:decay={decay}").plan(outline(3))


def test_top_trains_the_last_norm_what_lies_above_and_the_head():
    assert strategy_named("top").plan(outline(3)).ever_trainable == {"layer.2.norm", "pooler", "head"}
    first = replace(outline(3), top=("pooler", "final_norm"), output_norm=("final_norm",))  # norms come first
    assert strategy_named("top").plan(first).ever_trainable == {"final_norm", "pooler", "head"}


def test_top_refuses_an_encoder_whose_last_norm_is_not_known():
    with pytest.raises(SettingsError, match=r"no norm was found .* last-k:k=1 trains the whole last layer"):
        strategy_named("top").plan(replace(outline(3), output_norm=()))


@pytest.mark.parametrize(
    ("spelling", "start", "share"), [("lp-ft", 0.4, 30), ("lp-ft:probe=0.25,head_rate=5", 0.25, 5)]
)
def test_lp_ft_trains_the_head_at_its_own_rate_then_everything_at_the_runs(spelling, start, share):
    parts, plan = outline(3), strategy_named(spelling).plan(outline(3))
    assert plan.calibrated
    assert [stage.start for stage in plan.stages] == [0.0, start]
    assert plan.stages[0].lr_scales == {"head": share}
    assert plan.stages[1].lr_scales == dict.fromkeys(parts.names, 1.0)


@pytest.mark.parametrize(
    "settings", ["probe=0", "probe=1", "probe=nan", "head_rate=0", "head_rate=inf", "head_rate=nan"]
)
def test_lp_ft_refuses_a_stage_that_is_none(settings):
    with pytest.raises(SettingsError, match=f"lp-ft: {settings.partition('=')[0]} must"):
        strategy_named(f"lp-ft:{settings}").plan(outline(3))


def test_a_strategy_is_spelled_with_the_settings_that_are_not_the_usual_ones():
    assert strategy_named("last-k:k=4").k == 4
    for spelling in ("full", "last-k:k=4", "gradual:until=0.25", "gradual:until=0.25,decay=0.385"):
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


def test_a_plans_rows_say_what_is_drawn_anew_and_only_before_the_first_stage():
    parts = replace(outline(3), sizes=dict.fromkeys(outline(3).names, 1))
    (row,) = stage_rows(strategy_named("reinit:k=2").plan(parts), parts)
    assert row["note"] == "drawn anew before: layers 1–2, top"
    assert {row["note"] for row in stage_rows(strategy_named("gradual").plan(parts), parts)} == {""}
