"""Heads that are more than one linear layer: a learned mix of layers, a hidden layer, a BiLSTM."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unfreeze.encoders.building import build_model
from unfreeze.encoders.head_networks import MOST_WIDE, BiLstm, Hidden, LayerMix
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.encoders.reading_outline import read_outline
from unfreeze.errors import SettingsError, UnknownName

TEXTS = ["Anna works for the river company.", "I love it", "The film was good, but the ending was bad!"]
NEW = [
    ("sequence", HeadSettings("mean", 2, mixed=True)),
    ("sequence", HeadSettings("first", 1, network="mlp")),
    ("sequence", HeadSettings("mean", 3, mixed=True, network="mlp")),
    ("token", HeadSettings("tokens", 2, network="mlp")),
    ("token", HeadSettings("tokens", 1, network="bilstm")),
    ("token", HeadSettings("tokens", 3, mixed=True, network="bilstm")),
]


def build(encoder, kind, head, seed=0):
    return build_model(encoder, head, kind=kind, labels=("a", "b"), weights="pretrained", seed=seed)


def test_a_mix_is_the_weighted_sum_of_the_paper():
    states = [torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    mix = LayerMix(3)
    torch.testing.assert_close(mix(states), torch.stack(states).mean(0))
    with torch.no_grad():
        mix.weights.copy_(torch.tensor([1.0, 0.0, -2.0]))
        mix.scale.fill_(0.5)
    total = 2.718281828 + 1 + 0.1353352832
    by_hand = 0.5 * (2.718281828 * states[0] + states[1] + 0.1353352832 * states[2]) / total
    torch.testing.assert_close(mix(states), by_hand)


@pytest.mark.parametrize("family", ["bert", "modernbert", "deberta-v3"])
def test_a_mix_reads_the_layers_that_it_names_and_the_hidden_layer_is_written_out(family, encoder_of):
    model = build(encoder_of(family), "sequence", HeadSettings("mean", 2, mixed=True, network="mlp"))
    batch = encoder_of(family).tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        model.mix.weights.copy_(torch.tensor([0.3, -0.4]))
        outputs = model.encoder(**batch, output_hidden_states=True)
        shares = torch.tensor([0.3, -0.4]).softmax(0)
        mixed = shares[0] * outputs.last_hidden_state + shares[1] * outputs.hidden_states[-2]
        mask = batch["attention_mask"].unsqueeze(-1)
        pooled = (mixed * mask).sum(1) / mask.sum(1)
        hidden = torch.nn.functional.gelu(pooled @ model.network.dense.weight.T + model.network.dense.bias)
        torch.testing.assert_close(model(**batch).logits, model.classifier(hidden), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "head"), NEW, ids=str)
def test_the_new_parameters_are_as_many_as_the_settings_say_and_follow_from_the_seed(kind, head, encoder_of):
    model, outline = (made := build(encoder_of("bert"), kind, head)), read_outline(made)
    hidden = model.config.hidden_size
    classifier = model.classifier.weight.numel() + model.classifier.bias.numel()
    mix = head.layers + 1 if head.mixed else 0
    assert outline.size(outline.head) == head.network_weights(hidden) + mix + classifier
    again, other = (build(encoder_of("bert"), kind, head, seed).state_dict() for seed in (0, 1))
    assert all(torch.equal(tensor, again[name]) for name, tensor in model.state_dict().items())
    assert not torch.equal(model.classifier.weight, other["classifier.weight"])


def test_widths_are_those_of_what_is_read_capped_and_of_the_encoder():
    assert Hidden(300, hidden=384, dropout=0.0).width == 300
    assert Hidden(1536, hidden=384, dropout=0.0).width == MOST_WIDE
    lstm = BiLstm(1536, hidden=384, dropout=0.0)
    assert (lstm.width, lstm.first.hidden_size, lstm.second.input_size) == (384, 192, 384)
    # The paper's: 768 numbers a token, four layers of 768 side by side read.
    first = 2 * 4 * (384 * 3072 + 384 * 384 + 2 * 384)
    second = 2 * 4 * (384 * 768 + 384 * 384 + 2 * 384)
    assert HeadSettings("tokens", 4, network="bilstm").network_weights(768) == first + second


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(0, 5), st.integers(0, 99))
def test_a_bilstm_reads_neither_padding_nor_the_texts_beside_it(lengths, more, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        lstm, longest = BiLstm(6, hidden=8, dropout=0.0), max(lengths) + more
        states = torch.randn(len(lengths), longest, 6)
        states[torch.arange(longest) >= torch.tensor(lengths)[:, None]] = float("nan")  # read, it would show
        mask = (torch.arange(longest) < torch.tensor(lengths)[:, None]).long()
        with torch.no_grad():
            together = lstm(states, mask)
            for row, length in enumerate(lengths):
                alone = lstm(states[row : row + 1, :length], None)[0]
                torch.testing.assert_close(together[row, :length], alone, rtol=1e-5, atol=1e-6)
                assert not together[row, length:].any()


@pytest.mark.parametrize(("kind", "head"), NEW, ids=str)
@pytest.mark.parametrize("family", ["bert", "mpnet"])
def test_padding_does_not_change_the_logits(family, kind, head, encoder_of):
    encoder, model = encoder_of(family), build(encoder_of(family), kind, head)
    alone = encoder.tokenizer(TEXTS[1], return_tensors="pt")
    real = alone["input_ids"].shape[1]
    padded = encoder.tokenizer([TEXTS[1], TEXTS[2]], padding="max_length", max_length=32, return_tensors="pt")
    beside, expected = model(**padded).logits[0], model(**alone).logits[0]
    torch.testing.assert_close(beside[:real] if kind == "token" else beside, expected, rtol=1e-5, atol=1e-5)


def test_in_bfloat16_the_lstm_itself_computes_in_float32(encoder_of):
    model = build(encoder_of("bert"), "token", HeadSettings("tokens", network="bilstm"))
    batch = encoder_of("bert").tokenizer(TEXTS, padding=True, return_tensors="pt")
    seen = []
    model.network.register_forward_hook(lambda _, args, output: seen.append((args[0].dtype, output.dtype)))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        model(**batch)
    assert [output for _, output in seen] == [torch.float32]


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"pooling": "mean", "network": "lstm"}, UnknownName, "lstm"),
        ({"pooling": "mean", "network": "bilstm"}, SettingsError, "takes the pooling 'tokens', not 'mean'"),
        ({"pooling": "mean", "mixed": True}, SettingsError, "a mix is of several layers"),
        ({"network": "mlp"}, SettingsError, "the standard head is one of the family's own"),
    ],
)
def test_heads_that_make_no_sense_are_refused(settings, error, said):
    with pytest.raises(error, match=said):
        HeadSettings(**settings)


def test_they_are_spelled_by_what_differs_from_the_usual():
    head = HeadSettings("tokens", 4, mixed=True, network="bilstm")
    assert str(head) == "pooling=tokens,layers=4,mixed=True,network=bilstm"
    assert not head.is_linear
    assert HeadSettings("tokens", 4).is_linear
    assert not HeadSettings("tokens", 4, mixed=True).is_linear
