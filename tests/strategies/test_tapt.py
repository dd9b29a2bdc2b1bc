"""Further pretraining, then another way: what learns when, at which rates, and what it leaves behind."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from runs import RUNTIME, SETTINGS, differing, make_data, make_features, make_model, weights_of
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.encoders.masked_head import detach_masked_head
from unfreeze.encoders.reading_outline import read_outline
from unfreeze.engine.batches import collate
from unfreeze.engine.checkpoints import Checkpoints
from unfreeze.engine.prefix import PrefixMemory
from unfreeze.engine.training import Run, Watch
from unfreeze.errors import Interrupted, SettingsError, UnknownName
from unfreeze.strategies import STRATEGIES, install, merged, spelling_of, strategy_named

FEATURES = {kind: make_features(32, kind, longest=12) for kind in ("sequence", "token")}


def prepared(encoder, spelling, kind="sequence", head="standard"):
    strategy = strategy_named(spelling)
    model, _ = make_model(encoder, kind, head=HeadSettings(head))
    install(strategy, model, encoder=encoder, seed=0)
    outline = read_outline(model)
    return model, outline, strategy.plan(outline)


def trained(encoder, spelling, kind="sequence", *, head="standard", memory=True, **changes):
    model, outline, plan = prepared(encoder, spelling, kind, head)
    data = make_data(FEATURES[kind], PrefixMemory(FEATURES[kind]) if memory else None)
    settings = replace(SETTINGS, **changes)
    state = Run(model, outline, plan=plan, settings=settings, data=data, runtime=RUNTIME).run()
    return model, outline, plan, state


def test_the_other_way_s_stages_fill_what_is_left_at_the_rates_they_would_have(encoder_of):
    _, outline, plan = prepared(encoder_of("bert"), "tapt:then=gradual:until=0.4/decay=0.5,until=0.6")
    other = strategy_named("gradual:until=0.4,decay=0.5").plan(outline).stages
    warming, further, *later = plan.stages
    assert [stage.start for stage in plan.stages[:2]] == [0.0, 0.1]
    assert warming.trainable == set(outline.auxiliary)
    assert further.trainable == {*outline.encoder, *outline.auxiliary} - {*outline.top}
    assert {(s.objective.task, s.objective.masked) for s in (warming, further)} == {(0.0, 1.0)}
    assert further.objective.masking.unit == "word"
    assert len(later) == len(other)
    for ours, theirs in zip(later, other, strict=True):
        assert ours.start == pytest.approx(0.6 + 0.4 * theirs.start)
        assert ours.objective == theirs.objective
        # At a point of its own course the linear schedule has fallen to (1 - until) of what it would be alone.
        scales = {name: 0.4 * scale for name, scale in ours.lr_scales.items()}
        assert scales == pytest.approx(theirs.lr_scales)


def test_the_other_way_s_gates_are_asked(encoder_of):
    _, outline, plan = prepared(encoder_of("bert"), "tapt:then=staged")
    assert [stage.gate for stage in plan.stages[2:]] == [s.gate for s in strategy_named("staged").plan(outline).stages]
    assert plan.stages[-1].gate is not None


@pytest.mark.parametrize("then", ["full", "head-only", "last-k", "lp-ft", "gradual"])
def test_the_other_way_is_searched_as_alone_and_further_pretraining_learns_at_1e_4(then, encoder_of):
    ours, alone = strategy_named(f"tapt:then={then}").search, STRATEGIES[then].search
    same = ("learning_rate", "reads_layers", "kind", "batch_sizes")
    assert [getattr(ours, name) for name in same] == [getattr(alone, name) for name in same]
    assert (ours.num_train_epochs, ours.min_steps) == (2 * alone.num_train_epochs, 2 * alone.min_steps)
    _, outline, plan = prepared(encoder_of("bert"), f"tapt:then={then}")
    middle = np.sqrt(np.prod(alone.learning_rate))
    scales = plan.stages[1].lr_scales
    assert scales[outline.embeddings[0]] * middle == pytest.approx(1e-4, rel=0.01)
    assert scales[outline.auxiliary[0]] * middle == pytest.approx(1e-3, rel=0.01)
    assert plan.calibrated == strategy_named(then).plan(outline).calibrated


def test_its_usual_range_is_what_the_list_of_ways_says():
    assert strategy_named("tapt").search == STRATEGIES["tapt"].search
    assert strategy_named("tapt:until=0.75").search.num_train_epochs == 32


@pytest.mark.parametrize("spelling", ["tapt:then=last-k:k=1", "tapt:then=lora:r=4/lora_alpha=8,unit=span"])
def test_its_spelling_names_it(spelling):
    assert spelling_of(strategy_named(spelling)) == spelling
    assert strategy_named(spelling_of(strategy_named(spelling))) == strategy_named(spelling)


@pytest.mark.parametrize(
    ("spelling", "said"),
    [
        ("tapt:then=scratch", "a way that can follow"),
        ("tapt:then=untouched", "a way that can follow"),
        ("tapt:then=tapt", "a way that can follow"),
        ("tapt:then=entity-mask", "hides tokens itself"),
        ("tapt:then=reinit", "would forget the pretraining"),
        ("tapt:unit=entity", '"word" or "span"'),
        ("tapt:unit=token", '"span"; got'),
        ("tapt:share=0", "share of the units"),
        ("tapt:warm_up=0.6", "0 < warm_up < until < 1"),
        ("tapt:until=1", "0 < warm_up < until < 1"),
    ],
)
def test_what_makes_no_sense_is_refused(spelling, said, encoder_of):
    with pytest.raises(SettingsError, match=said):
        prepared(encoder_of("bert"), spelling, "token")
    with pytest.raises(UnknownName, match="no strategy named 'ful'"):
        strategy_named("tapt:then=ful")


@pytest.mark.parametrize(
    ("unit", "kind", "head"),
    [("word", "sequence", "mean"), ("span", "sequence", "standard"), ("word", "token", "standard")],
)
def test_hidden_words_are_learned_to_be_predicted(unit, kind, head, encoder_of):
    settings = {"num_train_epochs": 12, "learning_rate": 2e-3, "patience": 99}
    model, outline, plan, state = trained(encoder_of("bert"), f"tapt:unit={unit}", kind, head=head, **settings)
    assert state.masked["after"]["tokens"] == state.masked["before"]["tokens"] > 0
    assert state.masked["after"]["loss"] < state.masked["before"]["loss"]
    assert state.best_epoch > 6, "before half of training the head has learned nothing"
    before, _ = make_model(encoder_of("bert"), kind, head=HeadSettings(head))
    detach_masked_head(model)
    assert differing(weights_of(before), weights_of(model)) == plan.ever_trainable - set(outline.auxiliary)


def test_how_well_words_are_predicted_is_measured_where_further_pretraining_ends(encoder_of):
    """What follows unlearns it; and an early stop after it changes nothing of it."""
    found = [
        trained(encoder_of("bert"), f"tapt:then={then}", num_train_epochs=6, learning_rate=1e-3)[-1].masked
        for then in ("full", "last-k:k=1")
    ]
    scale = strategy_named("tapt:then=last-k:k=1").search.learning_rate
    assert scale != strategy_named("tapt").search.learning_rate  # so the two were pretrained at different rates
    assert found[0]["before"] == found[1]["before"]
    stopped = trained(encoder_of("bert"), "tapt", num_train_epochs=6, learning_rate=1e-3, stop_after=4)[-1]
    assert stopped.masked["after"] == found[0]["after"]


@pytest.mark.parametrize("then", ["head-only", "last-k:k=1"])
def test_what_is_frozen_after_it_has_learned_is_not_read_from_memory(then, encoder_of):
    """The memory holds what the untouched layers gave; these layers have learned and stand still again."""
    changes = {"num_train_epochs": 6, "learning_rate": 2e-3}
    remembering = trained(encoder_of("bert"), f"tapt:then={then}", memory=True, **changes)
    without = trained(encoder_of("bert"), f"tapt:then={then}", memory=False, **changes)
    scores = [[row["score"] for row in run[-1].curve[3:]] for run in (remembering, without)]
    assert scores[0] == scores[1]
    assert not differing(weights_of(remembering[0]), weights_of(without[0]))
    frozen = set(remembering[1].layers[0])
    assert frozen <= remembering[2].ever_trainable
    assert not frozen & remembering[2].stages[-1].trainable


@pytest.mark.parametrize("then", ["lora:r=4", "adapters:size=4"])
def test_what_the_other_way_adds_waits_for_it_and_is_handed_over_as_it_would(then, encoder_of):
    strategy = strategy_named(f"tapt:then={then}")
    model, outline, plan = prepared(encoder_of("bert"), f"tapt:then={then}")
    added = [name for name in outline.encoder if ".lora_" in name or ".adapter_" in name]
    assert added
    assert not plan.stages[1].trainable & set(added)
    assert plan.stages[-1].trainable >= set(added)
    assert plan.stages[1].trainable >= set(outline.embeddings)
    settings = replace(SETTINGS, num_train_epochs=2)
    Run(model, outline, plan=plan, settings=settings, data=make_data(FEATURES["sequence"]), runtime=RUNTIME).run()
    detach_masked_head(model)
    batch = collate(FEATURES["sequence"][:8], pad_token_id=0, device="cpu")
    whole = merged(strategy, model.eval())
    assert type(whole) is type(merged(strategy_named(then), model))
    with torch.inference_mode():
        np.testing.assert_allclose(model(**batch).logits, whole(**batch).logits, rtol=1e-4, atol=1e-5)


def run_beside(encoder, unlabelled, *, folder=None, stop=None, settings=SETTINGS):
    """A run that also reads texts without labels; interrupted before a step where one is given."""
    model, outline, plan = prepared(encoder, "tapt")
    data = replace(make_data(FEATURES["sequence"]), unlabelled=unlabelled)
    checkpoints = Checkpoints(folder, {}) if folder else None
    run = Run(model, outline, plan=plan, settings=settings, data=data, runtime=RUNTIME, checkpoints=checkpoints)
    if stop is None:
        return model, run.run()
    asked = iter(range(10_000))
    with pytest.raises(Interrupted):
        run.run(Watch(stop=lambda: next(asked) == stop))
    return model, run._state


@pytest.mark.parametrize("step", [1, 5, 9])
def test_a_run_that_reads_texts_without_labels_goes_on_bit_for_bit(step, encoder_of, tmp_path):
    unlabelled = make_features(17, seed=5)
    whole, state = run_beside(encoder_of("bert"), unlabelled)
    run_beside(encoder_of("bert"), unlabelled, folder=tmp_path, stop=step)
    resumed, again = run_beside(encoder_of("bert"), unlabelled, folder=tmp_path)
    assert not differing(weights_of(whole), weights_of(resumed))
    assert (asdict(again) | {"seconds": 0}) == (asdict(state) | {"seconds": 0})


def test_texts_without_labels_are_learned_from_in_further_pretraining_and_counted(encoder_of):
    one, other = make_features(17, seed=5), make_features(17, seed=6)
    runs = [run_beside(encoder_of("bert"), features) for features in ((), one, other)]
    moved = [differing(weights_of(runs[0][0]), weights_of(model)) for model, _ in runs[1:]]
    assert all(moved)
    assert differing(weights_of(runs[1][0]), weights_of(runs[2][0]))
    assert [state.masked["after"]["unlabelled"] for _, state in runs] == [0, 17, 17]
    assert [state.masked["before"]["unlabelled"] for _, state in runs] == [0, 0, 0]
    many = run_beside(encoder_of("bert"), make_features(900, seed=5))[1].masked["after"]["unlabelled"]
    steps = SETTINGS.steps_per_epoch(24) * SETTINGS.num_train_epochs // 2
    assert many == steps * SETTINGS.per_device_train_batch_size
    floors = [state.masked["after"]["unigram_loss"] for _, state in runs]
    assert len(set(floors)) == 3, "who guesses by frequency has read them, too"
