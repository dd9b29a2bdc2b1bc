"""The masked-language-model head: the family's own, tied, and taken off without a trace."""

import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers

from runs import make_model, weights_of
from tiny import FAMILIES
from unfreeze.encoders.loading import load_encoder
from unfreeze.encoders.masked_head import attach_masked_head, detach_masked_head, masked_head_of
from unfreeze.encoders.reading_outline import read_outline
from unfreeze.encoders.silence import quiet
from unfreeze.errors import SettingsError


@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_that_the_folder_brings_gives_what_transformers_gives(
    family: str, encoder_of: Any, tmp_path: Path
) -> None:
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(1)
        whole = transformers.AutoModelForMaskedLM.from_config(copy.deepcopy(encoder_of(family).config))
        for parameter in whole.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        whole.save_pretrained(tmp_path)
    encoder_of(family).tokenizer.save_pretrained(tmp_path)
    encoder = load_encoder(str(tmp_path))
    model, _ = make_model(encoder, "token")
    attach_masked_head(model, encoder, seed=0)
    head = masked_head_of(model)
    assert head is not None
    assert not head.is_new
    batch = {"input_ids": torch.arange(5, 17)[None], "attention_mask": torch.ones(1, 12, dtype=torch.long)}
    with torch.no_grad():
        ours = head(model.base_model(**batch)[0][0])
        theirs = whole.eval()(**batch).logits[0]
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_new_head_is_tied_stands_beside_the_head_and_leaves_no_trace(family: str, encoder_of: Any) -> None:
    encoder = encoder_of(family)
    model, plain = make_model(encoder, "token")
    before = weights_of(model)
    state = torch.random.get_rng_state()
    attach_masked_head(model, encoder, seed=3)
    assert torch.equal(state, torch.random.get_rng_state())
    head = masked_head_of(model)
    assert head is not None
    assert head.is_new
    words = model.get_input_embeddings()
    assert head.language_model.get_output_embeddings().weight is words.weight
    outline = read_outline(model)
    assert head.language_model.get_output_embeddings().weight is words.weight, "reading an outline unties nothing"
    assert (outline.encoder, outline.head) == (plain.encoder, plain.head)
    assert set(outline.auxiliary) == set(weights_of(model)) - set(before)
    assert all(name.startswith("masked_head.") for name in outline.auxiliary)
    assert {outline.part_of(name) for name in outline.auxiliary} == {"auxiliary"}
    detach_masked_head(model)
    assert masked_head_of(model) is None
    after = weights_of(model)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert read_outline(model) == plain


def test_the_seed_decides_a_new_head_and_a_detached_model_stays_as_it_is(encoder_of: Any) -> None:
    def weights(seed: int) -> torch.Tensor:
        model, _ = make_model(encoder_of("bert"), "token")
        attach_masked_head(model, encoder_of("bert"), seed=seed)
        return torch.cat([p.flatten() for n, p in model.named_parameters() if n.startswith("masked_head.")])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))
    model, outline = make_model(encoder_of("bert"))
    detach_masked_head(model)
    assert read_outline(model) == outline


def test_random_tokens_are_drawn_from_ordinary_ones(encoder_of: Any) -> None:
    encoder = encoder_of("bert")
    model, _ = make_model(encoder, "token")
    attach_masked_head(model, encoder, seed=0)
    head = masked_head_of(model)
    assert head is not None
    assert not set(head.usable.tolist()) & set(encoder.tokenizer.all_special_ids)
    assert len(head.usable) == len(encoder.tokenizer) - len(set(encoder.tokenizer.all_special_ids))
    assert head.mask_token_id == encoder.tokenizer.mask_token_id


def test_without_a_mask_token_nothing_can_be_masked(encoder_of: Any) -> None:
    model, _ = make_model(encoder_of("bert"), "token")
    silent = replace(encoder_of("bert"), tokenizer=SimpleNamespace(mask_token_id=None))  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="no mask token"):
        attach_masked_head(model, silent, seed=0)
