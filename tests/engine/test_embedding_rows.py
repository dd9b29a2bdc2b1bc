"""An optimizer that knows only the words that are shown takes the steps of one that knows them all."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from runs import RUNTIME, SETTINGS, differing, make_data, make_features, make_model, weights_of, without_dropout
from tiny import FAMILIES
from unfreeze.engine import training
from unfreeze.engine.contrastive import Contrastive
from unfreeze.engine.dropout import Dropout
from unfreeze.engine.embedding_rows import EmbeddingRows
from unfreeze.engine.gradients import BatchGradients
from unfreeze.engine.settings import CHOICES
from unfreeze.engine.training import Run
from unfreeze.strategies import strategy_named

FEATURES = make_features(24)


def trained(encoder, *, spelling="full", **changes):
    model, outline = make_model(encoder)
    plan = strategy_named(spelling).plan(outline)
    settings = replace(SETTINGS, num_train_epochs=2, **changes)
    run = Run(model, outline, plan=plan, settings=settings, data=make_data(FEATURES), runtime=RUNTIME)
    run.run()
    return model, run


@pytest.fixture
def whole_tables(monkeypatch):
    """Make the optimizer know every word."""

    def use():
        monkeypatch.setattr(training, "EmbeddingRows", lambda model, shown=None: EmbeddingRows(model))

    return use


@pytest.mark.parametrize("spelling", ["full", "gradual", "scratch", "last-k:k=1"])
@pytest.mark.parametrize("family", FAMILIES)
def test_without_decay_the_weights_are_the_same_bits(family, spelling, encoder_of, whole_tables):
    ours, run = trained(encoder_of(family), spelling=spelling, weight_decay=0.0)
    (rows,) = run._gradients.rows.instead.values()
    assert len(rows) < ours.get_input_embeddings().num_embeddings
    whole_tables()
    theirs, other = trained(encoder_of(family), spelling=spelling, weight_decay=0.0)
    assert other._gradients.rows.instead == {}
    assert differing(weights_of(ours), weights_of(theirs)) == set()


@pytest.mark.parametrize(
    ("family", "optim", "spelling"),
    [*((family, "sgd", "full") for family in FAMILIES), ("bert", "sgd", "gradual"), ("bert", "adam", "gradual")],
)
def test_with_another_optimizer_too_the_weights_are_the_same_bits(family, optim, spelling, encoder_of, whole_tables):
    how = {"spelling": spelling, "optim": optim, "learning_rate": 1e-2, "weight_decay": 0.0}
    ours, _ = trained(encoder_of(family), **how)
    whole_tables()
    theirs, other = trained(encoder_of(family), **how)
    assert other._gradients.rows.instead == {}
    assert differing(weights_of(ours), weights_of(theirs)) == set()


def test_two_passes_of_one_step_add_their_gradients(encoder_of):
    """The task's loss and that of pairs each go through the batch; autograd, which sums, is the reference."""
    encoder, found = without_dropout(encoder_of("bert")), []
    for rows in (EmbeddingRows, lambda _: EmbeddingRows(None)):
        model, outline = make_model(encoder)
        usual = {"runtime": RUNTIME, "dropout": Dropout(model, seed=0), "rows": rows(model)}
        for step, size in enumerate((24, 12, 6)):  # of the second step nothing may be left of the first
            model.zero_grad()
            BatchGradients(model, outline, **usual).add(FEATURES[:size], start=None, number=size)
            Contrastive(model, outline, **usual).add(FEATURES[size - 6 : size], start=None, weight=0.5 + step)
            found.append(model.get_input_embeddings().weight.grad.clone())
    for ours, theirs in zip(found[:3], found[3:], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("optim", CHOICES["optim"])
def test_with_decay_only_words_that_are_never_shown_differ(optim, encoder_of, whole_tables):
    first = make_model(encoder_of("bert"))[0].get_input_embeddings().weight
    ours, _ = trained(encoder_of("bert"), weight_decay=0.1, optim=optim)
    whole_tables()
    theirs, _ = trained(encoder_of("bert"), weight_decay=0.1, optim=optim)
    (name,) = differing(weights_of(ours), weights_of(theirs))
    assert ours.get_parameter(name) is ours.get_input_embeddings().weight
    rows = (ours.get_parameter(name) != theirs.get_parameter(name)).any(1)
    assert torch.equal(ours.get_parameter(name)[rows], first[rows])
    shown = {i for feature in FEATURES[:18] for i in feature.inputs["input_ids"]}
    assert not shown & set(rows.nonzero().flatten().tolist())


def test_a_table_that_something_else_shares_is_stepped_whole(encoder_of):
    model, _ = make_model(without_dropout(encoder_of("bert")))
    model.tied = torch.nn.Linear(1, 1)
    model.tied.weight = model.get_input_embeddings().weight
    ours = EmbeddingRows(model, shown=torch.tensor([1, 2]))
    assert ours.instead == {}
    ids = torch.tensor([[1, 2, 5]])
    gradients = []
    for how in (ours.accumulating(ids), nullcontext()):
        model.zero_grad()
        with how:
            states = model.bert(ids).last_hidden_state
            (states @ model.tied.weight.T).square().sum().backward()
        gradients.append(model.tied.weight.grad.clone())
    assert torch.equal(*gradients)


def test_the_optimizer_has_no_moments_of_words_that_are_never_shown(encoder_of):
    _, run = trained(encoder_of("bert"))
    (rows,) = run._gradients.rows.instead.values()
    shown = {0, *(i for feature in FEATURES[:18] for i in feature.inputs["input_ids"])}
    assert run._optimizer.state[rows]["exp_avg"].shape[0] == len(rows) == len(shown)
