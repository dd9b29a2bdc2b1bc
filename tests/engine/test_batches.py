from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from runs import batch_gradients, make_features, make_model, without_dropout
from unfreeze.engine import batches
from unfreeze.engine.batches import (
    CALL_TOKENS,
    MOST_TOKENS,
    canonical_batches,
    collate,
    collate_targets,
    cut_by_tokens,
    grouped_by_length,
    in_turn,
    order_of,
)
from unfreeze.tasks import IGNORED, Feature


@given(st.integers(0, 60), st.integers(0, 5), st.integers(0, 5))
def test_the_order_of_an_epoch_is_a_pure_permutation(number, seed, epoch):
    order = order_of(number, seed=seed, epoch=epoch)
    assert sorted(order) == list(range(number))
    assert np.array_equal(order, order_of(number, seed=seed, epoch=epoch))


def test_every_seed_and_every_epoch_has_an_order_of_its_own():
    orders = {tuple(order_of(20, seed=seed, epoch=epoch)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25
    assert tuple(order_of(20, seed=0, epoch=0)) != tuple(range(20))


@given(st.integers(1, 30), st.integers(1, 8), st.integers(0, 5))
def test_what_is_drawn_in_turn_comes_as_often_as_all_else_and_in_a_new_order_each_time(number, size, seed):
    seen = [i for step in range(3 * number) for i in in_turn(number, step=step, size=size, seed=seed)]
    assert len(seen) == 3 * number * size
    for again in range(3 * size):
        assert sorted(seen[again * number : (again + 1) * number]) == list(range(number))
    assert number < 9 or seen[:number] != seen[number : 2 * number]
    assert in_turn(number, step=2, size=size, seed=seed) == seen[2 * size : 3 * size]
    assert in_turn(0, step=2, size=size, seed=seed) == []


def cost(parts, lengths):
    return sum(max(lengths[i] for i in part) * len(part) + CALL_TOKENS for part in parts)


@given(st.lists(st.integers(1, 512), min_size=1, max_size=40))
def test_a_batch_is_split_into_a_partition_never_dearer_than_one_call(lengths):
    parts = grouped_by_length(lengths)
    assert sorted(i for part in parts for i in part) == list(range(len(lengths)))
    assert all(parts)
    if max(lengths) * len(lengths) <= MOST_TOKENS:
        assert cost(parts, lengths) <= cost([range(len(lengths))], lengths)
    assert all(max(lengths[i] for i in part) * len(part) <= MOST_TOKENS or len(part) == 1 for part in parts)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=7))
def test_no_split_of_the_sorted_batch_is_cheaper(lengths):
    ordered = sorted(range(len(lengths)), key=lambda i: lengths[i])
    every = []
    for cuts in range(2 ** (len(lengths) - 1)):
        parts = [[ordered[0]]]
        for place, i in enumerate(ordered[1:]):
            if cuts >> place & 1:
                parts.append([])
            parts[-1].append(i)
        every.append(cost(parts, lengths))
    assert cost(grouped_by_length(lengths), lengths) == min(every)


def test_an_empty_batch_has_no_parts_and_a_feature_beyond_the_limit_goes_alone():
    assert grouped_by_length([]) == []
    assert grouped_by_length([MOST_TOKENS + 1, MOST_TOKENS + 1]) == [[0], [1]]


@given(st.lists(st.integers(1, 600), max_size=150))
def test_canonical_batches_hold_every_feature_once_and_bound_memory(lengths):
    features = [Feature(i, {"input_ids": [1] * length}, (0,)) for i, length in enumerate(lengths)]
    found = canonical_batches(features)
    assert sorted(i for batch in found for i in batch) == list(range(len(features)))
    assert all(len(batch) <= 64 for batch in found)
    assert all(max(lengths[i] for i in batch) * len(batch) <= MOST_TOKENS // 4 or len(batch) == 1 for batch in found)


def test_features_are_padded_on_the_right_by_what_each_input_means():
    features = [
        Feature(0, {"input_ids": [5, 6, 7], "attention_mask": [1, 1, 1]}, (0, 1, IGNORED), (0, 1, -1)),
        Feature(1, {"input_ids": [8], "attention_mask": [1]}, (2,), (0,)),
    ]
    inputs = collate(features, pad_token_id=9, device="cpu")
    assert inputs["input_ids"].tolist() == [[5, 6, 7], [8, 9, 9]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert collate_targets(features, "cpu").tolist() == [[0, 1, IGNORED], [2, IGNORED, IGNORED]]
    whole = [Feature(i, {"input_ids": [1]}, (i,)) for i in (2, 0)]
    assert collate_targets(whole, "cpu").tolist() == [2, 0]


def gradients(encoder, kind, features, *, split):
    """Gradients and summed loss of one batch computed padded, split in a given way."""
    model, outline = make_model(without_dropout(encoder), kind)
    number = sum(target != IGNORED for feature in features for target in feature.targets)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unfreeze.engine.gradients.way_of_batching", lambda *_: "grouped")
        patch.setattr("unfreeze.engine.gradients.grouped_by_length", lambda lengths, most: split(lengths))
        loss = batch_gradients(model, outline).add(features, start=None, number=number)
    return loss, {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("kind", ["sequence", "token"])
def test_gradients_do_not_depend_on_the_split_into_parts(kind, family, encoder_of):
    features = make_features(9, kind, longest=50)  # 1 to 25 targets a row
    splits = [
        lambda lengths: [list(range(len(lengths)))],
        lambda lengths: [[i] for i in range(len(lengths))],
        lambda lengths: [[8, 0, 3], [1, 2], [7, 6, 5, 4]],
        grouped_by_length,
    ]
    loss, expected = gradients(encoder_of(family), kind, features, split=splits[0])
    scale = max(float(gradient.abs().max()) for gradient in expected.values())
    for split in splits[1:]:
        other, found = gradients(encoder_of(family), kind, features, split=split)
        assert other == pytest.approx(loss, rel=1e-5)
        for name, gradient in expected.items():
            assert float((gradient - found[name]).abs().max()) <= 1e-5 * scale, name


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 120))
def test_a_packed_batch_is_cut_as_it_lies_and_only_where_it_must_be(lengths, most):
    parts = cut_by_tokens(lengths, most=most)
    assert [i for part in parts for i in part] == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in part) <= most or len(part) == 1 for part in parts)
    for part, following in pairwise(parts):
        assert sum(lengths[i] for i in part) + lengths[following[0]] > most


def test_long_and_short_features_are_computed_apart(monkeypatch):
    monkeypatch.setattr(batches, "CALL_TOKENS", 10)
    assert grouped_by_length([50, 2, 3, 49, 2]) == [[1, 4, 2], [3, 0]]


def test_the_gradient_of_the_word_embeddings_is_that_of_autograd(encoder_of):
    features = make_features(6)
    model, outline = make_model(without_dropout(encoder_of("bert")))
    ours = batch_gradients(model, outline)
    table = model.get_input_embeddings().weight
    for _ in range(2):  # the second batch must not see the first one's rows
        for batch in (features[:3], features[3:]):
            ours.add(batch, start=None, number=len(batch))
            found = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
            model.zero_grad()
            inputs = collate(batch, pad_token_id=0, device="cpu")
            loss = torch.nn.functional.cross_entropy(model(**inputs).logits, collate_targets(batch, "cpu"))
            loss.backward()
            for name, parameter in model.named_parameters():
                assert torch.allclose(found[name], parameter.grad, rtol=1e-4, atol=1e-7), name
            assert not table.grad[model.config.pad_token_id].any()
            model.zero_grad()
