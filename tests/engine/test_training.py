import math
from dataclasses import replace

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
    torch_optimizer,
    weights_of,
    without_dropout,
)
from unfreeze.engine.batches import MOST_TOKENS
from unfreeze.engine.checkpoints import Checkpoints
from unfreeze.engine.prediction import logits_of
from unfreeze.engine.training import Run, TrainingData, Watch
from unfreeze.errors import Interrupted, SettingsError
from unfreeze.plan import Group, Plan, Stage, one_stage
from unfreeze.strategies import strategy_named
from unfreeze.tasks import IGNORED, Feature

FEATURES = make_features(24)


def back_to_the_start(anchored, settings, rate):
    for parameter, start in anchored.items():
        distance = settings.weight_decay * (parameter.detach() - start)
        if settings.optim == "adamw":
            parameter.data -= rate * distance
        else:
            parameter.grad += distance


def reference(model, features, order_of_batches, *, settings, total):
    """The loop as anyone would write it with plain transformers: one padded call a step, a mean over all targets."""
    pulled = model.base_model.parameters() if settings.weight_decay_towards == "pretrained" else ()
    anchored = {p: p.detach().clone() for p in pulled if p.ndim > 1}
    decaying = [p for p in model.parameters() if p.ndim > 1 and p not in anchored]
    others = [p for p in model.parameters() if p.ndim <= 1 or p in anchored]
    groups = [{"params": decaying, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch_optimizer(groups, settings)
    weights = None
    if settings.class_weights == "balanced":
        shown = [t for f in features[:24] for t in f.targets if t != IGNORED]
        weights = torch.tensor([len(shown) / (3 * shown.count(label)) for label in range(3)])
    warm = 0.1 * total
    losses = []
    model.train()
    for step, batch in enumerate(order_of_batches):
        members = [features[i] for i in batch]
        longest = max(len(f.inputs["input_ids"]) for f in members)
        ids, mask, targets = [], [], []
        for f in members:
            missing = longest - len(f.inputs["input_ids"])
            ids.append([*f.inputs["input_ids"], *[model.config.pad_token_id] * missing])
            mask.append([1] * (longest - missing) + [0] * missing)
            targets.append([*f.targets, *[-100] * missing] if f.words else f.targets[0])
        logits = model(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask)).logits
        loss = cross_entropy(
            logits.reshape(-1, logits.shape[-1]),
            torch.tensor(targets).reshape(-1),
            weight=weights,
            label_smoothing=settings.label_smoothing_factor,
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        share = (step + 1) / (warm + 1) if step < warm else (total - step) / (total - warm)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * share
        back_to_the_start(anchored, settings, settings.learning_rate * share)
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


OTHER_WAYS = {
    "as usual": {},
    "Adam, smoothed": {"optim": "adam", "label_smoothing_factor": 0.1},
    "SGD, weighted": {"optim": "sgd", "learning_rate": 1e-2, "class_weights": "balanced"},
    "AdamW, both": {"label_smoothing_factor": 0.2, "class_weights": "balanced", "weight_decay": 0.3},
    "AdamW, to the start": {"weight_decay": 30.0, "weight_decay_towards": "pretrained"},
    "Adam, to the start": {"optim": "adam", "weight_decay": 0.3, "weight_decay_towards": "pretrained"},
    "SGD, to the start": {
        "optim": "sgd",
        "learning_rate": 1e-2,
        "weight_decay": 0.3,
        "weight_decay_towards": "pretrained",
    },
}


@pytest.mark.parametrize("way", OTHER_WAYS)
@pytest.mark.parametrize("one_part", [True, False], ids=["one part", "parts by length"])
@pytest.mark.parametrize("kind", ["sequence", "token"])
def test_twenty_steps_are_those_of_a_loop_written_by_hand(kind, one_part, way, encoder_of, monkeypatch):
    encoder, features = without_dropout(encoder_of("bert")), make_features(32, kind, longest=40)
    if one_part:
        monkeypatch.setattr("unfreeze.engine.batches.CALL_TOKENS", 10**6)
    settings = replace(SETTINGS, learning_rate=1e-3, num_train_epochs=5, per_device_train_batch_size=6)
    settings = replace(settings, **OTHER_WAYS[way])
    ours, outline = make_model(encoder, kind)
    data = TrainingData(features, range(24), (), lambda logits: 0.0)
    state = Run(ours, outline, plan=one_stage(outline.names), settings=settings, data=data, runtime=RUNTIME).run()
    theirs, _ = make_model(encoder, kind)
    orders = [np.random.default_rng([settings.seed, epoch]).permutation(24) for epoch in range(5)]
    batches = [order[i : i + 6] for order in orders for i in range(0, 24, 6)]
    losses = reference(theirs, features, batches, settings=settings, total=20)
    unseen = torch.ones(ours.config.vocab_size, dtype=torch.bool)
    unseen[[ours.config.pad_token_id, *(i for f in features[:24] for i in f.inputs["input_ids"])]] = False
    tables = [model.get_input_embeddings().weight.data for model in (ours, theirs, make_model(encoder, kind)[0])]
    assert torch.equal(tables[0][unseen], tables[2][unseen]), "words that the text never shows keep their values"
    tables[1][unseen] = tables[2][unseen]  # by hand they have decayed
    assert farthest(weights_of(ours), weights_of(theirs)) <= (1e-6 if one_part else 5e-6)
    if kind == "sequence" and settings.class_weights == "none":  # every batch has as many targets
        found = [row["train_loss"] for row in state.curve]
        assert found == pytest.approx(np.mean(np.reshape(losses, (5, 4)), axis=1).tolist(), rel=1e-5)


def make_run(encoder, *, spelling="full", settings=SETTINGS, data=None, folder=None, plan=None, kind="sequence"):
    model, outline = make_model(encoder, kind)
    plan = plan or strategy_named(spelling).plan(outline)
    checkpoints = Checkpoints(folder, {"run": spelling}) if folder else None
    data = data or make_data(FEATURES)
    return model, Run(model, outline, plan=plan, settings=settings, data=data, runtime=RUNTIME, checkpoints=checkpoints)


def test_a_batch_without_any_target_has_no_loss_and_no_gradient(encoder_of):
    features = [replace(f, targets=(IGNORED,) * f.length) for f in make_features(6, "token")]
    model, run = make_run(encoder_of("bert"), kind="token", data=make_data(features))
    run._enter_stage()
    assert run._gradients.add(features, start=None, number=0) == 0.0
    table = model.get_input_embeddings().weight
    learning = [parameter for group in run._optimizer.param_groups for parameter in group["params"]]
    assert len(learning) == len(list(model.parameters()))
    assert all(parameter is not table for parameter in learning), "its rows stand in its place"
    assert not any(parameter.grad.any() for parameter in learning)


def test_equal_runs_give_equal_bits_and_another_seed_gives_others(encoder_of):
    finished = []
    for seed in (0, 0, 1):
        model, run = make_run(encoder_of("bert"), settings=replace(SETTINGS, seed=seed, num_train_epochs=1))
        torch.rand(seed + len(finished))  # whatever the process has drawn before
        run.run()
        finished.append(weights_of(model))
    assert differing(finished[0], finished[1]) == set() != differing(finished[0], finished[2])


def test_a_run_leaves_the_random_numbers_of_the_process_as_they_were(encoder_of):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    make_run(encoder_of("bert"), settings=replace(SETTINGS, num_train_epochs=1))[1].run()
    assert torch.equal(torch.rand(3), expected)


def test_every_step_of_every_seed_draws_dropout_of_its_own(encoder_of):
    drawn = []
    for seed in (0, 1):
        _, run = make_run(encoder_of("bert"), settings=replace(SETTINGS, seed=seed, num_train_epochs=2))
        run.run(Watch(progress=lambda _: drawn.append(torch.initial_seed())))
    assert len(drawn) == len(set(drawn)) == 12


def scripted(scores):
    """A score for each epoch, whatever the model says."""
    given = iter(scores)
    return replace(make_data(FEATURES), score=lambda logits: next(given))


def test_the_best_epochs_weights_come_back_and_give_the_logged_score_bit_for_bit(encoder_of):
    data = make_data(FEATURES)
    asked = []

    def score(logits):
        asked.append([row.copy() for row in logits])
        return [0.1, 0.7, 0.3, 0.7][len(asked) - 1] if len(asked) <= 4 else math.nan

    model, run = make_run(encoder_of("bert"), data=replace(data, score=score))
    state = run.run()
    losses = [row["validation_loss"] for row in state.curve]
    assert state.best_epoch == (2 if losses[1] <= losses[3] else 4)
    again = logits_of(model, [FEATURES[place] for place in data.validation], runtime=RUNTIME)
    for before, after in zip(asked[state.best_epoch - 1], again, strict=True):
        assert np.array_equal(before, after)


def test_equal_scores_are_settled_by_the_lower_loss_and_then_by_the_earlier_epoch(encoder_of, monkeypatch):
    losses = iter([0.5, 0.4, 0.4, 0.6])
    monkeypatch.setattr("unfreeze.engine.training.summed_loss", lambda *_: (next(losses), 1))
    _, run = make_run(encoder_of("bert"), data=scripted([0.5] * 4))
    assert run.run().best_epoch == 2


def test_training_stops_after_so_many_epochs_without_a_better_score(encoder_of):
    settings = replace(SETTINGS, num_train_epochs=8, patience=2)
    _, run = make_run(encoder_of("bert"), settings=settings, data=scripted([0.1, 0.2, 0.1, 0.1, 0.9]))
    state = run.run()
    assert (state.epoch, state.best_epoch, len(state.curve)) == (4, 2, 4)


def test_a_run_is_not_given_up_while_its_rate_still_rises(encoder_of):
    settings = replace(SETTINGS, num_train_epochs=8, patience=1, warmup_steps=0.5)
    _, run = make_run(encoder_of("bert"), settings=settings, data=scripted([0.5] + [0.1] * 7))
    state = run.run()
    assert (state.epoch, state.best_epoch) == (5, 1)


def test_a_stage_that_is_yet_to_come_is_never_given_up(encoder_of):
    settings = replace(SETTINGS, num_train_epochs=8, patience=2)
    _, run = make_run(encoder_of("bert"), spelling="gradual", settings=settings, data=scripted([0.9] + [0.1] * 7))
    state = run.run()
    assert (state.epoch, state.best_epoch) == (6, 1)  # all is open from epoch 4 on, and has had its two epochs


def test_stop_after_ends_the_run_but_not_the_schedule(encoder_of):
    _whole, run = make_run(encoder_of("bert"), settings=replace(SETTINGS, stop_after=2))
    rates = []
    run.run(Watch(progress=lambda _: rates.append(run._optimizer.param_groups[0]["lr"])))
    expected = [SETTINGS.learning_rate * SETTINGS.rate_share(step, 12) for step in range(6)]
    assert rates == pytest.approx(expected)


def test_without_validation_the_last_weights_are_kept(encoder_of):
    data = TrainingData(FEATURES, range(18), (), lambda logits: math.nan)
    model, run = make_run(encoder_of("bert"), settings=replace(SETTINGS, patience=1), data=data)
    seen = []
    state = run.run(Watch(progress=lambda _: seen.append(weights_of(model))))
    assert (state.epoch, state.best_epoch) == (4, 0)
    assert len(seen) == 12
    assert differing(seen[-1], weights_of(model)) == set()


@pytest.mark.parametrize("what", ["loss", "gradient"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_stops_the_run_before_the_step(what, value, encoder_of, tmp_path, monkeypatch):
    model, run = make_run(encoder_of("bert"), folder=tmp_path)
    bad_step, before = 5, []
    add = run._gradients.add

    def poisoned(*args, **named):
        loss = add(*args, **named)
        before.append(weights_of(model))
        if len(before) < bad_step:
            return loss
        parameter = next(p for p in model.parameters() if p.grad is not None)
        parameter.grad.view(-1)[0] = value
        return value if what == "loss" else loss

    monkeypatch.setattr(run._gradients, "add", poisoned)
    monkeypatch.setattr(run, "_restore_best", lambda: None)
    state = run.run(Watch(checkpoint_seconds=-1))
    assert f"the {what} became {value} at step 5 of 12" in state.diverged
    assert len(before) == bad_step
    assert differing(before[-1], weights_of(model)) == set()
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    other, again = make_run(encoder_of("bert"), folder=tmp_path)
    again._resume()
    assert (again._state.epoch, again._state.batch, again._state.diverged) == (1, 1, None)
    assert differing(weights_of(other), before[-1]) == set()


def test_a_validation_loss_that_is_not_finite_stops_the_run_and_is_not_checkpointed(encoder_of, tmp_path, monkeypatch):
    totals = iter([1.0, math.nan])
    monkeypatch.setattr("unfreeze.engine.training.summed_loss", lambda *_: (next(totals), 1))
    _, run = make_run(encoder_of("bert"), folder=tmp_path)
    state = run.run(Watch(checkpoint_seconds=-1))
    assert state.diverged == "the validation loss became nan after epoch 2"
    assert (state.epoch, state.best_epoch, state.curve[-1]["validation_loss"]) == (2, 1, None)
    _, again = make_run(encoder_of("bert"), folder=tmp_path)
    again._resume()
    assert again._state.diverged is None


def test_progress_rises_to_one_and_each_epoch_is_told(encoder_of):
    fractions, rows = [], []
    _, run = make_run(encoder_of("bert"))
    state = run.run(Watch(progress=fractions.append, scored=rows.append))
    assert fractions == pytest.approx([(i + 1) / 12 for i in range(12)])
    assert [row.epoch for row in rows] == [1, 2, 3, 4] == [row["epoch"] for row in state.curve]
    assert [row["step"] for row in state.curve] == [3, 6, 9, 12]
    assert state.seconds > 0


def test_a_run_learns(encoder_of):
    features = [Feature(i, {"input_ids": [2, 10 + i % 3, 3], "attention_mask": [1] * 3}, (i % 3,)) for i in range(24)]
    settings = replace(SETTINGS, num_train_epochs=10)
    _, run = make_run(encoder_of("bert"), data=make_data(features), settings=settings)
    state = run.run()
    assert state.curve[-1]["train_loss"] < 0.6 * state.curve[0]["train_loss"]
    assert state.curve[state.best_epoch - 1]["score"] == 1.0


def test_seconds_are_added_up_over_interruptions(encoder_of, tmp_path):
    _, run = make_run(encoder_of("bert"), folder=tmp_path)
    asked = iter(range(100))
    with pytest.raises(Interrupted):
        run.run(Watch(stop=lambda: next(asked) == 4))
    _, again = make_run(encoder_of("bert"), folder=tmp_path)
    again._resume()
    assert again._state.seconds == run._state.seconds > 0


def test_a_run_remembers_that_memory_was_short_and_goes_on_in_the_same_parts(encoder_of, tmp_path, monkeypatch):
    model, run = make_run(encoder_of("bert"), folder=tmp_path)
    forward, largest = model.forward, []

    def small(**inputs):
        tokens = int(inputs["attention_mask"].sum())
        if tokens > 40:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        largest.append(tokens)
        return forward(**inputs)

    monkeypatch.setattr(model, "forward", small)
    asked = iter(range(100))
    with pytest.raises(Interrupted):
        run.run(Watch(stop=lambda: next(asked) == 2))
    assert largest
    _, again = make_run(encoder_of("bert"), folder=tmp_path)
    asked = iter(range(100))
    with pytest.raises(Interrupted):
        again.run(Watch(stop=lambda: next(asked) == 0))
    assert again._state.way == "narrowed"
    assert again._gradients.most_tokens == run._state.most_tokens < MOST_TOKENS


def test_a_plan_that_names_what_the_model_lacks_is_refused(encoder_of):
    plan = Plan((Stage(0.0, (Group(("classifier.weight", "adapter.down")),)),))
    with pytest.raises(SettingsError, match=r"trains 'adapter.down', which .* does not have"):
        make_run(encoder_of("bert"), plan=plan)[1].run()
