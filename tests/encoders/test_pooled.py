"""Heads of our own read what they say they read, and plain transformers refuses them aloud."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tiny import FAMILIES
from unfreeze.encoders.building import build_model
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.encoders.reading_outline import layer_modules, read_outline
from unfreeze.errors import SettingsError, UnknownName

TEXTS = ["Anna works for the river company.", "I love it", "The film was good, but the ending was bad!"]


def build(encoder, head, kind="sequence"):
    return build_model(encoder, head, kind=kind, labels=("a", "b"), weights="pretrained", seed=0)


def states_of(model, batch):
    """The encoder's hidden states, collected by hooks: what goes into the first layer, what comes out of each."""
    layers = layer_modules(model, read_outline(model))
    collected = []
    hooks = [
        layer.register_forward_hook(lambda m, a, out: collected.append(out[0] if isinstance(out, tuple) else out))
        for layer in layers
    ]
    last = model.encoder(**batch).last_hidden_state
    for hook in hooks:
        hook.remove()
    return [*collected[:-1], last]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_logits_are_one_linear_layer_on_what_is_pooled(family, layers, encoder_of):
    encoder = encoder_of(family)
    batch = encoder.tokenizer(TEXTS, padding=True, return_tensors="pt")
    mask = batch["attention_mask"]
    for pooling, kind in [("first", "sequence"), ("mean", "sequence"), ("tokens", "token")]:
        model = build(encoder, HeadSettings(pooling, layers), kind)
        states = states_of(model, batch)
        if family in {"deberta-v2"}:  # its convolution acts between layers 0 and 1, after the hook
            states = list(model.encoder(**batch, output_hidden_states=True).hidden_states[1:])
        read = torch.cat(list(reversed(states))[:layers], dim=-1)
        pooled = {
            "first": read[:, 0],
            "mean": torch.stack([row[: n.item()].mean(dim=0) for row, n in zip(read, mask.sum(1), strict=True)]),
            "tokens": read,
        }[pooling]
        torch.testing.assert_close(model(**batch).logits, model.classifier(pooled), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_short_circuited_layers_give_the_same_logits(family, encoder_of):
    """As the engine does it: below a depth, layers give back stored states instead of computing them."""
    encoder = encoder_of(family)
    batch = encoder.tokenizer(TEXTS, padding=True, return_tensors="pt")
    model = build(encoder, HeadSettings("mean", 2))
    layers = layer_modules(model, read_outline(model))
    stored = {}
    hooks = [
        layer.register_forward_hook(lambda m, a, out, i=i: stored.update({i: out})) for i, layer in enumerate(layers)
    ]
    expected = model(**batch).logits
    for hook in hooks:
        hook.remove()

    def refuse(*args, **kwargs):
        raise AssertionError("a short-circuited layer computed")

    for i in (0, 1):
        layers[i].forward = lambda *args, i=i, **kwargs: stored[i]
        for child in layers[i].children():
            child.forward = refuse
    assert torch.equal(model(**batch).logits, expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_does_not_change_the_logits(family, encoder_of):
    encoder = encoder_of(family)
    model = build(encoder, HeadSettings("mean", 2))

    @given(st.integers(1, 20))
    def check(extra):
        alone = encoder.tokenizer(TEXTS[1], return_tensors="pt")
        length = alone["input_ids"].shape[1] + extra
        padded = encoder.tokenizer(TEXTS[1], padding="max_length", max_length=length, return_tensors="pt")
        torch.testing.assert_close(model(**padded).logits, model(**alone).logits, rtol=1e-5, atol=1e-5)

    check()


def test_without_a_mask_all_tokens_are_real(encoder_of):
    encoder = encoder_of("bert")
    model = build(encoder, HeadSettings("mean"))
    batch = encoder.tokenizer(TEXTS[0], return_tensors="pt")
    torch.testing.assert_close(model(batch["input_ids"]).logits, model(**batch).logits)


def test_the_head_drops_out_as_the_family_does_and_a_family_without_dropout_does_not(encoder_of):
    assert build(encoder_of("bert"), HeadSettings("mean")).dropout.p == encoder_of("bert").config.hidden_dropout_prob
    assert build(encoder_of("distilbert"), HeadSettings("mean")).dropout.p == 0.2
    assert build(encoder_of("modernbert"), HeadSettings("mean")).dropout.p == 0.0


FRESH = """
import sys, transformers
folders = [pair.partition("=")[::2] for pair in sys.argv[1].split(";")]
for auto, folder in folders:
    for refused in (auto, "AutoModel", "AutoConfig"):
        try:
            getattr(transformers, refused).from_pretrained(folder)
        except ValueError as error:
            assert "unfreeze-encoder" in str(error), error
        else:
            sys.exit(f"plain transformers loaded {folder} as {refused}")
import unfreeze.encoders.pooled
for auto, folder in folders:
    model = getattr(transformers, auto).from_pretrained(folder)
    batch = transformers.AutoTokenizer.from_pretrained(folder)(sys.argv[2:], padding=True, return_tensors="pt")
    print(model(**batch).logits.flatten().tolist())
"""
AUTO = {"sequence": "AutoModelForSequenceClassification", "token": "AutoModelForTokenClassification"}


def test_plain_transformers_refuses_it_and_ours_loads_it_equal_in_a_fresh_process(encoder_of, tmp_path):
    encoder = encoder_of("bert")
    batch = encoder.tokenizer(TEXTS, padding=True, return_tensors="pt")
    expected, folders = [], []
    for kind, head in [
        ("sequence", HeadSettings("mean", 2)),
        ("sequence", HeadSettings("mean", 2, mixed=True, network="mlp")),
        ("token", HeadSettings("tokens", 2)),
        ("token", HeadSettings("tokens", network="bilstm")),
    ]:
        model, folder = build(encoder, head, kind), tmp_path / str(len(folders))
        model.save_pretrained(folder)
        encoder.tokenizer.save_pretrained(folder)
        expected.append(str(model(**batch).logits.flatten().tolist()))
        folders.append(f"{AUTO[kind]}={folder}")
    command = [sys.executable, "-c", FRESH, ";".join(folders), *TEXTS]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip().splitlines()[-4:] == expected


def test_gradients_reach_every_layer_and_the_head(encoder_of):
    encoder = encoder_of("deberta-v3")
    model = build(encoder, HeadSettings("mean", 2))
    model(**encoder.tokenizer(TEXTS, padding=True, return_tensors="pt")).logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("settings", "error"),
    [(("middle",), UnknownName), (("mean", 0), SettingsError), (("standard", 2), SettingsError)],
)
def test_settings_that_make_no_sense_are_refused(settings, error):
    with pytest.raises(error):
        HeadSettings(*settings)


def test_settings_are_spelled_by_what_differs_from_the_usual():
    assert str(HeadSettings()) == ""
    assert str(HeadSettings("mean", 3)) == "pooling=mean,layers=3"
