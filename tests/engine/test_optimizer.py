import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from runs import SETTINGS, make_model
from tiny import FAMILIES
from unfreeze.engine.optimizer import build_optimizer, set_rates
from unfreeze.plan import Group, Plan, Stage, one_stage
from unfreeze.strategies import strategy_named


@pytest.mark.parametrize(
    ("family", "optim"), [("bert", "adamw"), ("deberta-v2", "adamw"), ("modernbert", "adam"), ("bert", "sgd")]
)
def test_matrices_decay_and_biases_and_norms_do_not(family, optim, encoder_of):
    model, outline = make_model(encoder_of(family))
    optimizer = build_optimizer(model, one_stage(outline.names), settings=replace(SETTINGS, optim=optim))
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    norms = {id(p) for m in model.modules() if isinstance(m, nn.LayerNorm) for p in m.parameters(recurse=False)}
    assert len(norms) > 3
    for name, parameter in model.named_parameters():
        spared = name.endswith("bias") or id(parameter) in norms
        assert decays[id(parameter)] == (0.0 if spared else SETTINGS.weight_decay), name


@pytest.mark.parametrize(
    ("optim", "kind", "expected"),
    [
        ("adamw", torch.optim.AdamW, {"eps": 1e-5, "betas": (0.9, 0.999), "amsgrad": False}),
        ("adam", torch.optim.Adam, {"eps": 1e-5, "betas": (0.9, 0.999), "decoupled_weight_decay": False}),
        ("sgd", torch.optim.SGD, {"momentum": 0.9, "nesterov": False, "dampening": 0}),
    ],
)
def test_the_optimizer_is_the_one_named(optim, kind, expected, encoder_of):
    model, outline = make_model(encoder_of("bert"))
    settings = replace(SETTINGS, optim=optim, adam_epsilon=1e-5)
    optimizer = build_optimizer(model, one_stage(outline.names), settings=settings)
    assert type(optimizer) is kind
    for group in optimizer.param_groups:
        assert {name: group[name] for name in expected} == expected
        assert group["lr"] == settings.learning_rate


def test_only_what_ever_learns_is_known_to_the_optimizer_each_once(encoder_of):
    model, outline = make_model(encoder_of("bert"))
    plan = strategy_named("last-k:k=1").plan(outline)
    optimizer = build_optimizer(model, plan, settings=SETTINGS)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    known = [names[id(p)] for group in optimizer.param_groups for p in group["params"]]
    assert sorted(known) == sorted(plan.ever_trainable)


def test_a_stage_sets_each_groups_share_of_the_rate(encoder_of):
    model, outline = make_model(encoder_of("bert"))
    head, layer = outline.head, outline.layers[2]
    plan = Plan((Stage(0.0, (Group(head),)), Stage(0.5, (Group(head, 0.5), Group(layer, 0.1)))))
    optimizer = build_optimizer(model, plan, settings=SETTINGS)
    names = {id(parameter): name for name, parameter in model.named_parameters()}

    def rates():
        return {names[id(p)]: group["lr"] for group in optimizer.param_groups for p in group["params"]}

    set_rates(optimizer, rate=2.0, stage_index=0)
    assert rates() == {**dict.fromkeys(head, 2.0), **dict.fromkeys(layer, 0.0)}
    set_rates(optimizer, rate=2.0, stage_index=1)
    assert rates() == {**dict.fromkeys(head, 1.0), **dict.fromkeys(layer, 0.2)}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("decay", [0.9, 0.5])
def test_rates_fall_with_depth_as_computed_by_hand(decay, family, encoder_of):
    """Whose rate is which is read off the names alone here, not off the outline that the strategy reads."""
    model, outline = make_model(encoder_of(family))
    plan = strategy_named(f"layer-decay:decay={decay}").plan(outline)
    optimizer = build_optimizer(model, plan, settings=SETTINGS)
    set_rates(optimizer, rate=3e-4, stage_index=0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates = {names[id(p)]: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates.keys() == set(names.values())
    seen = set()
    for name, rate in rates.items():
        layer = re.search(r"\.layers?\.(\d)\.", name)
        above = re.match(r"classifier|pre_classifier|pooler|head|\w+\.pooler|model\.final_norm", name)
        distance = 0 if above else 3 - int(layer.group(1)) if layer else 4
        assert rate == pytest.approx(3e-4 * decay**distance, rel=1e-12), name
        seen.add(distance)
    assert seen == {0, 1, 2, 3, 4}
