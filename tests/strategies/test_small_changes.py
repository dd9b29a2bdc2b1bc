"""Strategies that learn a small part of what a full model has: as many parameters as their papers count."""

import pytest
import torch
import transformers

from runs import make_model
from unfreeze.encoders.outline import Outline
from unfreeze.encoders.reading_outline import read_outline
from unfreeze.errors import SettingsError
from unfreeze.strategies import strategy_named


@pytest.fixture
def large(monkeypatch):
    """A classifier of BERT-large's shape, by its configuration alone: no weight is made."""
    # Whether a mask may be left out is read off its values, and here there are none.
    monkeypatch.setattr(transformers.masking_utils, "_ignore_bidirectional_mask_sdpa", lambda *_, **__: False)
    config = transformers.BertConfig(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096, num_labels=2
    )
    with torch.device("meta"):
        return transformers.BertForSequenceClassification(config).eval()


def test_bitfit_trains_every_bias_and_no_more_and_the_papers_share_of_bert_large(large):
    outline = read_outline(large)
    learned = strategy_named("bitfit").plan(outline).ever_trainable - set(outline.head)
    assert learned == {name for name in outline.encoder if name.endswith(".bias")}
    # Of each layer: query, key, value, attention's output and norm, output and norm (1,024 each), feed-forward (4,096).
    by_hand = 24 * (7 * 1024 + 4096) + 1024 + 1024  # and those of the embeddings' norm and the pooler
    assert outline.size(learned) == by_hand
    assert round(100 * by_hand / outline.size(outline.encoder), 2) == 0.08


def test_bitfit_refuses_an_encoder_without_biases(encoder_of):
    _, outline = make_model(encoder_of("modernbert"))
    with pytest.raises(SettingsError, match="the layers of this encoder have none"):
        strategy_named("bitfit").plan(outline)
    only_above = Outline(("embed",), (("layer.0.weight",),), ("pooler.bias",), ("head.bias",), (), {}, "layer", "base")
    with pytest.raises(SettingsError):
        strategy_named("bitfit").plan(only_above)
