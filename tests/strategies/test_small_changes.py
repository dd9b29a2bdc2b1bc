"""Strategies that learn a small part of what a full model has: as many parameters as their papers count."""

from dataclasses import replace

import pytest
import transformers

from runs import RUNTIME, SETTINGS, farthest, make_data, make_features, make_model, weights_of, without_dropout
from unfreeze.encoders.outline import Outline
from unfreeze.encoders.reading_outline import read_outline
from unfreeze.engine.prefix import PrefixMemory
from unfreeze.engine.training import Run
from unfreeze.errors import SettingsError
from unfreeze.strategies import install, strategy_named


def test_bitfit_trains_every_bias_and_no_more_and_the_papers_share_of_bert_large():
    config = transformers.BertConfig(
        hidden_size=1024, num_hidden_layers=1, num_attention_heads=16, intermediate_size=4096, vocab_size=100
    )
    outline = read_outline(transformers.BertForSequenceClassification(config).eval())
    learned = strategy_named("bitfit").plan(outline).ever_trainable - set(outline.head)
    assert learned == {name for name in outline.encoder if name.endswith(".bias")}
    # Of each layer: query, key, value, attention's output and norm, output and norm (1,024 each), feed-forward (4,096).
    layer = 7 * 1024 + 4096
    assert outline.size(learned) == layer + 1024 + 1024  # and those of the embeddings' norm and the pooler
    others = 23 * outline.size(outline.layers[0]) + (30522 - 100) * 1024  # what BERT-large has beside this
    assert round(100 * (24 * layer + 2048) / (outline.size(outline.encoder) + others), 2) == 0.08


def test_bitfit_refuses_an_encoder_without_biases(encoder_of):
    _, outline = make_model(encoder_of("modernbert"))
    with pytest.raises(SettingsError, match="the layers of this encoder have none"):
        strategy_named("bitfit").plan(outline)
    only_above = Outline(("embed",), (("layer.0.weight",),), ("pooler.bias",), ("head.bias",), (), {}, "layer", "base")
    with pytest.raises(SettingsError):
        strategy_named("bitfit").plan(only_above)


@pytest.mark.parametrize("spelling", ["bitfit", "lora:r=2,lora_dropout=0.0", "adapters:size=4"])
def test_packed_batches_and_remembered_states_change_nothing(spelling, encoder_of, monkeypatch):
    """The first layer learns, so nothing may be remembered; and packed batches give what padded ones do."""
    encoder, features, found = without_dropout(encoder_of("bert")), make_features(18), {}
    for way in (None, "grouped"):
        if way:
            monkeypatch.setattr("unfreeze.engine.gradients.way_of_batching", lambda *_: "grouped")
        model, _ = make_model(encoder)
        install(strategy_named(spelling), model, encoder=encoder, seed=0)
        outline = read_outline(model)
        plan, data = strategy_named(spelling).plan(outline), make_data(features, PrefixMemory(features))
        settings = replace(SETTINGS, learning_rate=1e-3, num_train_epochs=2)
        run = Run(model, outline, plan=plan, settings=settings, data=data, runtime=RUNTIME)
        run._is_best = lambda row: True
        state = run.run()
        assert (run._depth, state.way) == (0, way or "narrowed")
        found[way] = weights_of(model)
    assert farthest(found[None], found["grouped"]) <= 1e-5
