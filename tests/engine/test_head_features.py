from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import dropout

from runs import RUNTIME, differing, make_features, make_model, weights_of, without_dropout
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.encoders.reading_outline import layer_modules
from unfreeze.engine.head_features import LINE, features_of, head_linear
from unfreeze.engine.prediction import logits_of
from unfreeze.engine.prefix import PrefixMemory, Start
from unfreeze.engine.runtime import Runtime
from unfreeze.plan import Group, Plan, Stage, one_stage
from unfreeze.strategies import strategy_named

LINEAR = [
    ("bert", "sequence", HeadSettings(), 0.1),
    ("bert", "sequence", HeadSettings("first"), 0.1),
    ("modernbert", "sequence", HeadSettings("mean", 2), 0.0),
    ("electra", "token", HeadSettings("tokens", 3), 0.1),
    ("roberta", "token", HeadSettings(), 0.1),
    ("distilbert", "sequence", HeadSettings("mean"), 0.2),
]


def table_of(model, outline, features, *, plan=None, **more):
    plan = plan or strategy_named("head-only").plan(outline)
    return features_of(model, outline, plan=plan, features=features, runtime=RUNTIME, **more)


@pytest.mark.parametrize("remembered", [False, True], ids=["whole", "from memory"])
@pytest.mark.parametrize(("family", "kind", "head", "probability"), LINEAR, ids=str)
def test_the_layer_gives_the_models_logits_from_the_table(family, kind, head, probability, remembered, encoder_of):
    features = make_features(20, kind)
    model, outline = make_model(encoder_of(family), kind, head=head)
    layer = model.get_submodule(head_linear(model, strategy_named("head-only").plan(outline)))
    nn.init.normal_(layer.bias)
    before, start = weights_of(model), None
    if remembered:
        memory = PrefixMemory(features)
        assert memory.serves(model, outline, depth=outline.depth, runtime=RUNTIME)
        start = Start(memory, outline, outline.depth, range(len(features)))
    inside, computed = next(m for m in layer_modules(model, outline)[0].modules() if isinstance(m, nn.Linear)), []
    inside.register_forward_pre_hook(lambda *_: computed.append(1))
    torch.manual_seed(3)
    drawn = torch.rand(2)
    torch.manual_seed(3)
    table = table_of(model, outline, features, start=start)
    assert torch.equal(torch.rand(2), drawn)  # the dropout that was tried out took nobody's random numbers
    assert table.dropout == probability
    assert bool(computed) is not remembered
    assert not model.training
    assert differing(weights_of(model), before) == set()
    places = [7, 3, 19]
    weights = table.packed(layer.weight.detach(), layer.bias.detach())
    found = table.by_feature(table.logits(weights, table.rows[table.rows_of(places)]), places)
    expected = logits_of(model, [features[place] for place in places], runtime=RUNTIME)
    assert [row.shape for row in found] == [row.shape for row in expected]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert table.rows.shape[1] % LINE == 0
    assert torch.equal(table.unpacked(weights)[0], layer.weight.detach())
    assert torch.equal(table.unpacked(weights)[1], layer.bias.detach())


@pytest.mark.parametrize("kind", ["sequence", "token"])
def test_each_row_has_its_own_target(kind, encoder_of):
    features = make_features(9, kind)
    table = table_of(*make_model(encoder_of("bert"), kind), features)
    for place, feature in enumerate(features):
        assert table.targets[table.rows_of([place])].tolist() == list(feature.targets)
    assert len(table.rows) == sum(len(feature.targets) for feature in features)


@pytest.mark.parametrize(("family", "kind", "head", "_"), [LINEAR[0], LINEAR[3]], ids=str)
def test_a_model_without_dropout_has_none_in_its_table(family, kind, head, _, encoder_of):
    features = make_features(9, kind)
    assert table_of(*make_model(without_dropout(encoder_of(family)), kind, head=head), features).dropout == 0.0


def plans(outline):
    head = outline.head
    yield "full", one_stage(outline.names)
    yield "the weight alone", one_stage(head[:1])
    yield "the head and one more", one_stage([*head, outline.top[0]])
    yield "half the rate", Plan((Stage(0.0, (Group(head, 0.5),)),))
    yield "two stages", Plan((Stage(0.0, (Group(head),)), Stage(0.5, (Group(head),))))
    yield "another objective", Plan((Stage(0.0, (Group(head),), "masked language modelling"),))
    yield "random weights", replace(one_stage(head), encoder_weights="random")
    yield "in closed form", replace(one_stage(head), head_fit="class-means")
    yield "nothing", Plan((Stage(0.0, ()),))
    yield "what is not there", one_stage(["missing.weight", "missing.bias"])
    yield "it is calibrated afterwards", replace(one_stage(outline.head), calibrated=True)
    yield "a norm", one_stage([n for n in outline.embeddings if "LayerNorm" in n])


@pytest.mark.parametrize("number", range(12))
def test_a_plan_that_trains_anything_else_has_no_table(number, encoder_of):
    model, outline = make_model(encoder_of("bert"))
    name, plan = list(plans(outline))[number]
    assert head_linear(model, plan) is None, name
    assert table_of(model, outline, make_features(6), plan=plan) is None


def test_heads_of_two_layers_have_no_table(encoder_of):
    for family in ("roberta", "distilbert", "electra"):
        model, outline = make_model(encoder_of(family))
        assert table_of(model, outline, make_features(6)) is None, family


class Noise(nn.Module):
    """Changes from call to call while it trains, and is no dropout."""

    def forward(self, states):
        return dropout(states, 0.5, training=self.training)


class Scaled(nn.Dropout):
    """A dropout of somebody's own, that torch's does not describe."""

    def forward(self, input):
        return 3 * super().forward(input)


def test_what_changes_from_call_to_call_below_the_layer_has_no_table(encoder_of):
    noisy = (nn.Sequential(nn.Dropout(0.2), Noise()), nn.Sequential(Noise(), nn.Dropout(0.2)))
    for before in (Noise(), Scaled(0.1), nn.Sequential(nn.Dropout(0.2), nn.Tanh()), nn.Dropout(1.0), *noisy):
        model, outline = make_model(encoder_of("bert"))
        model.dropout = before
        assert table_of(model, outline, make_features(6)) is None, before


def test_a_layer_that_does_not_give_the_logits_has_no_table(encoder_of):
    model, outline = make_model(encoder_of("bert"), head=HeadSettings("mean"))
    layer, forward = model.classifier, model.forward

    def doubled(**inputs):
        out = forward(**inputs)
        out.logits = 2 * out.logits
        return out

    def twice(**inputs):
        out = forward(**inputs)
        layer(torch.zeros(1, layer.in_features))
        return out

    def before(**inputs):
        layer(torch.zeros(1, layer.in_features))
        return forward(**inputs)

    def without(**inputs):
        out = forward(**inputs)
        out.logits = out.logits.clone()
        return out

    for changed, expected in ((doubled, False), (twice, False), (before, False), (without, True)):
        model.forward = changed
        assert (table_of(model, outline, make_features(6)) is not None) is expected


def test_a_layer_that_is_never_called_has_no_table(encoder_of):
    model, outline = make_model(encoder_of("bert"), head=HeadSettings("mean"))
    layer = model.classifier
    forward = model.forward

    def around(**inputs):
        model.classifier = nn.Sequential(nn.Linear(layer.in_features, layer.out_features))
        try:
            return forward(**inputs)
        finally:
            model.classifier = layer

    model.forward = around
    assert table_of(model, outline, make_features(6)) is None


def test_a_table_beyond_the_limit_is_not_made(encoder_of):
    model, outline = make_model(encoder_of("bert"), head=HeadSettings("mean"))
    size = table_of(model, outline, make_features(6)).rows.nbytes
    assert table_of(model, outline, make_features(6), limit_bytes=size) is not None
    assert table_of(model, outline, make_features(6), limit_bytes=size - 1) is None


def test_the_table_is_float32_in_bfloat16_too(encoder_of):
    model, outline = make_model(encoder_of("bert"), head=HeadSettings("mean"))
    plan, features = strategy_named("head-only").plan(outline), make_features(6)
    runtime = Runtime("cpu", 1, "bf16-autocast")
    table = features_of(model, outline, plan=plan, features=features, runtime=runtime)
    exact = table_of(model, outline, features)
    assert (table.rows.dtype, table.dropout) == (torch.float32, exact.dropout)
    assert 0 < float((table.rows - exact.rows).abs().max()) < 0.2
