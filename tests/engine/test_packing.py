"""Packed batches compute what padded ones do, and where they would not they are not used."""

import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runs import batch_gradients, make_features, make_model, without_dropout
from tiny import FAMILIES
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.encoders.reading_outline import read_outline
from unfreeze.engine import packing, packing_check
from unfreeze.engine.batches import collate
from unfreeze.engine.dropout import Dropout
from unfreeze.engine.packing import Packing, packed
from unfreeze.engine.packing_check import way_of_batching
from unfreeze.tasks import IGNORED

PACKED = ("bert", "roberta", "distilbert", "electra", "modernbert")
NARROWED = ("bert", "roberta", "electra")
"""Packed, and of the last layer no more than the first token's where the head reads nothing else."""


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    monkeypatch.setattr(packing_check, "_known", {})


@pytest.mark.parametrize("kind", ["sequence", "token"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_families_that_pack_are_the_ones_the_table_names(family, kind, encoder_of):
    model, outline = make_model(encoder_of(family), kind)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    packs = "narrowed" if kind == "sequence" and family in NARROWED else "packed"
    assert way_of_batching(model, outline) == (packs if family in PACKED else "grouped")
    assert model.config._attn_implementation != packing.ATTENTION
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_head_that_reads_several_layers_is_not_packed(encoder_of):
    model, outline = make_model(encoder_of("bert"), head=HeadSettings("mean", 2))
    assert way_of_batching(model, outline) == "grouped"


def test_a_family_that_mixes_neighbouring_tokens_is_computed_padded():
    config = transformers.ConvBertConfig(
        vocab_size=60,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        initializer_range=0.5,  # trained weights are no smaller, and with tiny ones padding hardly shows
    )
    model = transformers.ConvBertForSequenceClassification(config)
    outline = read_outline(model)
    assert way_of_batching(model, outline) == "padded"
    assert batch_gradients(model, outline)._parts([9, 3, 700]) == [[0, 1, 2]]


def test_a_head_that_reads_every_token_needs_the_whole_last_layer(encoder_of):
    model, outline = make_model(encoder_of("bert"), head=HeadSettings("mean", 1))
    assert way_of_batching(model, outline) == "packed"


def gradients(encoder, kind, features, *, way):
    model, outline = make_model(without_dropout(encoder), kind)
    number = sum(target != IGNORED for feature in features for target in feature.targets)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unfreeze.engine.gradients.way_of_batching", lambda *_: way)
        loss = batch_gradients(model, outline).add(features, start=None, number=number)
    return loss, {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


WAYS = [(family, kind, "packed") for family in PACKED for kind in ("sequence", "token")]
WAYS += [(family, "sequence", "narrowed") for family in NARROWED]


@pytest.mark.parametrize(("family", "kind", "way"), WAYS)
def test_loss_and_gradients_are_those_of_the_padded_batch(family, kind, way, encoder_of):
    encoder = encoder_of(family)

    @settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.integers(1, 9), st.integers(3, 60), st.integers(0, 99))
    def check(number, longest, seed):
        features = make_features(number, kind, seed=seed, longest=longest)
        loss, expected = gradients(encoder, kind, features, way="grouped")
        other, found = gradients(encoder, kind, features, way=way)
        assert other == pytest.approx(loss, rel=1e-5)
        assert found.keys() == expected.keys()
        scale = max(float(gradient.abs().max()) for gradient in expected.values())
        for name, gradient in expected.items():
            assert float((gradient - found[name]).abs().max()) <= 1e-5 * scale, name

    check()


def test_a_sliding_window_is_honoured(encoder_of):
    config = encoder_of("modernbert").config
    assert "sliding_attention" in config.layer_types
    longest = 4 * config.sliding_window
    features = make_features(5, longest=min(longest, 60), seed=3)
    assert max(feature.length for feature in features) > config.sliding_window + 1
    model, outline = make_model(encoder_of("modernbert"))
    inputs = collate(features, pad_token_id=0, device="cpu")
    lengths = [feature.length for feature in features]
    with torch.no_grad():
        whole = model(**inputs).logits
        with packed(model, outline, packing=Packing(lengths, device="cpu")):
            ours = model(**inputs).logits
        everywhere = Packing(lengths, device="cpu")
        with pytest.MonkeyPatch.context() as patch, packed(model, outline, packing=everywhere):
            patch.setattr(packing, "_visible", lambda group, _: group.mask)
            without_window = model(**inputs).logits
    assert torch.allclose(whole, ours, atol=1e-5)
    assert not torch.allclose(whole, without_window, atol=1e-5)


def test_a_wrong_mask_is_found_before_it_is_used(encoder_of, monkeypatch):
    model, outline = make_model(encoder_of("bert"))
    monkeypatch.setattr(packing, "_visible", lambda *_: None)  # texts of one group see each other's padding
    assert way_of_batching(model, outline) == "grouped"


def test_a_check_that_could_not_fail_is_no_check(encoder_of, monkeypatch):
    """Where all masks give the same, agreement says nothing of the mask."""
    model, outline = make_model(encoder_of("bert"))
    monkeypatch.setattr(packing_check, "_values", lambda *_: [torch.ones(3)])
    assert way_of_batching(model, outline) == "grouped"


def test_an_architecture_is_tried_once(encoder_of, monkeypatch):
    tried = []
    monkeypatch.setattr(packing_check, "_agree", lambda *_, narrows=False: tried.append(narrows) or not narrows)
    for seed in (0, 1):
        model, outline = make_model(encoder_of("bert"), seed=seed)
        assert way_of_batching(model, outline) == "packed"
    model, outline = make_model(encoder_of("bert"), "token")
    assert way_of_batching(model, outline) == "packed"
    assert tried == [False, True] * 2


@given(st.lists(st.integers(1, 90), min_size=1, max_size=20))
def test_every_token_keeps_its_place(lengths):
    made = Packing(lengths, device="cpu")
    states = torch.arange(len(lengths) * max(lengths) * 2, dtype=torch.float32).view(len(lengths), max(lengths), 2) + 1
    real = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    packed_states = made.pack(states)
    assert packed_states.shape[1] % packing.ROUNDED_TO == 0
    assert torch.equal(packed_states[0, : sum(lengths)], states[real])
    assert not packed_states[0, sum(lengths) :].any()
    assert torch.equal(made.unpack(packed_states), states * real[:, :, None])
    heads = packed_states.view(1, made.rows, 1, 2).transpose(1, 2)
    assert torch.equal(made.from_groups(made.to_groups(heads)).view(1, made.rows, 2), packed_states)


def test_short_memory_halves_what_is_computed_at_once_and_changes_no_gradient(encoder_of, monkeypatch):
    features = make_features(8, longest=20)
    tokens = sum(feature.length for feature in features)
    model, outline = make_model(without_dropout(encoder_of("bert")))
    ours = batch_gradients(model, outline)
    loss = ours.add(features, start=None, number=8)
    expected = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    forward, called = model.forward, []

    def small(**inputs):
        called.append(int(inputs["attention_mask"].sum()))
        if called[-1] > tokens // 3:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: 99 bytes")
        return forward(**inputs)

    monkeypatch.setattr(model, "forward", small)
    assert ours.add(features, start=None, number=8) == pytest.approx(loss, rel=1e-5)
    assert called[0] == tokens
    assert ours.most_tokens <= tokens // 2
    for name, parameter in model.named_parameters():
        assert torch.allclose(parameter.grad, expected[name], atol=1e-6), name


def test_memory_that_suffices_for_nothing_and_other_errors_are_not_hidden(encoder_of, monkeypatch):
    model, outline = make_model(encoder_of("bert"))
    for message in ("DefaultCPUAllocator: can't allocate memory", "shapes do not match"):

        def failing(message=message, **_):
            raise RuntimeError(message)

        monkeypatch.setattr(model, "forward", failing)
        with pytest.raises(RuntimeError, match=message):
            batch_gradients(model, outline).add(make_features(3), start=None, number=3)


def checkpointed(model):
    """Recompute each layer in the backward pass; transformers 5.23 renamed the call."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def test_a_batch_that_cannot_be_cut_does_not_try_for_ever(encoder_of, monkeypatch):
    model, outline = make_model(encoder_of("bert"))
    monkeypatch.setattr("unfreeze.engine.gradients.way_of_batching", lambda *_: "padded")

    def failing(**_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(model, "forward", failing)
    with pytest.raises(RuntimeError, match="allocate memory"):
        batch_gradients(model, outline).add(make_features(3), start=None, number=3)


def test_gradients_are_equal_with_and_without_checkpointing(encoder_of):
    features = make_features(6, longest=40)
    found = []
    for checkpointing in (False, True):
        model, outline = make_model(encoder_of("bert"))
        if checkpointing:
            checkpointed(model)
        dropout = Dropout(model, seed=5)
        ours = batch_gradients(model, outline, dropout=dropout)
        model.train()
        with dropout.installed():
            loss = ours.add(features, start=None, number=6)
        found.append((loss, {name: parameter.grad for name, parameter in model.named_parameters()}))
    (loss, expected), (other, again) = found
    assert other == loss
    assert all(torch.equal(expected[name], again[name]) for name in expected)
