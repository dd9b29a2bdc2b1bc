"""The norm that an encoder ends with is found by what acts, whatever it is called; what is no norm is not taken."""

import pytest
import torch
import transformers
from torch import nn

from tiny import FAMILIES
from unfreeze.encoders.building import build_model
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.encoders.reading_outline import read_outline
from unfreeze.errors import SettingsError
from unfreeze.strategies import strategy_named

LAST = {  # below the pretrained model, written down by hand from the modules; of three layers
    "distilbert": ("transformer.layer.2.output_layer_norm", ["weight", "bias"]),
    "modernbert": ("final_norm", ["weight"]),
}
USUAL = ("encoder.layer.2.output.LayerNorm", ["weight", "bias"])
HEADS = [("sequence", HeadSettings()), ("token", HeadSettings()), ("sequence", HeadSettings("mean", 2))]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("kind", "head"), HEADS, ids=lambda v: getattr(v, "pooling", v))
def test_the_last_norm_is_the_one_written_down_by_hand(family, kind, head, encoder_of):
    outline = read_outline(
        build_model(encoder_of(family), head, kind=kind, labels=("a", "b"), weights="pretrained", seed=0)
    )
    path, names = LAST.get(family, USUAL)
    assert outline.output_norm == tuple(f"{outline.base}.{path}.{name}" for name in names)
    inside = outline.top if family == "modernbert" else outline.layers[-1]
    assert set(outline.output_norm) <= set(inside)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_the_head_reads_has_passed_it(family, encoder_of):
    """Its gain at 0 leaves its bias alone, at every token: nothing stands between it and the head."""
    encoder = encoder_of(family)
    model = build_model(encoder, HeadSettings("mean"), kind="sequence", labels=("a", "b"), weights="pretrained", seed=0)
    outline = read_outline(model)
    with torch.no_grad():
        for name in outline.output_norm:
            model.get_parameter(name).fill_(0.0 if name.endswith("weight") else 0.25)
        ids = torch.arange(5, 11)[None]
        states = model.base_model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    assert torch.equal(states, torch.full_like(states, 0.25 if len(outline.output_norm) == 2 else 0.0))


class Called(nn.LayerNorm):
    """A norm under another name."""


class Scaled(nn.Module):
    """As wide as a norm, but what it gives grows with what it reads."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, states):
        return self.weight * states


def changed(encoder, module):
    """A BERT whose last layer ends with another module, called as the norm was."""
    model = transformers.BertForSequenceClassification(encoder.config)
    model.bert.encoder.layer[-1].output.LayerNorm = module
    return model


def test_a_norm_of_another_class_is_one_too(encoder_of):
    encoder = encoder_of("bert")
    outline = read_outline(changed(encoder, Called(encoder.config.hidden_size)))
    assert outline.output_norm == tuple(f"bert.{USUAL[0]}.{name}" for name in USUAL[1])


@pytest.mark.parametrize("kind", ["scaled", "linear", "nothing"])
def test_what_only_has_the_place_or_the_name_of_a_norm_is_refused_aloud(kind, encoder_of):
    encoder = encoder_of("bert")
    width = encoder.config.hidden_size
    module = {"scaled": Scaled, "linear": lambda w: nn.Linear(w, w), "nothing": lambda _: nn.Identity()}[kind](width)
    outline = read_outline(changed(encoder, module))
    assert outline.output_norm == ()
    with pytest.raises(SettingsError, match="top: no norm was found"):
        strategy_named("top").plan(outline)
