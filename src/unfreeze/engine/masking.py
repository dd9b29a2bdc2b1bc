"""What is hidden of a text in one pass: units chosen at random, and what stands in their place.

Of the units that are chosen, 80 % become mask tokens, 10 % random tokens, 10 % stay as they are, so that the encoder
cannot rely on seeing a mask token where it has to know something. All tokens of a unit go the same way.

Source: Devlin et al. 2019, arXiv:1810.04805, sections 3.1 and A.1; whole spans as in Joshi et al. 2020 (SpanBERT),
arXiv:1907.10529, section 3.1. Differs: the units are those that labels name, not random ones.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from unfreeze.plan import Masking
from unfreeze.tasks import IGNORED, Feature

MASKED, RANDOM = 0.8, 0.1
"""Shares of the chosen units that become mask tokens, and random ones; the rest stay."""


def masked(
    features: Sequence[Feature],
    masking: Masking,
    *,
    mask_token_id: int,
    usable: np.ndarray,
    draw: np.random.Generator,
) -> list[Feature]:
    """Features in which some units are hidden; those without any unit are left out.

    Of each feature at least one unit is hidden, so that a text with a single entity takes part in every pass.

    Args:
        features: of any task.
        masking: what is hidden.
        mask_token_id: what stands for a hidden token.
        usable: token numbers that a random one is drawn from, (tokens,), int64.
        draw: where the choice comes from.

    Returns:
        Features with the same inputs but for the hidden tokens; targets are the numbers of the tokens that were
        chosen, ``IGNORED`` elsewhere, one a token.
    """
    return [_masked(f, masking.share, mask_token_id, usable, draw) for f in features if f.spans]


def _masked(feature: Feature, share: float, mask: int, usable: np.ndarray, draw: np.random.Generator) -> Feature:
    ids = list(feature.inputs["input_ids"])
    targets = [IGNORED] * len(ids)
    chosen = draw.random(len(feature.spans)) < share
    if not chosen.any():
        chosen[draw.integers(len(chosen))] = True
    for (start, end), hidden in zip(feature.spans, chosen, strict=True):
        if not hidden:
            continue
        targets[start:end] = ids[start:end]
        how = draw.random()
        if how < MASKED:
            ids[start:end] = [mask] * (end - start)
        elif how < MASKED + RANDOM:
            ids[start:end] = draw.choice(usable, end - start).tolist()
    words = feature.words or (-1,) * len(ids)  # a target for each token, as token tasks have them
    return replace(feature, inputs={**feature.inputs, "input_ids": ids}, targets=tuple(targets), words=words)


def units_of(features: Sequence[Feature]) -> list[int]:
    """The numbers of all tokens that could be hidden, one after another."""
    return [i for f in features for start, end in f.spans for i in f.inputs["input_ids"][start:end]]


def unigram_loss(known: Sequence[int], targets: Sequence[int], *, vocabulary: int) -> float:
    """Mean loss, in nats a token, of who guesses each token by how often it stands among the known ones.

    Each token of the vocabulary counts once more than it was seen, so that none is impossible.

    Args:
        known: token numbers that the guesses are learned from.
        targets: token numbers to be guessed, at least one.
        vocabulary: how many numbers there are.
    """
    counts = np.bincount(np.asarray(known, dtype=np.int64), minlength=vocabulary) + 1.0
    return float(-np.log(counts[np.asarray(targets, dtype=np.int64)] / counts.sum()).mean())
