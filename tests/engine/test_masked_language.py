"""A step that also predicts what is hidden: its gradient, its figures, and the plans that ask for it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from runs import (
    RUNTIME,
    SETTINGS,
    differing,
    farthest,
    make_data,
    make_features,
    make_model,
    weights_of,
    without_dropout,
)
from unfreeze.encoders.masked_head import attach_masked_head, masked_head_of
from unfreeze.encoders.reading_outline import read_outline
from unfreeze.engine.batches import collate, collate_targets
from unfreeze.engine.dropout import Dropout
from unfreeze.engine.masked_language import _DRAW, MaskedLanguage
from unfreeze.engine.masking import masked
from unfreeze.engine.stages import enter_stage
from unfreeze.engine.training import Run
from unfreeze.errors import SettingsError
from unfreeze.plan import TASK, Group, Masking, Objective, Plan, Stage, one_stage
from unfreeze.strategies import strategy_named
from unfreeze.tasks import IGNORED

FEATURES = make_features(32, "token", longest=12)
MASKING = Masking("entity", 0.5)


def with_head(encoder: Any) -> tuple[Any, Any]:
    model, _ = make_model(encoder, "token")
    attach_masked_head(model, encoder, seed=0)
    return model, read_outline(model)


def language(model: Any, outline: Any, *, seed: int = 0) -> MaskedLanguage:
    dropout = Dropout(model, seed=seed)
    return MaskedLanguage(model, outline, masking=MASKING, runtime=RUNTIME, dropout=dropout, seed=seed)


@pytest.mark.parametrize("family", ["bert", "deberta-v2", "modernbert"])
def test_the_gradient_is_that_of_the_weighted_mean_loss_over_hidden_tokens(family: str, encoder_of: Any) -> None:
    model, outline = with_head(without_dropout(encoder_of(family)))
    enter_stage(model, outline, stage=one_stage(outline.names).stages[0])
    head, weight, some = masked_head_of(model), 0.3, FEATURES[:8]
    assert head is not None
    loss = language(model, outline).add(some, step=5, weight=weight)
    ours = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    draw = np.random.default_rng([0, 5, _DRAW])
    hidden = masked(some, MASKING, mask_token_id=head.mask_token_id, usable=head.usable.numpy(), draw=draw)
    states = model.base_model(**collate(hidden, pad_token_id=0, device="cpu"))[0]
    targets = collate_targets(hidden, "cpu")
    expected = cross_entropy(head(states[targets != IGNORED]), targets[targets != IGNORED])
    (weight * expected).backward()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-4)
    theirs = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert set(theirs) <= set(ours)
    largest = max(float(gradient.abs().max()) for gradient in theirs.values())
    for name, gradient in theirs.items():
        assert torch.allclose(ours[name], gradient, atol=1e-4 * largest), name


def test_texts_without_an_entity_add_nothing(encoder_of: Any) -> None:
    model, outline = with_head(encoder_of("bert"))
    enter_stage(model, outline, stage=one_stage(outline.names).stages[0])
    plain = [replace(feature, spans=()) for feature in FEATURES[:4]]
    assert language(model, outline).add(plain, step=0, weight=1.0) == 0.0
    assert all(p.grad is None for p in model.parameters())


def test_what_is_measured_is_the_same_whenever_it_is_asked_and_beside_a_floor(encoder_of: Any) -> None:
    model, outline = with_head(encoder_of("bert"))
    model.train()
    first = language(model, outline).measured(FEATURES[:24], FEATURES[24:])
    assert first == language(model, outline, seed=7).measured(FEATURES[:24], FEATURES[24:])
    assert model.training
    assert first["new_head"]
    assert first["tokens"] > 0
    assert first["loss"] > 0
    assert 0 < first["unigram_loss"] < np.log(model.config.vocab_size) + 1
    nothing = language(model, outline).measured(FEATURES, [replace(f, spans=()) for f in FEATURES])
    assert (nothing["tokens"], nothing["loss"], nothing["unigram_loss"]) == (0, None, None)


def test_a_plan_that_masks_needs_a_head_for_it(encoder_of: Any) -> None:
    model, outline = make_model(encoder_of("bert"), "token")
    with pytest.raises(SettingsError, match="masked-language-model head"):
        language(model, outline)


@pytest.mark.parametrize("spelling", ["entity-mask", "entity-mask:when=before"])
def test_hidden_entities_are_learned_to_be_predicted(spelling: str, encoder_of: Any) -> None:
    model, outline = with_head(encoder_of("bert"))
    plan = strategy_named(spelling).plan(outline)
    settings = replace(SETTINGS, num_train_epochs=12, learning_rate=2e-3, patience=99)
    before = weights_of(model)
    state = Run(model, outline, plan=plan, settings=settings, data=make_data(FEATURES), runtime=RUNTIME).run()
    assert state.masked["after"]["loss"] < state.masked["before"]["loss"]
    assert state.masked["after"]["unigram_loss"] == state.masked["before"]["unigram_loss"]
    assert differing(before, weights_of(model)) <= plan.ever_trainable


def test_further_pretraining_leaves_the_task_s_head_alone_and_tagging_the_other(encoder_of: Any) -> None:
    _, outline = with_head(encoder_of("bert"))
    warming, further, tagging = strategy_named("entity-mask:when=before").plan(outline).stages
    assert warming.trainable == set(outline.auxiliary)
    assert further.trainable == {*outline.encoder, *outline.auxiliary}
    assert tagging.trainable == {*outline.encoder, *outline.head}
    assert [stage.objective.task for stage in (warming, further, tagging)] == [0.0, 0.0, 1.0]
    assert [stage.objective.masked for stage in (warming, further, tagging)] == [1.0, 1.0, 0.0]
    joint = strategy_named("entity-mask").plan(outline).stages[1]
    assert joint.trainable == {*outline.encoder, *outline.head, *outline.auxiliary}
    assert (joint.objective.task, joint.objective.masked) == (1.0, 0.1)
    assert joint.lr_scales[outline.auxiliary[0]] == 10.0


@pytest.mark.parametrize(
    ("spelling", "said"),
    [
        ("entity-mask:when=later", '"joint" or "before"'),
        ("entity-mask:weight=0", "weight must lie above 0"),
        ("entity-mask:warm_up=0.5", "0 < warm_up < until < 1"),
        ("entity-mask:share=2", "share of the units"),
    ],
)
def test_settings_outside_their_range_are_refused(spelling: str, said: str, encoder_of: Any) -> None:
    with pytest.raises(SettingsError, match=said):
        strategy_named(spelling).plan(make_model(encoder_of("bert"), "token")[1])


@pytest.mark.parametrize("family", ["bert", "mpnet"])
def test_with_next_to_no_weight_the_tagging_is_learned_as_without_it(family: str, encoder_of: Any) -> None:
    """The second pass adds its gradient, and changes nothing of the first one's: neither dropout nor word rows."""

    def taught(masked: float) -> dict[str, torch.Tensor]:
        model, outline = with_head(encoder_of(family))
        everything = Group((*outline.encoder, *outline.head))
        objective = Objective(1.0, masked, MASKING) if masked else TASK
        plan = Plan((Stage(0.0, (everything,), objective),))
        Run(model, outline, plan=plan, settings=SETTINGS, data=make_data(FEATURES), runtime=RUNTIME).run()
        return {name: weight for name, weight in weights_of(model).items() if name in everything.names}

    plain, both, heavy = taught(0.0), taught(1e-12), taught(1.0)
    assert farthest(plain, both) < 1e-5
    assert farthest(plain, heavy) > 1e-3
