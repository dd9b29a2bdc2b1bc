"""Encoders of every family, small enough to build in a test, with real fast tokenizers of the right kind.

Their weights are random (a fixed function of the family), their words come from a made-up text, and every printable
ASCII or accented Latin character has a piece of its own, so that ordinary text never becomes an unknown token.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from unfreeze.encoders.silence import quiet

TEXT = """
A small boat left the old harbour before dawn and nobody in the quiet town heard the engine.
Anna Berg works for the Northern River Company in Oslo and writes long letters to her brother in Lima.
The film was good, the music was wonderful, but the ending was bad and the seats were terrible.
I love this place; I hate that noise. We will never come back, they said, and yet they did!
Doctor Silva found that patients with fever and cough recover faster when they sleep and drink water.
Which train goes to Geneva? Please cancel my order and send the money to the other card.
"""
CHARACTERS = [chr(i) for i in (*range(33, 127), *range(0xA1, 0x180), 0x2013, 0x2014, 0x2018, 0x2019, 0x201C, 0x201D)]
CHARACTERS = [c for c in CHARACTERS if c.isprintable() and not c.isspace()] + ["…", "€"]
POSITIONS = 64
SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
"""Every family has these, but DistilBERT, which spells them otherwise."""


def _words() -> list[str]:
    splitter = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    return sorted({word for word, _ in splitter.pre_tokenize_str(TEXT) if len(word) > 1})


def _wordpieces(specials: list[str]) -> dict[str, int]:
    words = dict.fromkeys([*_words(), *(w.lower() for w in _words()), "##s", "##ing", "##ed", "##er", "##e", "##n"])
    pieces = [*specials, *CHARACTERS, *(f"##{c}" for c in CHARACTERS), *words]
    return {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}


def _byte_pairs(specials: list[str]) -> Tokenizer:
    """A trained byte-level BPE: every byte has a piece, so that nothing is ever unknown."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=460, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    return tokenizer


def _unigrams(specials: list[str]) -> list[tuple[str, float]]:
    return [
        *((special, 0.0) for special in specials),
        ("▁", -6.0),
        *((character, -9.0) for character in CHARACTERS),
        *((f"▁{word}", -4.0) for word in _words()),
        *((ending, -5.0) for ending in ("ing", "ed", "er")),
    ]


BERT_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA_SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def _bert_tokenizer() -> Any:
    return transformers.BertTokenizer(vocab=_wordpieces(BERT_SPECIALS), model_max_length=POSITIONS)


def _roberta_tokenizer() -> Any:
    trained = _byte_pairs(ROBERTA_SPECIALS)
    merges = [tuple(pair) for pair in json.loads(trained.to_str())["model"]["merges"]]
    return transformers.RobertaTokenizer(vocab=trained.get_vocab(), merges=merges, model_max_length=POSITIONS)


def _mpnet_tokenizer() -> Any:
    vocab = _wordpieces(["<s>", "<pad>", "</s>", "[UNK]", "<mask>"])
    return transformers.MPNetTokenizer(vocab=vocab, model_max_length=POSITIONS)


def _deberta_tokenizer() -> Any:
    return transformers.DebertaV2Tokenizer(vocab=_unigrams(BERT_SPECIALS), model_max_length=POSITIONS)


def _modernbert_tokenizer() -> Any:
    trained = _byte_pairs(BERT_SPECIALS)
    trained.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[(special, trained.token_to_id(special)) for special in ("[CLS]", "[SEP]")],
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=trained,
        model_max_length=POSITIONS,
        model_input_names=["input_ids", "attention_mask"],
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


@dataclass(frozen=True)
class Family:
    """How to make one family's tokenizer, configuration and pretrained model."""

    model: str
    tokenizer: Callable[[], Any]
    config: dict[str, Any] = field(default_factory=dict)


_DEBERTA = {
    **SIZES,
    "relative_attention": True,
    "max_relative_positions": -1,
    "position_buckets": 8,
    "position_biased_input": False,
    "pos_att_type": ["p2c", "c2p"],
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "type_vocab_size": 0,
    "max_position_embeddings": POSITIONS,
}
_ROBERTA_LIKE = {**SIZES, "max_position_embeddings": POSITIONS + 2, "pad_token_id": 1}

_ALL = {
    "bert": Family("BertModel", _bert_tokenizer, {**SIZES, "max_position_embeddings": POSITIONS}),
    "roberta": Family(
        "RobertaModel",
        _roberta_tokenizer,
        {**_ROBERTA_LIKE, "type_vocab_size": 1, "bos_token_id": 0, "eos_token_id": 2},
    ),
    "distilbert": Family(
        "DistilBertModel",
        _bert_tokenizer,
        {"dim": 32, "n_layers": 3, "n_heads": 2, "hidden_dim": 48, "max_position_embeddings": POSITIONS},
    ),
    "electra": Family(
        "ElectraModel", _bert_tokenizer, {**SIZES, "embedding_size": 16, "max_position_embeddings": POSITIONS}
    ),
    "mpnet": Family("MPNetModel", _mpnet_tokenizer, {**_ROBERTA_LIKE, "bos_token_id": 0, "eos_token_id": 2}),
    "deberta-v2": Family(
        "DebertaV2Model",
        _deberta_tokenizer,
        {**_DEBERTA, "conv_kernel_size": 3, "conv_act": "gelu"},
    ),
    "deberta-v3": Family("DebertaV2Model", _deberta_tokenizer, _DEBERTA),
    "modernbert": Family(
        "ModernBertModel",
        _modernbert_tokenizer,
        {
            **SIZES,
            "max_position_embeddings": POSITIONS,
            "global_attn_every_n_layers": 2,
            "local_attention": 16,
            "pad_token_id": 0,
            "cls_token_id": 2,
            "bos_token_id": 2,
            "sep_token_id": 3,
            "eos_token_id": 3,
        },
    ),
    "albert": Family(
        "AlbertModel", _bert_tokenizer, {**SIZES, "embedding_size": 16, "max_position_embeddings": POSITIONS}
    ),
    "t5": Family(
        "T5Model", _deberta_tokenizer, {"d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2}
    ),
    "xlm": Family("XLMModel", _bert_tokenizer, {"emb_dim": 32, "n_layers": 3, "n_heads": 2, "pad_index": 0}),
}
FAMILIES = ("bert", "roberta", "distilbert", "electra", "mpnet", "deberta-v2", "deberta-v3", "modernbert")
"""Families that must work; ``REFUSED`` are built likewise, to be refused."""
REFUSED = ("albert", "t5", "xlm")


def tiny_encoder(family: str, folder: Path, *, seed: int = 0) -> Path:
    """Save an encoder of a family and its tokenizer into a folder (made here), and give the folder.

    Args:
        family: one of ``FAMILIES`` or ``REFUSED``.
        folder: where to; what is there is overwritten.
        seed: of the random weights.
    """
    spec = _ALL[family]
    tokenizer = spec.tokenizer()
    model_class = getattr(transformers, spec.model)
    config = model_class.config_class(vocab_size=len(tokenizer), **spec.config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(config)
        for parameter in model.parameters():  # far enough from the initial values that every part matters
            torch.nn.init.normal_(parameter, mean=1.0 if _is_norm(parameter, model) else 0.0, std=0.2)
    with quiet():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _is_norm(parameter: torch.nn.Parameter, model: torch.nn.Module) -> bool:
    return any(m.weight is parameter for m in model.modules() if isinstance(m, torch.nn.LayerNorm))
