"""The contrastive pass: the formula written out, and the gradient that a model gets of it."""

import copy
import itertools
from dataclasses import replace

import pytest
import torch

from runs import RUNTIME, SETTINGS, batch_gradients, make_data, make_features, make_model, without_dropout
from unfreeze.encoders.building import build_model
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.encoders.reading_outline import read_outline
from unfreeze.engine.batches import collate
from unfreeze.engine.contrastive import Contrastive, PairLoss
from unfreeze.engine.dropout import Dropout
from unfreeze.engine.training import Run
from unfreeze.errors import SettingsError
from unfreeze.plan import Group, Objective, Plan, Stage
from unfreeze.strategies import strategy_named

FEATURES = make_features(12)


def by_hand(read: torch.Tensor, targets: list[int]) -> torch.Tensor:
    """The mean over pairs of one class and that over pairs of two, half and half; pair by pair."""
    sorts: dict[bool, list[torch.Tensor]] = {}
    for a, b in itertools.combinations(range(len(targets)), 2):
        alike = targets[a] == targets[b]
        cosine = read[a] @ read[b] / (read[a].norm() * read[b].norm())
        sorts.setdefault(alike, []).append((cosine - float(alike)) ** 2)
    return torch.stack([torch.stack(errors).mean() for errors in sorts.values()]).mean()


@pytest.mark.parametrize("targets", [[0, 0, 1, 1, 2], [0, 1], [1, 1], [0, 0, 0, 0, 1]])
def test_the_loss_is_that_of_its_formula_once_a_text(targets):
    torch.manual_seed(0)
    read = torch.randn(len(targets), 6)
    found = PairLoss().summed(read, torch.tensor(targets))
    torch.testing.assert_close(found, len(targets) * by_hand(read, targets))


def test_it_is_nothing_where_classes_are_perpendicular_and_most_where_they_are_turned_around():
    east, north = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])
    targets = torch.tensor([0, 0, 1])
    assert PairLoss().summed(torch.stack([east, 3 * east, north]), targets) == 0
    assert PairLoss().summed(torch.stack([east, -east, east]), targets) == pytest.approx(3 * (4 + 1) / 2)


def test_a_batch_of_one_text_has_no_pair_and_moves_nothing():
    read = torch.ones(1, 3, requires_grad=True)
    PairLoss().summed(read, torch.tensor([0])).backward()
    assert read.grad is not None
    assert not read.grad.any()


@pytest.mark.parametrize("pooling", ["standard", "mean"])
@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
def test_the_gradient_is_that_of_what_the_last_layer_reads(family, pooling, encoder_of):
    encoder = without_dropout(encoder_of(family))
    head = HeadSettings(pooling)
    model = build_model(encoder, head, kind="sequence", labels=("a", "b", "c"), weights="pretrained", seed=0)
    plain, outline = copy.deepcopy(model).eval(), read_outline(model)
    ours = batch_gradients(model, outline)
    loss = Contrastive(model, outline, runtime=RUNTIME, dropout=Dropout(model, seed=0), rows=ours.rows).add(
        FEATURES, start=None, weight=0.5
    )
    seen = []
    last = [m for m in plain.modules() if isinstance(m, torch.nn.Linear) and m.out_features == 3][-1]
    last.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    plain(**collate(FEATURES, pad_token_id=0, device="cpu"))
    expected = by_hand(seen[0], [feature.targets[0] for feature in FEATURES])
    (0.5 * expected).backward()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-4)
    theirs = dict(plain.named_parameters())
    for name, parameter in model.named_parameters():
        grad = theirs[name].grad
        if grad is not None and not name.endswith("word_embeddings.weight"):
            torch.testing.assert_close(parameter.grad, grad, rtol=1e-3, atol=1e-6, msg=name)


def test_training_on_pairs_alone_draws_the_classes_apart(encoder_of):
    encoder = encoder_of("bert")
    model, outline = make_model(encoder)
    plan = Plan((Stage(0.0, (Group(outline.encoder),), Objective(task=0.0, contrastive=1.0)),))
    settings = replace(SETTINGS, num_train_epochs=20, patience=20, per_device_train_batch_size=12)
    run = Run(model, outline, plan=plan, settings=settings, data=make_data(make_features(48)), runtime=RUNTIME)
    run._is_best = lambda row: True
    before = pairs(model, outline)
    run.run()
    assert pairs(model, outline) < 0.7 * before


def pairs(model, outline):
    """The loss on rows that were learned from."""
    features = make_features(48)[:24]
    contrastive = Contrastive(
        model, outline, runtime=RUNTIME, dropout=Dropout(model, seed=0), rows=batch_gradients(model, outline).rows
    )
    return contrastive.add(features, start=None, weight=1.0)


@pytest.mark.parametrize("spelling", ["contrastive:until=1", "contrastive:until=0", "contrastive:head_rate=0"])
def test_what_makes_no_sense_is_refused(spelling, encoder_of):
    with pytest.raises(SettingsError, match="contrastive: "):
        strategy_named(spelling).plan(make_model(encoder_of("bert"))[1])


def test_a_later_pass_that_is_short_of_memory_costs_the_earlier_ones_nothing(encoder_of):
    """It throws away the gradients of the step, so all of its passes are done again."""
    next_to_nothing = Objective(1.0, contrastive=1e-9)
    plan = Plan((Stage(0.0, (Group(make_model(encoder_of("bert"))[1].names),), next_to_nothing),))

    def trained(short):
        model, outline = make_model(without_dropout(encoder_of("bert")))
        settings = replace(SETTINGS, num_train_epochs=1)
        run = Run(model, outline, plan=plan, settings=settings, data=make_data(FEATURES), runtime=RUNTIME)
        real, calls = run._contrastive.gradients._add, itertools.count()

        def failing(*args):
            if short and next(calls) == 0:
                raise torch.OutOfMemoryError("can't allocate memory")
            return real(*args)

        run._contrastive.gradients._add = failing
        return run.run(), dict(model.named_parameters())

    (whole, theirs), (redone, ours) = trained(False), trained(True)
    assert redone.most_tokens < whole.most_tokens
    assert redone.curve[0]["train_loss"] == pytest.approx(whole.curve[0]["train_loss"], rel=1e-4)
    for name, parameter in ours.items():
        torch.testing.assert_close(parameter, theirs[name], rtol=1e-3, atol=1e-4, msg=name)
