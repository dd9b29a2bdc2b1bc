"""Which features a step sees, and how they become tensors."""

from collections.abc import Sequence

import numpy as np
import torch

from unfreeze.tasks import IGNORED, Feature

CALL_TOKENS = 96
"""What one more call of the model costs, in tokens computed: below it, padding is cheaper than another call."""

MOST_TOKENS = 8192
"""Padded tokens of one call at the most, which bounds memory; a single longer feature still goes through."""


def order_of(number: int, *, seed: int, epoch: int) -> np.ndarray:
    """The order of the training features in an epoch: a pure function, so that resuming seeks instead of replaying.

    Args:
        number: how many features there are.
        seed: of the run.
        epoch: from 0.

    Returns:
        A permutation of 0 … number - 1, int64, (number,).
    """
    return np.random.default_rng([seed, epoch]).permutation(number)


def in_turn(number: int, *, step: int, size: int, seed: int) -> list[int]:
    """Which of so many features a step sees that draws them in turn: again and again all of them, in a new order.

    Args:
        number: how many there are.
        step: from 0.
        size: of each step.
        seed: of the run.

    Returns:
        Places in 0 … number - 1; none where there are none.
    """
    if not number:
        return []
    turns = range(step * size, (step + 1) * size)
    orders = {again: order_of(number, seed=seed, epoch=again) for again in {turn // number for turn in turns}}
    return [int(orders[turn // number][turn % number]) for turn in turns]


def grouped_by_length(lengths: Sequence[int], *, most: int = MOST_TOKENS) -> list[list[int]]:
    """Split one batch into parts of similar length, so that little is computed on padding.

    The parts are the cheapest split of the batch sorted by length, where a part costs its padded tokens plus
    ``CALL_TOKENS``. Gradients of the parts add up to those of the batch, because the loss is a sum divided by the
    batch's own number of targets.

    Args:
        lengths: tokens of each feature of the batch.
        most: padded tokens of a part; a single longer feature is a part all the same.

    Returns:
        Positions within the batch, each exactly once.
    """
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    ordered = [lengths[i] for i in order]
    best: list[tuple[int, int]] = [(0, 0)]
    for end in range(1, len(ordered) + 1):
        costs = []
        for start in range(end - 1, -1, -1):
            tokens = ordered[end - 1] * (end - start)
            if tokens > most and end - start > 1:
                break
            costs.append((best[start][0] + tokens + CALL_TOKENS, start))
        best.append(min(costs))
    parts, end = [], len(ordered)
    while end:
        start = best[end][1]
        parts.append(order[start:end])
        end = start
    return parts[::-1]


def cut_by_tokens(lengths: Sequence[int], *, most: int) -> list[list[int]]:
    """Cut one batch, as it lies, into the fewest runs of neighbours with at most so many tokens each.

    Args:
        lengths: tokens of each feature of the batch.
        most: tokens of a part; a single longer feature is a part all the same.

    Returns:
        Positions within the batch, each exactly once.
    """
    parts: list[list[int]] = []
    room = 0
    for i, length in enumerate(lengths):
        if not parts or length > room:
            parts.append([])
            room = most
        parts[-1].append(i)
        room -= length
    return parts


def canonical_batches(features: Sequence[Feature]) -> list[list[int]]:
    """All features in batches of similar length, the same ones for the same features: for all but training."""
    order = sorted(range(len(features)), key=lambda i: (features[i].length, i))
    batches: list[list[int]] = []
    for i in order:
        if not batches or features[i].length * (len(batches[-1]) + 1) > MOST_TOKENS // 4 or len(batches[-1]) == 64:
            batches.append([])
        batches[-1].append(i)
    return batches


def collate(features: Sequence[Feature], *, pad_token_id: int, device: str) -> dict[str, torch.Tensor]:
    """Features as the model's inputs, padded on the right to the longest, (features, tokens), int64."""
    longest = max(feature.length for feature in features)
    fill = {"input_ids": pad_token_id}
    return {
        key: torch.tensor(
            [[*f.inputs[key], *[fill.get(key, 0)] * (longest - f.length)] for f in features], device=device
        )
        for key in features[0].inputs
    }


def collate_targets(features: Sequence[Feature], device: str) -> torch.Tensor:
    """Targets as (features,) for whole texts or (features, tokens) padded with ``IGNORED`` for tokens, int64."""
    if not features[0].words:
        return torch.tensor([feature.targets[0] for feature in features], device=device)
    longest = max(feature.length for feature in features)
    rows = [[*feature.targets, *[IGNORED] * (longest - feature.length)] for feature in features]
    return torch.tensor(rows, device=device)
