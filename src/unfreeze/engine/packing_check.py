"""How a model's batches may be computed: found by trying, because families differ and some fail without a word.

A few made-up texts of different lengths go through the model padded, as transformers does it, and packed; logits and
gradients must agree. A control that lets all texts see each other must not agree: otherwise the comparison could not
have told a right mask from a wrong one.
"""

import copy
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import nn

from unfreeze.encoders.outline import Outline
from unfreeze.engine.packing import Packing, packed

LENGTHS = (5, 19, 7, 12)
"""Tokens of the texts that are tried: with padding, and long enough for a small sliding window to matter."""

AGREEMENT = 2e-4
"""Largest difference, relative to the largest value: of float32 sums in another order."""

Way = Literal["narrowed", "packed", "grouped", "padded"]

_known: dict[tuple[str, str], Way] = {}


def way_of_batching(model: nn.Module, outline: Outline) -> Way:
    """How a model's batches are computed. Tried once for each architecture in a process.

    Args:
        model: in float32; left as it was, weights, gradients, modes and random state.
        outline: its parts.

    Returns:
        "packed" where that gives what padding gives; "narrowed" where that still holds if the last layer computes no
        more than a head needs that reads the first token alone; "grouped", in parts of similar length, for families
        whose attention cannot be told where a text begins (MPNet, DeBERTa) and for heads that read several layers;
        "padded", all to the longest, for families that let padding shine through (ConvBERT mixes neighbouring tokens).
    """
    key = (type(model).__name__, model.config.to_json_string(use_diff=False))  # type: ignore[union-attr,operator]
    if key not in _known:
        with torch.random.fork_rng(devices=[]):
            _known[key] = _tried(model, outline)
    return _known[key]


def _tried(model: nn.Module, outline: Outline) -> Way:
    several = int(getattr(model.config, "layers", 1)) > 1
    if not several and _agree(model, outline):
        return "narrowed" if _agree(model, outline, narrows=True) else "packed"
    return "grouped" if _ignores_padding(model) else "padded"


def _ignores_padding(model: nn.Module) -> bool:
    """Whether each text has the logits beside longer ones that it has alone."""
    tried = copy.deepcopy(model).eval()
    batch, lengths = _batch(tried)
    with torch.no_grad():
        together = tried(**batch).logits
        for row, length in enumerate(lengths):
            alone = tried(**{name: ids[row : row + 1, :length] for name, ids in batch.items()}).logits[0]
            beside = together[row, :length] if together.ndim == 3 else together[row]
            if not _close([beside], [alone]):
                return False
    return True


def _batch(model: nn.Module) -> tuple[dict[str, torch.Tensor], list[int]]:
    """Made-up texts of different lengths, padded on the right, and their lengths."""
    config: Any = model.config
    longest = min(max(LENGTHS), int(getattr(config, "max_position_embeddings", 512)) - 2)
    lengths = [min(length, longest) for length in LENGTHS]
    ids = torch.full((len(lengths), longest), int(config.pad_token_id or 0))
    generator = torch.Generator().manual_seed(0)
    words: Any = model.get_input_embeddings()  # type: ignore[operator]
    lowest = min(6, words.num_embeddings - 1)  # beyond the special tokens
    for row, length in zip(ids, lengths, strict=True):
        row[:length] = torch.randint(lowest, words.num_embeddings, (length,), generator=generator)
    mask = (torch.arange(longest) < torch.tensor(lengths)[:, None]).long()
    device = words.weight.device
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}, lengths


def _agree(model: nn.Module, outline: Outline, *, narrows: bool = False) -> bool:
    """Whether logits and gradients are the same packed and padded, and others without a mask."""
    tried = copy.deepcopy(model).eval().requires_grad_()
    batch, lengths = _batch(tried)
    try:
        whole = _values(tried, batch, nullcontext())
        packing = Packing(lengths, device=batch["input_ids"].device.type, narrows=narrows)
        ours = _values(tried, batch, packed(tried, outline, packing=packing))
        if not _close(whole, ours):
            return False
        # One long text instead of several: the same tokens, and no mask between them.
        packing.groups, packing.grouped = _merged(packing)
        return not _close(whole, _values(tried, batch, packed(tried, outline, packing=packing)))
    except (TypeError, ValueError, KeyError, RuntimeError, IndexError, AttributeError):
        return False  # a layer of this family wants other inputs than it was given


def _merged(packing: Packing) -> tuple[list, torch.Tensor]:  # type: ignore[type-arg]
    one = Packing([packing.tokens], device=packing.padded.device.type)
    packing.grouped_rows = one.grouped_rows
    return one.groups, one.grouped


def _values(model: nn.Module, batch: dict[str, torch.Tensor], how: AbstractContextManager[None]) -> list[torch.Tensor]:
    """Logits of the real tokens, and the gradient of every parameter."""
    model.zero_grad()
    with how, torch.enable_grad():
        logits = model(**batch).logits
    if logits.ndim == 3:
        logits = logits[batch["attention_mask"].bool()]
    weights = torch.linspace(-1, 1, logits.numel(), device=logits.device).view_as(logits)
    (logits * weights).sum().backward()
    return [logits.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


def _close(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    if len(left) != len(right):
        return False
    largest = max(float(values.abs().max()) for values in left)
    return all(
        bool((a - b).abs().max() <= AGREEMENT * max(float(a.abs().max()), 1e-3 * largest))
        for a, b in zip(left, right, strict=True)
    )
