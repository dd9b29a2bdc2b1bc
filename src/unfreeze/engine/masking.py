"""What is hidden of a text in one pass: units chosen at random, and what stands in their place.

Of the units that are chosen, 80 % become mask tokens, 10 % random tokens, 10 % stay as they are, so that the encoder
cannot rely on seeing a mask token where it has to know something. All tokens of a unit go the same way.

Source: Devlin et al. 2019, arXiv:1810.04805, sections 3.1 and A.1, whole words as in their later release; spans as in
Joshi et al. 2020 (SpanBERT), arXiv:1907.10529, section 3.1. Differs: entities are those that labels name; where the
share of a text ends within a span, that span is shorter by whole words, never by a part of one.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from unfreeze.plan import Masking
from unfreeze.tasks import IGNORED, Feature

MASKED, RANDOM = 0.8, 0.1
"""Shares of the chosen units that become mask tokens, and random ones; the rest stay."""

SPAN_ENDS, LONGEST_SPAN = 0.2, 10
"""A span ends behind each of its words with this probability, and after so many words."""

Places = Sequence[tuple[int, int]]


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
    chosen = ((f, _chosen(parts_of(f, masking), masking, draw)) for f in features if parts_of(f, masking))
    return [_masked(feature, units, mask_token_id, usable, draw) for feature, units in chosen]


def parts_of(feature: Feature, masking: Masking) -> Places:
    """What of a feature can be hidden: first token, and token after the last, of each entity or word."""
    return feature.spans if masking.unit == "entity" else feature.whole_words


def _chosen(parts: Places, masking: Masking, draw: np.random.Generator) -> list[Places]:
    """The units to be hidden, each as the parts that go the same way."""
    if masking.unit == "span":
        return [parts[start:end] for start, end in spans_among(len(parts), share=masking.share, draw=draw)]
    chosen = draw.random(len(parts)) < masking.share
    if not chosen.any():
        chosen[draw.integers(len(chosen))] = True
    return [[part] for part, hidden in zip(parts, chosen, strict=True) if hidden]


def spans_among(words: int, *, share: float, draw: np.random.Generator) -> list[tuple[int, int]]:
    """Spans of words that together are a share of all, at least one word.

    Each begins at a word that is not hidden yet and is as long as is drawn, unless the text ends, another span begins,
    or the share is reached.

    Args:
        words: how many there are, at least one.
        share: of them that is to be hidden.
        draw: where the choice comes from.

    Returns:
        First word, and word after the last, of each; no two share a word.
    """
    wanted = max(1, round(share * words))
    hidden = np.zeros(words, dtype=bool)
    spans = []
    while (left := wanted - int(hidden.sum())) > 0:
        start = int(draw.choice(np.flatnonzero(~hidden)))
        taken = np.flatnonzero(hidden[start:])
        end = min(start + min(_length(draw), left), start + int(taken[0]) if len(taken) else words)
        hidden[start:end] = True
        spans.append((start, end))
    return spans


def _length(draw: np.random.Generator) -> int:
    """A span's length in words: geometric, with what lies above the longest drawn again."""
    while (length := int(draw.geometric(SPAN_ENDS))) > LONGEST_SPAN:
        pass
    return length


def _masked(
    feature: Feature, units: Sequence[Places], mask: int, usable: np.ndarray, draw: np.random.Generator
) -> Feature:
    ids = list(feature.inputs["input_ids"])
    targets = [IGNORED] * len(ids)
    for unit in units:
        how = draw.random()
        for start, end in unit:
            targets[start:end] = ids[start:end]
            if how < MASKED:
                ids[start:end] = [mask] * (end - start)
            elif how < MASKED + RANDOM:
                ids[start:end] = draw.choice(usable, end - start).tolist()
    words = feature.words or (-1,) * len(ids)  # a target for each token, as token tasks have them
    return replace(feature, inputs={**feature.inputs, "input_ids": ids}, targets=tuple(targets), words=words)


def units_of(features: Sequence[Feature], masking: Masking) -> list[int]:
    """The numbers of all tokens that could be hidden, one after another."""
    return [i for f in features for start, end in parts_of(f, masking) for i in f.inputs["input_ids"][start:end]]


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
