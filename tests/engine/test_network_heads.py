"""Heads that are more than one linear layer train in the loop, from remembered states where the encoder is frozen."""

import pytest

from runs import RUNTIME, SETTINGS, batch_gradients, differing, make_data, make_features, make_model, weights_of
from runs import without_dropout as still
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.engine.checkpoints import Checkpoints
from unfreeze.engine.prefix import PrefixMemory
from unfreeze.engine.training import Run, Watch
from unfreeze.errors import Interrupted
from unfreeze.strategies import strategy_named
from unfreeze.tasks import IGNORED

HEADS = [
    ("sequence", HeadSettings("mean", 2, mixed=True)),
    ("sequence", HeadSettings("mean", 3, network="mlp")),
    ("token", HeadSettings("tokens", 2, mixed=True, network="bilstm")),
]


def prepared(encoder, kind, head, *, folder=None):
    features = make_features(24, kind)
    model, outline = make_model(encoder, kind, head=head)
    plan = strategy_named("head-only").plan(outline)
    data = make_data(features, PrefixMemory(features))
    checkpoints = Checkpoints(folder, {}) if folder else None
    return model, Run(model, outline, plan=plan, settings=SETTINGS, data=data, runtime=RUNTIME, checkpoints=checkpoints)


@pytest.mark.parametrize(("kind", "head"), HEADS, ids=str)
def test_an_interrupted_run_goes_on_bit_for_bit_and_a_repeated_one_is_the_same(kind, head, encoder_of, tmp_path):
    first, run = prepared(encoder_of("bert"), kind, head)
    before = weights_of(first)
    state = run.run()
    assert run._depth == 3, "it starts from remembered states"
    assert state.curve[-1]["train_loss"] < state.curve[0]["train_loss"]
    moved = differing(before, weights_of(first))
    assert moved == run._plan.ever_trainable
    again, run = prepared(encoder_of("bert"), kind, head)
    run.run()
    assert differing(weights_of(first), weights_of(again)) == set()
    asked = iter(range(1000))
    _, run = prepared(encoder_of("bert"), kind, head, folder=tmp_path)
    with pytest.raises(Interrupted):
        run.run(Watch(stop=lambda: next(asked) == 5))
    resumed, run = prepared(encoder_of("bert"), kind, head, folder=tmp_path)
    assert run.run().curve == state.curve
    assert differing(weights_of(first), weights_of(resumed)) == set()


def test_a_packed_batch_gives_a_bilstm_the_gradients_of_each_text_alone(encoder_of):
    features = make_features(4, "token", longest=12)
    number = sum(target != IGNORED for feature in features for target in feature.targets)

    def gradients(most_tokens):
        model, outline = make_model(still(encoder_of("bert")), "token", head=HeadSettings("tokens", network="bilstm"))
        ours = batch_gradients(model, outline)
        assert ours.way == "packed"
        ours.most_tokens = most_tokens
        ours.add(features, start=None, number=number)
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, outline

    (together, outline), (alone, _) = gradients(1000), gradients(1)
    assert together.keys() == alone.keys() > set(outline.head)
    largest = max(float(gradient.abs().max()) for gradient in alone.values())
    for name, gradient in alone.items():
        assert float((together[name] - gradient).abs().max()) <= 1e-5 * largest, name
