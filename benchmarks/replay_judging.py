"""What a choice is worth: the cross-fitted oracle, the regret against it, and intervals. Arrays only, nothing is read.

Throughout, ``counts`` are what scores are summed from, of shape (settings, seeds, examples, counts), and ``score``
turns sums of shape (..., counts) into scores of shape (...). A *setting* is an arm with its head and learning rate.

The plain best in hindsight is picked on the rows that it is scored on, so among equals it always wins: a choice at
random among settings of the same quality would show points of "regret". Here the oracle is picked on one half of the
test rows and scored on the other, both ways, over many random halves; of equals it shows a regret of 0 in the mean.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Score = Callable[[Array], Array]

CHUNK = 100
"""Resamples at a time, so that memory stays small."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Test scores of all settings on random halves of the test rows.

    Attributes:
        scores: (settings, halves, 2): the mean over seeds on each half.
    """

    scores: Array

    @property
    def oracle(self) -> float:
        """Score of the setting that is best on the one half, on the other; mean over both ways and all halves."""
        first, second = self.scores[..., 0], self.scores[..., 1]
        at = np.arange(first.shape[1])
        crossed = second[first.argmax(0), at] + first[second.argmax(0), at]
        return float(crossed.mean() / 2)

    def score(self, shares: Array) -> float:
        """Mean score of a choice on the same halves.

        Args:
            shares: how often each setting is chosen, (settings,), summing to 1.
        """
        return float(shares @ self.scores.mean((1, 2)))

    def regret(self, shares: Array) -> float:
        """What a choice loses against the oracle, a fraction; below 0 where it beats it."""
        return self.oracle - self.score(shares)


def judged(counts: Array, score: Score, *, halves: int = 200, seed: int = 0) -> Judged:
    """Score all settings on random halves of the examples.

    Args:
        counts: (settings, seeds, examples, counts).
        score: sums to scores.
        halves: how many ways to halve; with an odd number of rows the second half has one more.
        seed: of the halves.

    Raises:
        ValueError: fewer than two examples.
    """
    examples = counts.shape[2]
    if examples < 2:
        raise ValueError(f"halves need two examples or more; got {examples}")
    random = np.random.default_rng(seed)
    masks = np.zeros((halves, examples))
    for mask in masks:
        mask[random.permutation(examples)[: examples // 2]] = 1
    parts = [_mean_scores(counts, weights, score) for weights in (masks, 1 - masks)]
    return Judged(np.stack(parts, axis=-1))


def _mean_scores(counts: Array, weights: Array, score: Score) -> Array:
    """Scores under weights of the examples, (settings, weights), the mean over seeds."""
    return _scores(counts, weights, score).mean(1)


def _scores(counts: Array, weights: Array, score: Score) -> Array:
    """Scores under weights of the examples, (settings, seeds, weights)."""
    return score(np.moveaxis(np.tensordot(weights, counts, axes=(1, 2)), 0, 2))


def difference_draws(
    ours: Array, theirs: Array, score: Score, *, shares: Array, draws: int = 2000, seed: int = 0
) -> Array:
    """Bootstrap draws of what a choice is ahead of a rival by, over test examples and over seeds.

    Each draw weighs the same examples on both sides, and draws the seeds of each side with replacement.

    Args:
        ours: (settings, seeds, examples, counts).
        theirs: (seeds, examples, counts) of the rival.
        score: sums to scores.
        shares: how often each setting is chosen, (settings,).
        draws: how many.
        seed: of the draws.

    Returns:
        (draws,) differences, fractions.
    """
    random = np.random.default_rng(seed)
    chosen = shares > 0
    counts, weight, examples = ours[chosen], shares[chosen], ours.shape[2]
    parts = []
    for start in range(0, draws, CHUNK):
        size = min(CHUNK, draws - start)
        weights = random.multinomial(examples, np.full(examples, 1 / examples), size=size).astype(np.float64)
        us = np.tensordot(weight, _scores(counts, weights, score), axes=1)
        them = _scores(theirs[None], weights, score)[0]
        parts.append(_over_seeds(us, random) - _over_seeds(them, random))
    return np.concatenate(parts)


def _over_seeds(scores: Array, random: np.random.Generator) -> Array:
    """Mean over seeds drawn with replacement, anew for each column of (seeds, draws)."""
    seeds, draws = scores.shape
    picked = random.integers(seeds, size=(seeds, draws))
    return np.take_along_axis(scores, picked, axis=0).mean(0)


def interval(draws: Array, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of bootstrap draws."""
    tail = (1 - level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)
