"""Bottlenecks: where the papers put them, as many parameters as the papers count, in a folder that says what it is."""

import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers

from runs import LABELS, RUNTIME, make_features, make_model
from unfreeze.encoders.bottlenecks import Adapted
from unfreeze.encoders.building import build_model
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.encoders.reading_outline import read_outline
from unfreeze.engine.prediction import logits_of
from unfreeze.errors import SettingsError, UnknownName
from unfreeze.strategies import install, merged, strategy_named

FEATURES = make_features(12)
PROJECTIONS = {
    "bert": ("attention.output.dense", "output.dense"),
    "roberta": ("attention.output.dense", "output.dense"),
    "electra": ("attention.output.dense", "output.dense"),
    "deberta-v3": ("attention.output.dense", "output.dense"),
    "distilbert": ("attention.out_lin", "ffn.lin2"),
    "mpnet": ("attention.attn.o", "output.dense"),
    "modernbert": ("attn.Wo", "mlp.Wo"),
}


def installed(encoder, spelling="adapters:size=4", *, seed=0, head=None, kind="sequence"):
    strategy = strategy_named(spelling)
    model, _ = make_model(encoder, kind, head=head)
    install(strategy, model, encoder=encoder, seed=seed)
    outline = read_outline(model)
    return model, outline, strategy.plan(outline)


def places_of(model):
    return [path for path, module in model.named_modules() if isinstance(module, Adapted)]


@pytest.mark.parametrize("family", PROJECTIONS)
def test_each_family_has_them_behind_the_projections_of_attention_and_feed_forward(family, encoder_of):
    plain, _ = make_model(encoder_of(family))
    model, outline, plan = installed(encoder_of(family))
    attention, feed_forward = (
        {f"{outline.stack}.{i}.{name}" for i in range(outline.depth)} for name in PROJECTIONS[family]
    )
    assert set(places_of(model)) == attention | feed_forward
    one, _, alone = installed(encoder_of(family), "adapters:size=4,placement=pfeiffer")
    assert set(places_of(one)) == feed_forward
    assert not any("norm" in name.lower() for name in alone.ever_trainable - set(outline.head))
    norms = {name for names in outline.layers for name in names if "norm" in name.lower()}
    assert norms <= plan.ever_trainable
    assert norms
    for first, second in zip(*(logits_of(m, FEATURES, runtime=RUNTIME) for m in (plain, model)), strict=True):
        np.testing.assert_allclose(second, first, atol=5e-2)
        assert not np.array_equal(first, second), "near the identity, not at it"


def test_a_bottleneck_is_written_out_and_ends_before_what_it_is_added_to(encoder_of):
    model, _, _ = installed(encoder_of("bert"))
    output, seen = model.bert.encoder.layer[0].output, {}
    assert isinstance(output.dense, Adapted)
    output.dense.register_forward_hook(lambda _, args, given: seen.update(read=args[0], given=given))
    output.LayerNorm.register_forward_hook(lambda _, args, given: seen.update(normed=args[0]))
    output.register_forward_hook(lambda _, args, given: seen.update(added=args[1]))
    with torch.no_grad():
        model(torch.arange(5, 12)[None])
        one = output.dense
        projected = seen["read"] @ one.projection.weight.T + one.projection.bias
        down = torch.nn.functional.gelu(projected @ one.adapter_down.weight.T + one.adapter_down.bias)
        by_hand = projected + down @ one.adapter_up.weight.T + one.adapter_up.bias
    torch.testing.assert_close(seen["given"], by_hand)
    torch.testing.assert_close(seen["normed"], by_hand + seen["added"])


def test_at_the_shape_of_bert_large_they_have_the_papers_share():
    """Table 1: 2.1 % of BERT's parameters at size 64, 3.6 % at the best size of each task, from 8 to 256."""
    config = transformers.BertConfig(
        hidden_size=1024, num_hidden_layers=1, num_attention_heads=16, intermediate_size=4096, vocab_size=100
    )
    model = transformers.BertForSequenceClassification(config).eval()
    layer = sum(parameter.numel() for parameter in model.bert.encoder.parameters())
    strategy = strategy_named("adapters")
    install(strategy, model, encoder=None, seed=0)
    outline = read_outline(model)

    def counted(size):
        return 2 * (2 * 1024 * size + 1024 + size) + 2 * 2 * 1024  # section 2.1: 2md + d + m each; two norms

    assert outline.size(strategy.plan(outline).ever_trainable - set(outline.head)) == counted(64)
    shares = {size: 100 * counted(size) / layer for size in (8, 64, 256)}  # of one layer, so of all 24
    assert shares[64] == pytest.approx(2.1, abs=0.05)
    assert shares[8] < 3.6 < shares[256]


def test_new_weights_follow_from_the_seed(encoder_of):
    first, again, other = (installed(encoder_of("bert"), seed=seed)[0].state_dict() for seed in (1, 1, 2))
    name = "bert.encoder.layer.0.output.dense.adapter_up.weight"
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])
    assert float(first[name].abs().max()) <= 2e-2


FRESH = """
import sys, transformers
folders = [pair.partition("=")[::2] for pair in sys.argv[1].split(";")]
for auto, folder in folders:
    for refused in (auto, "AutoModel", "AutoConfig"):
        try:
            getattr(transformers, refused).from_pretrained(folder)
        except ValueError as error:
            assert "unfreeze-adapted" in str(error), error
        else:
            sys.exit(f"plain transformers loaded {folder} as {refused}")
import torch, unfreeze.encoders.bottlenecks
for auto, folder in folders:
    model = getattr(transformers, auto).from_pretrained(folder)
    print(model(torch.arange(5, 12)[None]).logits.flatten().tolist())
"""


def test_plain_transformers_refuses_them_and_ours_loads_them_equal_in_a_fresh_process(encoder_of, tmp_path):
    expected, folders = [], []
    for kind, head in [("sequence", None), ("token", HeadSettings("tokens", 2, mixed=True, network="mlp"))]:
        model, _, _ = installed(encoder_of("bert"), kind=kind, head=head)
        whole = merged(strategy_named("adapters"), model)
        assert (whole.config.num_labels, whole.config.id2label) == (3, dict(enumerate(LABELS)))
        whole.save_pretrained(tmp_path / kind)
        auto = {"sequence": "SequenceClassification", "token": "TokenClassification"}[kind]
        folders.append(f"AutoModelFor{auto}={tmp_path / kind}")
        again = getattr(transformers, f"AutoModelFor{auto}").from_pretrained(tmp_path / kind)
        with torch.no_grad():
            first, second = (some(torch.arange(5, 12)[None]).logits for some in (model, again))
        torch.testing.assert_close(second, first, rtol=1e-5, atol=1e-6)
        expected.append(str(second.flatten().tolist()))
    command = [sys.executable, "-c", FRESH, ";".join(folders)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip().splitlines()[-2:] == expected


def test_what_makes_no_sense_or_is_not_understood_is_refused(encoder_of):
    with pytest.raises(SettingsError, match="at least 1 wide; got size=0"):
        installed(encoder_of("bert"), "adapters:size=0")
    with pytest.raises(UnknownName, match="Did you mean 'houlsby'"):
        installed(encoder_of("bert"), "adapters:placement=houlsbi")
    encoder = encoder_of("bert")
    model = build_model(encoder, HeadSettings(), kind="sequence", labels=LABELS, weights="pretrained", seed=0)
    layer = model.bert.encoder.layer[1]  # one that ends with another linear layer than the others do
    layer.output.dense = torch.nn.Sequential(layer.output.dense, torch.nn.Linear(32, 32))
    with pytest.raises(SettingsError, match="in BertLayer it is not understood which linear layers end attention"):
        install(strategy_named("adapters"), model, encoder=encoder, seed=0)
