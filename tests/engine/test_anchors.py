"""Weight decay towards where the encoder started; that its steps are right is tested against a loop by hand."""

from dataclasses import replace

import pytest

from runs import RUNTIME, SETTINGS, differing, make_data, make_features, make_model, weights_of
from unfreeze.encoders.reading_outline import read_outline
from unfreeze.engine.anchors import anchored_names
from unfreeze.engine.checkpoints import Checkpoints
from unfreeze.engine.settings import CHOICES
from unfreeze.engine.training import Run, Watch
from unfreeze.errors import Interrupted
from unfreeze.strategies import install, strategy_named

BACK = replace(SETTINGS, weight_decay=1.0, weight_decay_towards="pretrained")


def names(encoder, spelling, settings=BACK):
    """What decays towards its start under a strategy, and the outline."""
    strategy = strategy_named(spelling)
    model, _ = make_model(encoder)
    added = install(strategy, model, encoder=encoder, seed=0)
    outline = replace(read_outline(model), added=added)
    return anchored_names(outline, strategy.plan(outline), settings=settings), outline


def test_what_was_pretrained_and_learns_decays_towards_its_start_and_nothing_else(encoder_of):
    bert = encoder_of("bert")
    found, outline = names(bert, "full")
    assert found == set(outline.encoder)
    assert not names(bert, "scratch")[0], "its start is random"
    assert not names(bert, "head-only")[0]
    assert not names(bert, "full", SETTINGS)[0]
    assert not names(bert, "full", replace(BACK, weight_decay=0.0))[0]
    assert names(bert, "last-k:k=1")[0] == {*outline.layers[-1], *outline.top}
    assert names(bert, "reinit")[0] == set(outline.encoder) - {*outline.layers[-1], *outline.top}


@pytest.mark.parametrize("spelling", ["adapters", "lora"])
def test_what_a_strategy_adds_decays_towards_zero_which_is_the_pretrained_encoder(spelling, encoder_of):
    if spelling == "lora":
        pytest.importorskip("peft")
    found, outline = names(encoder_of("bert"), spelling)
    assert outline.added
    assert all("adapter_" in name or ".lora_" in name for name in outline.added)
    assert not found & set(outline.added)


def run_of(encoder, settings, folder=None, spelling="full"):
    model, outline = make_model(encoder)
    plan = strategy_named(spelling).plan(outline)
    checkpoints = Checkpoints(folder, {}) if folder else None
    run = Run(
        model, outline, plan=plan, settings=settings, data=make_data(make_features(32)), runtime=RUNTIME,
        checkpoints=checkpoints,
    )  # fmt: skip
    return model, outline, run


def test_the_stronger_the_pull_the_nearer_the_encoder_stays(encoder_of):
    moved = {}
    for decay in (0.01, 20.0):
        model, outline, run = run_of(encoder_of("bert"), replace(BACK, weight_decay=decay))
        run._is_best = lambda row: True
        before = weights_of(model)
        run.run()
        after = weights_of(model)
        moved[decay] = sum(float((after[n] - before[n]).norm()) for n in outline.encoder if before[n].ndim > 1)
    assert moved[20.0] < 0.8 * moved[0.01]


@pytest.mark.parametrize("optim", CHOICES["optim"])
@pytest.mark.parametrize("spelling", ["full", "gradual"])
def test_a_run_that_decays_towards_its_start_goes_on_bit_for_bit(spelling, optim, encoder_of, tmp_path):
    settings = replace(BACK, optim=optim)
    whole, _, run = run_of(encoder_of("bert"), settings, spelling=spelling)
    state = run.run()
    _, _, first = run_of(encoder_of("bert"), settings, tmp_path, spelling)
    asked = iter(range(100))
    with pytest.raises(Interrupted):
        first.run(Watch(stop=lambda: next(asked) == 9))
    resumed, _, run = run_of(encoder_of("bert"), settings, tmp_path, spelling)
    assert run.run().curve == state.curve
    assert differing(weights_of(whole), weights_of(resumed)) == set()


def test_decay_towards_zero_is_what_it_was(encoder_of):
    _, _, run = run_of(encoder_of("bert"), SETTINGS)
    assert {group["pull"] for group in run._optimizer.param_groups} == {0.0}
    assert not run._anchors._starts
