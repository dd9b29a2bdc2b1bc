"""An encoder's tokenizer: always a fast one, with a vocabulary that fits, and able to take pre-split words."""

import copy
import json
from collections.abc import Container, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer
from torch import nn

from unfreeze.encoders.silence import quiet
from unfreeze.errors import EncoderError

Spans = tuple[tuple[int, int], ...]

UNSET_LENGTH = 1_000_000_000
"""transformers writes 1e30 where a tokenizer names no longest input."""


def load_tokenizer(name: str, folder: Path) -> transformers.PreTrainedTokenizerBase:
    """Load a folder's tokenizer.

    Args:
        name: how the user calls the model, for messages.
        folder: with the tokenizer's files.

    Raises:
        EncoderError: it cannot be read, it is a slow one, or it lacks what is needed to make batches.
    """
    try:
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, use_fast=True
            )
    except Exception as error:  # the tokenizers library raises bare Exceptions
        raise EncoderError(
            f"{name}: the tokenizer cannot be read ({_first_line(error)}). If the folder holds a *.model file and no "
            "tokenizer.json, run: pip install sentencepiece protobuf; otherwise fetch the model again."
        ) from None
    if not tokenizer.is_fast:
        raise EncoderError(
            f"{name}: {type(tokenizer).__name__} is a slow tokenizer, which cannot say where in the text a token "
            "comes from. Choose a model that has a tokenizer.json."
        )
    if tokenizer.pad_token_id is None:
        raise EncoderError(f"{name}: the tokenizer has no padding token, so it is no encoder's. Choose another model.")
    return tokenizer


def check_vocabulary(tokenizer: transformers.PreTrainedTokenizerBase, rows: int, *, name: str) -> None:
    """Refuse a tokenizer whose ids the embeddings do not have, or that knows no words.

    Args:
        tokenizer: to look at.
        rows: number of token embeddings.
        name: how the user calls the model, for messages.

    Raises:
        EncoderError: the two do not belong together.
    """
    ids = tokenizer.get_vocab().values()
    if len(ids) <= len(tokenizer.all_special_ids):
        raise EncoderError(f"{name}: the tokenizer knows no words, only special tokens. Fetch its files again.")
    if max(ids) >= rows:
        raise EncoderError(
            f"{name}: the tokenizer gives ids up to {max(ids)}, but the model has embeddings for {rows} ids "
            f"(0 to {rows - 1}). The two do not belong together: fetch both from the same place."
        )


def input_window(
    tokenizer: transformers.PreTrainedTokenizerBase, config: transformers.PretrainedConfig, *, name: str
) -> int:
    """The longest input in tokens, special ones included: what both the tokenizer and the positions allow.

    Raises:
        EncoderError: neither says.
    """
    positions = _usable_positions(name, config)
    limits = [int(tokenizer.model_max_length), *([positions] if positions else [])]
    if min(limits) >= UNSET_LENGTH:
        raise EncoderError(
            f"{name}: nothing says how long an input may be. Write model_max_length into tokenizer_config.json."
        )
    return min(limits)


def with_prefix_space(tokenizer: transformers.PreTrainedTokenizerBase) -> transformers.PreTrainedTokenizerBase:
    """The same tokenizer, for words: each word is read as in running text, after a space.

    A byte-level tokenizer that adds no space reads the pre-split words ("New", "York") as "NewYork", silently; with it,
    words and the text they come from give the same tokens. All other tokenizers are given back as they are.
    """
    state: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    if not _add_spaces(state.get("pre_tokenizer")):
        return tokenizer
    _add_spaces(state.get("post_processor"))
    changed = Tokenizer.from_str(json.dumps(state))
    spaced = copy.deepcopy(tokenizer)
    spaced.backend_tokenizer.pre_tokenizer = changed.pre_tokenizer
    spaced.backend_tokenizer.post_processor = changed.post_processor
    spaced.add_prefix_space = True  # what RobertaTokenizer rebuilds itself from after a reload
    return spaced


def whole_words(ids: Sequence[int], words: Sequence[int | None], *, special: Container[int]) -> Spans:
    """Where the words of a text lie among its tokens.

    A word is what the tokenizer cuts a text into before it cuts words into pieces: for WordPiece what stands between
    spaces and punctuation marks, for byte-level BPE also such as " boat" and "'s", for SentencePiece what stands
    between spaces.

    Args:
        ids: the text's token numbers.
        words: for each the number of its word; None where it has none.
        special: token numbers that are no words, wherever they stand: those around a text, and unknown ones.

    Returns:
        First token, and token after the last, of each word without a special token, in order.
    """
    runs = groupby(range(len(ids)), key=lambda i: words[i])
    found = ((word, list(places)) for word, places in runs)
    return tuple(
        (places[0], places[-1] + 1)
        for word, places in found
        if word is not None and not any(ids[i] in special for i in places)
    )


def _add_spaces(state: Any) -> bool:
    """Turn ``add_prefix_space`` on in a saved (pre- or post-) processor; whether anything changed."""
    if isinstance(state, list):
        return any([_add_spaces(item) for item in state])
    if not isinstance(state, dict):
        return False
    changed = state.get("add_prefix_space") is False
    if changed:
        state["add_prefix_space"] = True
    return any([changed, *(_add_spaces(item) for item in state.values())])


def _usable_positions(name: str, config: transformers.PretrainedConfig) -> int | None:
    """Positions a text may take; RoBERTa and its kin count from ``padding_idx + 1`` and lose those before it."""
    positions = getattr(config, "max_position_embeddings", None)
    if not positions or positions < 0:
        return None
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"), quiet():  # meta: the structure, no memory
            model = transformers.AutoModel.from_config(copy.deepcopy(config), trust_remote_code=False)
    except Exception as error:  # sizes that do not go together fail in as many ways as there are families
        raise EncoderError(
            f"{name}: no {config.model_type} encoder can be built from config.json ({_first_line(error)}). "
            "Fetch it again, or choose another model."
        ) from None
    words = model.get_input_embeddings()
    tables = [m for m in model.modules() if isinstance(m, nn.Embedding) and m is not words]
    lost = [m.padding_idx + 1 for m in tables if m.padding_idx is not None and m.num_embeddings == positions]
    return int(positions) - max(lost, default=0)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
