from dataclasses import replace

import numpy as np
import pytest
import torch

from runs import RUNTIME, SETTINGS, differing, farthest, make_data, make_features, make_model, weights_of
from tiny import FAMILIES
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.engine.prediction import logits_of
from unfreeze.engine.prefix import PrefixMemory, Start
from unfreeze.engine.runtime import Runtime
from unfreeze.engine.training import Run
from unfreeze.plan import Group, Plan, Stage, one_stage
from unfreeze.strategies import strategy_named

FEATURES = make_features(24)
TOKENS = make_features(24, "token")
THREE_EPOCHS = replace(SETTINGS, learning_rate=1e-3, num_train_epochs=3)


def trained(encoder, spelling, memory, *, features=FEATURES, kind="sequence", head=None):
    """A model trained from a memory, or whole, with its outline and the run."""
    model, outline = make_model(encoder, kind, head=head)
    plan = strategy_named(spelling).plan(outline)
    run = Run(model, outline, plan=plan, settings=THREE_EPOCHS, data=make_data(features, memory), runtime=RUNTIME)
    run._is_best = lambda row: True
    run.run()
    return model, outline, run


def parts(weights, names):
    return {name: weights[name] for name in names}


@pytest.mark.parametrize("spelling", ["head-only", "last-k:k=1", "gradual"])
@pytest.mark.parametrize("family", FAMILIES)
def test_training_from_remembered_states_gives_the_same_model_in_every_family(family, spelling, encoder_of):
    whole, outline, run = trained(encoder_of(family), spelling, None)
    assert run._depth == 0
    memory = PrefixMemory(FEATURES)
    short, _, run = trained(encoder_of(family), spelling, memory)
    assert memory.depths, "no state was ever remembered"
    assert run._depth == outline.frozen_depth(strategy_named(spelling).plan(outline).ever_trainable)
    first, second = weights_of(whole), weights_of(short)
    assert farthest(parts(first, outline.head), parts(second, outline.head)) <= (
        1e-5 if spelling == "gradual" else 1e-6
    )
    assert farthest(first, second) <= 1e-4
    logits = [np.stack(logits_of(model, FEATURES, runtime=RUNTIME)) for model in (whole, short)]
    assert np.array_equal(*(each.argmax(1) for each in logits))


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("sequence", HeadSettings("mean")),
        ("sequence", HeadSettings("first", 2)),
        ("sequence", HeadSettings("mean", 3)),
        ("token", HeadSettings()),
        ("token", HeadSettings("tokens", 2)),
        ("token", HeadSettings("tokens", 3, mixed=True, network="bilstm")),
    ],
    ids=str,
)
@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_every_head_reads_the_same_from_remembered_states(family, kind, head, encoder_of):
    features = FEATURES if kind == "sequence" else TOKENS
    whole, outline, _ = trained(encoder_of(family), "head-only", None, features=features, kind=kind, head=head)
    memory = PrefixMemory(features)
    short, _, run = trained(encoder_of(family), "head-only", memory, features=features, kind=kind, head=head)
    assert run._depth == outline.depth
    assert farthest(weights_of(whole), weights_of(short)) <= 1e-6


def serves(memory, model, outline, depth, **options):
    return memory.serves(model, outline, depth=depth, runtime=options.pop("runtime", RUNTIME), **options)


def test_a_cold_and_a_warm_memory_give_the_same_bits(encoder_of):
    memory = PrefixMemory(FEATURES)
    cold, _, _ = trained(encoder_of("bert"), "last-k:k=2", memory)
    again, _, _ = trained(encoder_of("bert"), "last-k:k=2", memory)
    wide = PrefixMemory(FEATURES)
    trained(encoder_of("bert"), "head-only", wide)  # computes every depth
    other, _, _ = trained(encoder_of("bert"), "last-k:k=2", wide)
    assert differing(weights_of(cold), weights_of(again)) == set() == differing(weights_of(cold), weights_of(other))


def test_the_memory_limit_is_kept_and_the_lowest_depths_are_forgotten_first(encoder_of):
    model, outline = make_model(encoder_of("bert"))
    size = sum(feature.length for feature in FEATURES) * 32 * 4
    for depths, limit in [(0, size - 1), (1, size), (2, 2 * size + 1), (3, 3 * size)]:
        memory = PrefixMemory(FEATURES, limit_bytes=limit)
        assert serves(memory, model, outline, 3, also=frozenset({2, 0})) == bool(depths)
        held = sum(state.numel() * 4 for states in memory._states.values() for state in states)
        assert held == size * depths
        assert len(memory.depths) == depths
    memory = PrefixMemory(FEATURES, limit_bytes=2 * size)
    assert serves(memory, model, outline, 3, also=frozenset({1}))
    assert memory.depths == {1, 3}
    assert serves(memory, model, outline, 2)
    assert memory.depths == {2, 3}


def test_with_no_frozen_layer_nothing_is_remembered(encoder_of):
    model, outline = make_model(encoder_of("bert"))
    memory = PrefixMemory(FEATURES)
    assert not serves(memory, model, outline, 0)
    assert not memory.depths


def test_states_are_never_served_to_a_model_with_another_prefix(encoder_of):
    memory = PrefixMemory(FEATURES)
    model, outline = make_model(encoder_of("bert"))
    assert serves(memory, model, outline, 3)
    assert serves(memory, *make_model(encoder_of("bert"), seed=9), 3), "another head on the same prefix is served"
    assert serves(memory, *make_model(encoder_of("bert"), head=HeadSettings("mean")), 3), "so is another class"
    assert not serves(memory, *make_model(encoder_of("bert"), weights="random"), 3), "another encoder of the same class"
    with torch.no_grad():
        dict(model.named_parameters())[outline.layers[1][0]].view(-1)[0] += 1e-6
    assert serves(memory, model, outline, 1), "the layers below the changed one are the same"
    assert not serves(memory, model, outline, 2)
    assert not serves(memory, model, outline, 3)
    with torch.no_grad():
        dict(model.named_parameters())[outline.embeddings[0]].view(-1)[0] += 1e-6
    assert not serves(memory, model, outline, 1)


def test_states_of_one_precision_are_not_served_in_another(encoder_of):
    memory = PrefixMemory(FEATURES)
    model, outline = make_model(encoder_of("bert"))
    assert serves(memory, model, outline, 3)
    assert not serves(memory, model, outline, 3, runtime=Runtime("cpu", 1, "bf16-autocast"))


def test_a_model_that_has_learned_leaves_nothing_of_its_own_in_the_memory(encoder_of):
    memory = PrefixMemory(FEATURES)
    model, outline, _ = trained(encoder_of("bert"), "last-k:k=2", None)
    assert serves(memory, model, outline, 1)  # as after a resumed start, with an empty memory
    assert memory.depths == {1}
    assert serves(memory, *make_model(encoder_of("bert")), 3), "depths above are computed from the pretrained weights"
    full, outline, _ = trained(encoder_of("bert"), "full", memory)
    assert not serves(memory, full, outline, 3)


def test_a_layer_that_learned_and_is_frozen_again_is_not_taken_from_memory(encoder_of):
    memory = PrefixMemory(FEATURES)
    pretrained, outline = make_model(encoder_of("bert"))
    assert serves(memory, pretrained, outline, 3)
    head = Group(outline.head)
    plan = Plan((Stage(0.0, (Group(outline.layers[1]), head)), Stage(0.5, (head,))))
    finished = []
    for some in (memory, None):
        model, _ = make_model(encoder_of("bert"))
        run = Run(model, outline, plan=plan, settings=SETTINGS, data=make_data(FEATURES, some), runtime=RUNTIME)
        run.run()
        finished.append(weights_of(model))
        assert run._depth == (1 if some else 0)
    assert farthest(*finished) <= 1e-4


def test_a_random_encoder_never_uses_the_memory(encoder_of):
    memory = PrefixMemory(FEATURES)
    model, outline = make_model(encoder_of("bert"), weights="random")
    plan = Plan(one_stage(outline.head).stages, encoder_weights="random")
    Run(model, outline, plan=plan, settings=THREE_EPOCHS, data=make_data(FEATURES, memory), runtime=RUNTIME).run()
    assert not memory.depths


def test_a_model_whose_shortened_logits_differ_is_run_whole(encoder_of, monkeypatch):
    model, outline = make_model(encoder_of("bert"))
    memory = PrefixMemory(FEATURES)
    real = memory._compute

    def broken(*args):
        real(*args)
        memory._states[3] = [state * 1.01 for state in memory._states[3]]

    monkeypatch.setattr(memory, "_compute", broken)
    assert not serves(memory, model, outline, 3)


def test_padding_is_part_of_the_agreement_check(encoder_of, monkeypatch):
    model, outline = make_model(encoder_of("bert"))
    memory = PrefixMemory(FEATURES)
    seen = []
    monkeypatch.setattr(memory, "skipping", lambda *a, places, **k: seen.append(places) or torch.no_grad())
    memory._states = {key: [] for key in (1, 2, 3)}
    memory._made_with = {}
    memory._agrees(model, outline, 3, RUNTIME)
    assert len({FEATURES[place].length for place in seen[0]}) > 3


def test_the_model_is_itself_again_after_an_error_while_layers_were_skipped(encoder_of):
    model, outline = make_model(encoder_of("deberta-v2"))
    memory = PrefixMemory(FEATURES)
    expected = logits_of(model, FEATURES, runtime=RUNTIME)
    assert serves(memory, model, outline, 2)
    modes = {name: module.training for name, module in model.named_modules()}
    with pytest.raises(ZeroDivisionError), memory.skipping(model, outline, depth=2, places=[0, 1]):
        raise ZeroDivisionError
    assert {name: module.training for name, module in model.named_modules()} == modes
    layers = model.get_submodule(outline.stack)
    assert not any("forward" in vars(layer) or layer._forward_pre_hooks or layer._forward_hooks for layer in layers)
    for before, after in zip(expected, logits_of(model, FEATURES, runtime=RUNTIME), strict=True):
        assert np.array_equal(before, after)


def test_states_are_looked_up_by_place_and_not_by_position(encoder_of):
    model, outline = make_model(encoder_of("bert"))
    memory = PrefixMemory(FEATURES)
    assert serves(memory, model, outline, 3)
    places = [7, 2, 19, 4, 11]
    chosen = [FEATURES[place] for place in places]
    start = Start(memory, outline, 3, places)
    whole = np.stack(logits_of(model, chosen, runtime=RUNTIME))
    short = np.stack(logits_of(model, chosen, runtime=RUNTIME, start=start))
    assert np.abs(whole - short).max() <= 1e-5
