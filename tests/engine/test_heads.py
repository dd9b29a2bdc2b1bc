import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from runs import RUNTIME, make_data, make_features, make_model, torch_optimizer, without_dropout
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.engine import heads as heads_module
from unfreeze.engine.batches import order_of
from unfreeze.engine.head_features import LINE, HeadTable, features_of
from unfreeze.engine.heads import HeadRun, train_heads
from unfreeze.engine.loss import balanced_weights
from unfreeze.engine.prefix import PrefixMemory
from unfreeze.engine.runtime import Runtime
from unfreeze.engine.settings import CHOICES, TrainingSettings
from unfreeze.engine.training import Run, Watch
from unfreeze.errors import Interrupted
from unfreeze.strategies import strategy_named
from unfreeze.tasks import IGNORED

CLASSES = 3
SETTINGS = TrainingSettings(learning_rate=2e-2, num_train_epochs=4, per_device_train_batch_size=7, patience=9)


def make_table(features=30, *, by_token=False, width=21, dropout=0.0, seed=0):
    """Made-up rows the class of which can be read off them, in part; some tokens have no target."""
    chance = np.random.default_rng(seed)
    lengths = chance.integers(1, 9, features) if by_token else np.ones(features, dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    rows = torch.zeros(offsets[-1], -(-(width + 1) // LINE) * LINE)
    rows[:, :width] = torch.from_numpy(chance.normal(size=(offsets[-1], width)).astype(np.float32))
    rows[:, width] = 1
    targets = (rows[:, :CLASSES] + 0.3 * rows[:, 3 : 3 + CLASSES]).argmax(1)
    if by_token:
        targets[torch.from_numpy(chance.random(offsets[-1]) < 0.3)] = IGNORED
    return HeadTable(rows, width, offsets, targets, by_token, dropout)


def right(table, places):
    """The share of targets that logits name."""
    targets = table.targets[table.rows_of(places)].numpy()

    def score(logits):
        named = np.concatenate([values.reshape(-1, CLASSES) for values in logits]).argmax(1)
        return float((named == targets)[targets != IGNORED].mean())

    return score


def make_run(table, settings=SETTINGS, *, fold=0, first=0, validated=True):
    """A run on all features but every third, which it validates on."""
    every = range(len(table.offsets) - 1)
    validation = [place for place in every if place % 3 == fold] if validated else []
    train = [place for place in every if place not in validation]
    chance = torch.Generator().manual_seed(first)
    weight = 0.1 * torch.randn(CLASSES, table.width, generator=chance)
    bias = 0.1 * torch.randn(CLASSES, generator=chance)
    return HeadRun(settings, weight, bias, train, validation, right(table, validation))


def trained(table, *runs, **more):
    return train_heads(table, runs, runtime=RUNTIME, **more)


def as_bits(head):
    state = replace(head.state, seconds=0.0)
    return head.weight.numpy().tobytes(), head.bias.numpy().tobytes(), repr(state)


def by_hand(table, run):
    """The loop as anyone would write it with autograd, to the last epoch; weights after each epoch, and the losses."""
    settings = run.settings
    weight, bias = run.weight.clone().requires_grad_(), run.bias.clone().requires_grad_()
    groups = [
        {"params": [weight], "weight_decay": settings.weight_decay},
        {"params": [bias], "weight_decay": 0.0},
    ]
    optimizer = torch_optimizer(groups, settings)
    shown = table.targets[table.rows_of(run.train)]
    weights = balanced_weights(shown, CLASSES) if settings.class_weights == "balanced" else torch.ones(CLASSES)
    how = {"weight": weights, "ignore_index": IGNORED, "label_smoothing": settings.label_smoothing_factor}
    size, step, kept, losses = settings.per_device_train_batch_size, 0, [], []
    total = settings.num_train_epochs * math.ceil(len(run.train) / size)
    for epoch in range(settings.num_train_epochs):
        order = [run.train[i] for i in order_of(len(run.train), seed=settings.seed, epoch=epoch)]
        summed = number = 0
        for begin in range(0, len(order), size):
            rows = table.rows_of(order[begin : begin + size])
            targets = table.targets[rows]
            logits = table.rows[rows, : table.width] @ weight.T + bias
            loss = cross_entropy(logits, targets, reduction="sum", **how)
            learned = float(weights[targets[targets != IGNORED]].sum())
            optimizer.zero_grad()
            (loss / (learned or 1)).backward()
            torch.nn.utils.clip_grad_norm_([weight, bias], settings.max_grad_norm)
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * settings.rate_share(step, total)
            optimizer.step()
            step, summed, number = step + 1, summed + float(loss.detach()), number + learned
        kept.append((weight.detach().clone(), bias.detach().clone()))
        losses.append(summed / (number or 1))
    return kept, losses


ANY = st.builds(
    TrainingSettings,
    learning_rate=st.sampled_from([1e-3, 2e-2, 0.3]),
    num_train_epochs=st.integers(1, 5),
    per_device_train_batch_size=st.sampled_from([1, 6, 7, 64]),
    weight_decay=st.sampled_from([0.0, 0.01, 1.0]),
    warmup_steps=st.sampled_from([0.0, 0.1, 3.0]),
    max_grad_norm=st.sampled_from([0.05, 1.0, 100.0]),
    adam_epsilon=st.sampled_from([1e-8, 1e-4]),
    patience=st.integers(1, 5),
    stop_after=st.sampled_from([None, None, 1, 3]),
    seed=st.integers(0, 2),
    optim=st.sampled_from(CHOICES["optim"]),
    label_smoothing_factor=st.sampled_from([0.0, 0.0, 0.3]),
    class_weights=st.sampled_from(CHOICES["class_weights"]),
)


@pytest.mark.parametrize("by_token", [False, True], ids=["texts", "tokens"])
@given(settings=ANY)
def test_steps_are_those_of_a_loop_written_by_hand(by_token, settings):
    table = make_table(by_token=by_token)
    run = make_run(table, replace(settings, patience=9, stop_after=None))
    (head,) = trained(table, run)
    kept, losses = by_hand(table, run)
    assert [row["train_loss"] for row in head.state.curve] == pytest.approx(losses, rel=1e-5)
    assert head.state.epoch == len(kept)
    weight, bias = kept[head.state.best_epoch - 1]
    rounding = 2e-6 * max(1.0, float(weight.abs().max()))
    assert float((head.weight - weight).abs().max()) <= rounding
    assert float((head.bias - bias).abs().max()) <= rounding
    layer = torch.nn.Linear(table.width, CLASSES)
    rows = table.rows_of(run.validation)
    learned = table.targets[rows] != IGNORED
    for row, (layer.weight.data, layer.bias.data) in zip(head.state.curve, kept, strict=True):
        logits = layer(table.rows[rows, : table.width]).detach()
        assert row["score"] == run.score([logits.numpy()])
        expected = float(cross_entropy(logits[learned], table.targets[rows][learned]))
        assert row["validation_loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "head", "changed"),
    [
        ("sequence", HeadSettings(), {}),
        ("sequence", HeadSettings("mean", 2), {"patience": 1, "learning_rate": 0.3}),
        ("token", HeadSettings(), {"stop_after": 2, "weight_decay": 0.5}),
        ("token", HeadSettings("tokens", 3), {"max_grad_norm": 0.05, "warmup_steps": 4.0, "seed": 3}),
        ("sequence", HeadSettings(), {"optim": "adam", "weight_decay": 0.1, "label_smoothing_factor": 0.2}),
        ("sequence", HeadSettings("mean"), {"optim": "sgd", "learning_rate": 0.3, "weight_decay": 0.1}),
        ("token", HeadSettings(), {"optim": "sgd", "class_weights": "balanced", "label_smoothing_factor": 0.1}),
        ("token", HeadSettings(), {"class_weights": "balanced", "weight_decay": 0.5}),
    ],
    ids=str,
)
def test_without_dropout_a_head_is_trained_as_by_the_loop(kind, head, changed, encoder_of):
    encoder, features = without_dropout(encoder_of("bert")), make_features(28, kind)
    settings = replace(SETTINGS, **changed)
    model, outline = make_model(encoder, kind, head=head, seed=settings.seed)
    plan, data = strategy_named("head-only").plan(outline), make_data(features, PrefixMemory(features))
    table = features_of(model, outline, plan=plan, features=features, runtime=RUNTIME)
    first = [model.classifier.weight.detach().clone(), model.classifier.bias.detach().clone()]
    (ours,) = trained(table, HeadRun(settings, *first, data.train, data.validation, data.score))
    state = Run(model, outline, plan=plan, settings=settings, data=data, runtime=RUNTIME).run()
    assert float((ours.weight - model.classifier.weight.detach()).abs().max()) <= 1e-6
    assert float((ours.bias - model.classifier.bias.detach()).abs().max()) <= 1e-6
    assert not torch.equal(ours.weight, first[0])
    assert (ours.state.epoch, ours.state.best_epoch) == (state.epoch, state.best_epoch)
    for found, expected in zip(ours.state.curve, state.curve, strict=True):
        assert found == pytest.approx(expected, rel=1e-5)


@given(
    chosen=st.lists(st.tuples(ANY, st.integers(0, 1), st.booleans()), min_size=2, max_size=6),
    by_token=st.booleans(),
    threads=st.sampled_from([1, 2]),
    data=st.data(),
)
def test_whoever_trains_beside_a_run_changes_none_of_its_bits(chosen, by_token, threads, data):
    table = make_table(by_token=by_token, dropout=0.2)
    runs = [make_run(table, s, fold=fold, first=s.seed, validated=validated) for s, fold, validated in chosen]
    torch.set_num_threads(threads)
    try:
        together = trained(table, *runs)
        some = data.draw(st.permutations(range(len(runs))))[: data.draw(st.integers(1, len(runs)))]
        for i, head in zip(some, trained(table, *[runs[i] for i in some]), strict=True):
            assert as_bits(head) == as_bits(together[i])
        alone = data.draw(st.integers(0, len(runs) - 1))
        assert as_bits(trained(table, runs[alone])[0]) == as_bits(together[alone])
    finally:
        torch.set_num_threads(1)


def test_logits_of_every_run_begin_on_a_cache_line():
    room = heads_module._aligned(4, 3, 7, like=torch.empty(1))
    assert room.shape == (4, 3, 7)
    assert all(own.is_contiguous() and own.data_ptr() % (4 * LINE) == 0 for own in room)


def test_large_heads_are_the_same_bits_beside_others_too():
    table = make_table(60, by_token=True, width=1536, dropout=0.1)
    runs = [
        make_run(table, replace(SETTINGS, seed=seed, learning_rate=rate)) for seed in (0, 1) for rate in (1e-3, 0.1)
    ]
    together = trained(table, *runs)
    for run, head in zip(runs, together, strict=True):
        assert as_bits(trained(table, run)[0]) == as_bits(head)


def test_every_step_of_every_seed_draws_dropout_of_its_own_and_runs_of_a_seed_share_it(monkeypatch):
    drawn, real = [], heads_module.pooled_mask

    def spied(number, *, key, **more):
        drawn.append((number, key, more["p"]))
        return real(number, key=key, **more)

    monkeypatch.setattr(heads_module, "pooled_mask", spied)
    table = make_table(dropout=0.3)
    settings = [
        replace(SETTINGS, seed=seed, num_train_epochs=2, learning_rate=rate) for seed in (0, 1) for rate in (1e-3, 0.1)
    ]
    trained(table, *[make_run(table, some) for some in settings])
    keys = [key for _, key, _ in drawn]
    assert sorted(keys) == sorted({(seed, step) for seed in (0, 1) for step in range(6)})
    assert {p for _, _, p in drawn} == {0.3}
    assert {number for number, _, _ in drawn} == {7 * table.width, 6 * table.width}


def test_dropout_acts_on_what_is_read_and_spares_the_bias(monkeypatch):
    monkeypatch.setattr(heads_module, "pooled_mask", lambda number, **_: torch.zeros(number))
    table = make_table(dropout=0.3)
    run = make_run(table, replace(SETTINGS, weight_decay=0.0), validated=False)
    (head,) = trained(table, run)
    assert torch.equal(head.weight, run.weight)
    assert not torch.equal(head.bias, run.bias)


def test_validation_is_without_dropout():
    table = make_table(dropout=0.5)
    run, seen = make_run(table, replace(SETTINGS, num_train_epochs=1)), []
    (head,) = trained(table, replace(run, score=lambda logits: seen.append(logits) or 0.5))
    logits = table.rows[table.rows_of(run.validation), : table.width] @ head.weight.T + head.bias
    np.testing.assert_allclose(np.stack(seen[0]), logits.numpy(), rtol=1e-4, atol=1e-5)


def test_a_mask_multiplies_what_is_read(monkeypatch):
    monkeypatch.setattr(heads_module, "pooled_mask", lambda number, **_: torch.full((number,), 2.0))
    table = make_table(dropout=0.3)
    run = make_run(table, validated=False)
    doubled = replace(table, rows=table.rows.clone(), dropout=0.0)
    doubled.rows[:, : table.width] *= 2
    assert as_bits(trained(table, run)[0]) == as_bits(trained(doubled, run)[0])


def scripted(run, scores):
    """The run with a score for each epoch, whatever the logits say."""
    given_out = iter(scores)
    return replace(run, score=lambda logits: next(given_out))


def test_the_best_epochs_weights_come_back():
    table = make_table()
    runs = [make_run(table), make_run(table, replace(SETTINGS, stop_after=2), validated=False)]
    best, last = trained(table, scripted(runs[0], [0.1, 0.7, 0.3, 0.2]), runs[1])
    assert best.state.best_epoch == 2
    kept, _ = by_hand(table, runs[0])
    assert float((best.weight - kept[1][0]).abs().max()) <= 2e-6
    kept, _ = by_hand(table, runs[1])
    assert (last.state.epoch, last.state.best_epoch) == (2, 0)
    assert float((last.weight - kept[1][0]).abs().max()) <= 2e-6
    assert [row["score"] for row in last.state.curve] == [None, None]


def test_training_stops_after_so_many_epochs_without_a_better_score():
    table = make_table()
    patient = make_run(table, replace(SETTINGS, num_train_epochs=8, patience=2))
    warming = replace(patient, settings=replace(patient.settings, warmup_steps=0.5))  # its rate rises for four epochs
    scores = [0.1, 0.2, 0.1, 0.1], [0.1, 0.2, 0.1, 0.3, 0.1, 0.1], [0.5] + [0.1] * 7
    early, late, warm = trained(table, *map(scripted, (patient, patient, warming), scores))
    assert (warm.state.epoch, warm.state.best_epoch) == (6, 1)
    assert (early.state.epoch, early.state.best_epoch, len(early.state.curve)) == (4, 2, 4)
    assert (late.state.epoch, late.state.best_epoch, len(late.state.curve)) == (6, 4, 6)


def poisoned(table, places, value):
    rows = table.rows.clone()
    rows[table.rows_of(places), 0] = value
    return replace(table, rows=rows)


@pytest.mark.parametrize(
    ("value", "what"), [(math.nan, "loss became nan"), (math.inf, "loss became nan"), (1e30, "gradient became inf")]
)
def test_what_is_not_finite_ends_its_run_before_the_step_and_no_other(value, what):
    table = make_table(dropout=0.1)
    well, ill = make_run(table, fold=0), make_run(table, fold=1)
    # The weight is 0 where the huge value is read, so that the loss is finite and only the gradient is not.
    well.weight[:, 0] = ill.weight[:, 0] = 0.0
    only = [place for place in ill.train if place not in well.train]
    table = poisoned(table, only[:1], value)
    well = replace(well, validation=[place for place in well.validation if place != only[0]], score=lambda _: 0.5)
    before, head, after = trained(table, well, ill, replace(well, settings=replace(SETTINGS, learning_rate=0.1)))
    assert as_bits(before) == as_bits(trained(table, well)[0])
    assert after.state.diverged is None
    order = [ill.train[i] for i in order_of(len(ill.train), seed=0, epoch=0)]
    step = order.index(only[0]) // 7
    assert head.state.diverged == f"the {what} at step {step + 1} of 12"
    assert (head.state.epoch, head.state.batch, head.state.best_epoch, head.state.curve) == (0, step, 0, [])
    assert torch.isfinite(head.weight).all()
    assert torch.equal(head.weight, ill.weight) == (step == 0)
    (alone,) = trained(table, ill)
    assert as_bits(alone) == as_bits(head)


def test_a_loss_that_is_not_finite_ends_a_run_whose_gradient_is():
    run = make_run(make_table(), validated=False)
    run.bias[0] = -math.inf  # the class is impossible, which costs infinitely much and gives its plain gradient
    (head,) = trained(make_table(), run)
    assert head.state.diverged == "the loss became inf at step 1 of 20"
    assert torch.equal(head.weight, run.weight)


def test_a_validation_loss_that_is_not_finite_ends_the_run_with_its_best_weights():
    table = make_table()
    run = make_run(table)
    (whole,) = trained(table, scripted(replace(run, settings=replace(SETTINGS, stop_after=1)), [0.5]))
    calls = []

    def score(logits):
        calls.append(logits)
        if len(calls) == 1:
            table.rows[table.rows_of(run.validation[:1]), 0] = math.nan  # from the second epoch on
        return 0.5

    table = replace(table, rows=table.rows.clone())
    remembers = replace(run, validation=run.validation, score=score)
    other = make_run(table, fold=1)
    head, _ = trained(table, remembers, replace(other, train=run.train, score=lambda _: 0.5))
    assert head.state.diverged == "the validation loss became nan after epoch 2"
    assert (head.state.epoch, head.state.best_epoch, head.state.curve[-1]["validation_loss"]) == (2, 1, None)
    assert torch.equal(head.weight, whole.weight)


@pytest.mark.parametrize("by_token", [False, True])
def test_a_batch_without_any_target_is_a_step_without_a_gradient(by_token):
    table = make_table(8, by_token=by_token)
    table.targets[:] = IGNORED
    run = make_run(table, replace(SETTINGS, weight_decay=0.0, num_train_epochs=1), validated=False)
    (head,) = trained(table, run)
    assert torch.equal(head.weight, run.weight)
    assert torch.equal(head.bias, run.bias)
    assert head.state.curve[0]["train_loss"] == 0.0


def test_progress_rises_to_one_and_each_epoch_of_each_run_is_told():
    table, fractions, rows = make_table(), [], []
    runs = [
        make_run(table),
        make_run(table, replace(SETTINGS, stop_after=1)),
        make_run(table, replace(SETTINGS, per_device_train_batch_size=4, num_train_epochs=2)),
        scripted(make_run(table, replace(SETTINGS, patience=1)), [0.5, 0.1]),
    ]
    heads = trained(table, *runs, watch=Watch(progress=fractions.append, scored=rows.append))
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert 0 < fractions[0] < 0.2
    assert len(rows) == sum(len(head.state.curve) for head in heads) == 4 + 1 + 2 + 2
    assert all(head.state.seconds > 0 for head in heads)


def test_a_stop_is_asked_for_before_every_step():
    table, asked = make_table(), iter(range(100))
    with pytest.raises(Interrupted, match="goes on from here"):
        trained(table, make_run(table), make_run(table), watch=Watch(stop=lambda: next(asked) == 8))
    assert next(asked) == 9
    trained(table, make_run(table), watch=Watch(stop=lambda: next(asked) < 0))
    assert next(asked) == 9 + 1 + 12


def test_heads_compute_in_float32_whatever_the_precision_and_leave_it_as_it_was():
    table = make_table()
    before = torch.backends.mkldnn.matmul.fp32_precision
    exact = trained(table, make_run(table))[0]
    for precision in ("bf16-matmul", "bf16-autocast"):
        (head,) = train_heads(table, [make_run(table)], runtime=Runtime("cpu", 1, precision))
        assert as_bits(head) == as_bits(exact)
    assert torch.backends.mkldnn.matmul.fp32_precision == before


def test_no_heads_are_no_work():
    assert trained(make_table()) == []
