import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.encoders.outline import Outline
from unfreeze.errors import SettingsError
from unfreeze.plan import Group, Plan, Stage, one_stage


def outline(depth=3, shared=("rel.weight",)):
    layers = tuple((f"layer.{i}.weight", f"layer.{i}.bias") for i in range(depth))
    names = ["embed", *shared, *(name for layer in layers for name in layer), "pooler", "head.weight", "head.bias"]
    sizes = {name: i + 1 for i, name in enumerate(names)}
    return Outline(("embed",), layers, ("pooler",), ("head.weight", "head.bias"), shared, sizes, "layer", "base")


def test_an_outlines_names_go_from_the_input_to_the_head_each_once():
    parts = outline()
    assert parts.names == tuple(parts.sizes)
    assert parts.encoder == parts.names[:-2]
    assert parts.depth == 3
    assert parts.size(("embed", "rel.weight")) == 3
    assert parts.size(frozenset(parts.names)) == sum(range(1, len(parts.names) + 1))
    expected = ["embeddings", "shared", "layer 0", "layer 0", "layer 1", "layer 1", "layer 2", "layer 2", "top"]
    assert [parts.part_of(name) for name in parts.names] == [*expected, "head", "head"]


@pytest.mark.parametrize(
    ("trainable", "depth"),
    [
        ((), 3),
        (("head.bias",), 3),
        (("pooler",), 3),
        (("layer.2.bias",), 2),
        (("layer.0.bias", "layer.2.weight"), 0),
        (("layer.1.weight", "layer.2.weight"), 1),
        (("embed",), 0),
        (("rel.weight", "head.bias"), 0),
    ],
)
def test_the_frozen_depth_is_the_lowest_layer_that_learns(trainable, depth):
    assert outline().frozen_depth(frozenset(trainable)) == depth


@given(st.lists(st.floats(0, 0.99), min_size=1, max_size=6), st.floats(0, 1))
def test_the_stage_in_force_is_the_last_one_that_has_begun(starts, progress):
    starts = sorted({0.0, *starts})
    plan = Plan(tuple(Stage(start, (Group((f"p{i}",)),)) for i, start in enumerate(starts)))
    stage = plan.at(progress)
    assert stage.start <= progress
    assert all(other.start <= stage.start or other.start > progress for other in plan.stages)


@pytest.mark.parametrize("starts", [(), (0.1,), (0.0, 0.0), (0.0, 0.5, 0.3), (0.0, 1.0), (-0.1, 0.0)])
def test_stage_starts_must_rise_from_0_and_stay_below_1(starts):
    with pytest.raises(SettingsError, match="stage starts must rise from 0"):
        Plan(tuple(Stage(start, ()) for start in starts))


def test_a_parameter_has_one_rate_in_a_stage():
    with pytest.raises(SettingsError, match=r"listed twice at 0.0: \['b'\]"):
        one_stage(("a", "b"), ("b",))
    with pytest.raises(SettingsError, match=r"above 0; got 0"):
        Group(("a",), 0)
    with pytest.raises(SettingsError, match="above 0; got nan"):
        Group(("a",), float("nan"))


def test_what_learns_and_at_which_share_follows_from_the_groups():
    first = Stage(0.0, (Group(("a",)), Group(("b", "c"), 0.5)))
    plan = Plan((first, Stage(0.4, (Group(("a", "d")),)), Stage(0.8, ())))
    assert first.trainable == {"a", "b", "c"}
    assert first.lr_scales == {"a": 1.0, "b": 0.5, "c": 0.5}
    assert plan.ever_trainable == {"a", "b", "c", "d"}
    assert [plan.touched_by(stage) for stage in plan.stages] == [{"a", "b", "c"}, {"a", "b", "c", "d"}, {*"abcd"}]
    assert Plan((Stage(0.0, ()),)).ever_trainable == frozenset()


def test_an_outline_tells_in_words_where_parameters_lie():
    parts = outline(5)
    assert parts.told(frozenset(parts.names)) == "embeddings, shared, layers 0–4, top, head"
    assert parts.told(frozenset()) == ""
    some = frozenset({*parts.layers[0], *parts.layers[2], *parts.layers[3], "layer.4.bias", "head.weight"})
    assert parts.told(some) == "layer 0, layers 2–3, layer 4 in part, head in part"
    biases = frozenset(f"layer.{i}.bias" for i in range(5))
    assert parts.told(biases) == "layers 0–4 in part"


def test_plans_are_equal_by_value():
    assert one_stage(("a",), ["b"]) == one_stage(["a"], ("b",)) != one_stage(("a", "b"))
