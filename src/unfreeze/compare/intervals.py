"""Intervals for a score that is computed from counts: resampling examples, or whole documents, with replacement.

Every score here is a function of counts summed over examples (accuracy: correct, 1; entity F1: found, predicted, gold).
A resample is therefore a weight for each example times the counts, and no prediction is ever scored again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unfreeze.compare.clusters import Clusters
from unfreeze.compare.numerals import counted

Array = NDArray[np.float64]
Score = Callable[[Array], Array]

_CHUNK_CELLS = 2_000_000
_DRAWS_PER_TAIL = 25


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a score, or a difference of scores, lies.

    Attributes:
        low: lower end, in the unit of the score (a fraction).
        high: upper end.
        level: the confidence level, such as 0.95.
        basis: what it rests on, in words.
    """

    low: float
    high: float
    level: float
    basis: str

    def clipped(self, least: float, most: float) -> Self:
        """The same interval without what no score or difference can be: few runs make t intervals wider than that."""
        return replace(self, low=min(max(self.low, least), most), high=max(min(self.high, most), least))


def check_level(level: float) -> None:
    """Refuse a confidence level outside (0, 1).

    Raises:
        ValueError: the level is not strictly between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"a confidence level lies strictly between 0 and 1, such as 0.95; got {level}")


def unit_counts(counts: ArrayLike, clusters: Clusters | None = None) -> Array:
    """The counts of what is resampled: of each example, or summed over each cluster.

    Args:
        counts: (examples, counts), float.
        clusters: which examples belong together, such as to a document; None where they stand alone.

    Returns:
        (units, counts), float64.

    Raises:
        ValueError: no example, not two dimensions, a count that is not finite, or not one cluster an example.
    """
    rows = np.asarray(counts, dtype=np.float64)
    if rows.ndim != 2 or len(rows) == 0 or not np.isfinite(rows).all():
        raise ValueError(
            f"counts are finite numbers of shape (examples, counts), one example or more; got {rows.shape}"
        )
    if clusters is None:
        return rows
    if clusters.numbers.shape != (len(rows),):
        raise ValueError(f"one cluster an example: {len(rows)} examples, but clusters {clusters.numbers.shape}")
    index = np.unique(clusters.numbers, return_inverse=True)[1]
    sums = np.zeros((int(index.max()) + 1, rows.shape[1]))
    np.add.at(sums, index, rows)
    return sums


def _alike(units: Array) -> tuple[Array, NDArray[np.int64]]:
    """The distinct rows, and how often each occurs."""
    distinct, sizes = np.unique(units, axis=0, return_counts=True)
    return distinct, sizes.astype(np.int64)


def _chunks(resamples: int, width: int) -> Iterator[int]:
    step = max(1, _CHUNK_CELLS // max(1, width))
    for start in range(0, resamples, step):
        yield min(step, resamples - start)


def resampled_sums(units: Array, *, resamples: int, seed: int) -> Array:
    """Summed counts of bootstrap resamples of the units.

    Units with equal counts are exchangeable, so how often each *distinct* row is drawn is multinomial with the share of
    that row: the same distribution as drawing units one by one, at a cost that does not grow with their number, and a
    result that does not depend on their order.

    Args:
        units: (units, counts), float64.
        resamples: how many.
        seed: of the random draws.

    Returns:
        (resamples, counts), float64.

    Source:
        Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 6 (multinomial weights, section 20.2).
    """
    distinct, sizes = _alike(units)
    total = int(sizes.sum())
    shares = sizes / total
    random = np.random.default_rng(seed)
    parts = [random.multinomial(total, shares, size=size) @ distinct for size in _chunks(resamples, len(distinct))]
    return np.concatenate(parts)


def swapped_sums(units: Array, *, resamples: int, seed: int) -> Array:
    """Summed counts of two arms side by side after swapping them at random, unit by unit: as if they were equal.

    Args:
        units: (units, 2 * counts), float64; the first half of a row is one arm's, the second the other's.
        resamples: how many.
        seed: of the random swaps.

    Returns:
        (resamples, 2 * counts), float64.

    Source:
        Noreen 1989, Computer-Intensive Methods for Testing Hypotheses (approximate randomisation).
    """
    distinct, sizes = _alike(units)
    other = np.roll(distinct, distinct.shape[1] // 2, axis=1)
    random = np.random.default_rng(seed)
    parts = []
    for size in _chunks(resamples, len(distinct)):
        swaps = random.binomial(sizes, 0.5, size=(size, len(distinct)))
        parts.append((sizes - swaps) @ distinct + swaps @ other)
    return np.concatenate(parts)


def enough_resamples(resamples: int, level: float) -> int:
    """At least as many resamples as asked for, and enough to have 25 of them beyond each end of the interval."""
    return max(resamples, int(np.ceil(2 * _DRAWS_PER_TAIL / (1 - level))))


def unseen_share(units: int, level: float) -> float:
    """The largest share of a kind of unit of which none was seen among ``units``, at a two-sided level.

    It keeps ten examples without an error from passing for a certain score: about 3.7 / units at 95 %.

    Source:
        Clopper & Pearson 1934, Biometrika 26(4), the case of no success ("rule of three", two-sided).
    """
    return float(1 - ((1 - level) / 2) ** (1 / units))


def percentile_ends(draws: Array, point: float, *, units: int, level: float) -> tuple[float, float]:
    """The ends of the percentile interval of bootstrap draws, stretched because few units show too little spread.

    A bootstrap of n units divides by n where n - 1 is right, and knows no t: its interval is too narrow by a fifth with
    ten documents, by a hundredth with two hundred rows. Where all draws agree, ``unseen_share`` is added.

    Args:
        draws: (resamples,), the score of each resample.
        point: the score itself, from which both ends are stretched.
        units: how many examples or clusters were resampled.
        level: the confidence level.

    Source:
        Hesterberg 2015, What teachers should know about the bootstrap, The American Statistician 69(4), section 4.4
        (narrowness bias; the expanded percentile interval).
    """
    from scipy.special import ndtri, stdtrit

    tail = (1 - level) / 2
    low, high = (float(end) for end in np.quantile(draws, [tail, 1 - tail]))
    if high - low < 1e-12:
        room = unseen_share(units, level)
        return low - room, high + room
    stretch = float(stdtrit(units - 1, 1 - tail) / ndtri(1 - tail)) * np.sqrt(units / (units - 1))
    return point - (point - low) * stretch, point + (high - point) * stretch


def bootstrap_interval(
    counts: ArrayLike,
    score: Score,
    *,
    clusters: Clusters | None = None,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The interval of one arm's score that comes from having scored these examples and not others.

    It does not hold training noise: that needs several seeds (``score_interval`` of the statistics).

    Args:
        counts: (examples, counts), float; all finite.
        score: summed counts of shape (..., counts) to scores of shape (...); finite for all-zero sums.
        clusters: which examples belong together; whole clusters are drawn where given.
        resamples: at least this many; more are drawn where the level needs them.
        level: the confidence level.
        seed: of the random draws.

    Returns:
        The interval, inside [0, 1] when the score is.

    Raises:
        ValueError: no example, counts of another shape or not finite, or a level outside (0, 1).

    Source:
        Efron & Tibshirani 1993, chapter 13 (percentile).
    """
    check_level(level)
    units = unit_counts(counts, clusters)
    draws = score(resampled_sums(units, resamples=enough_resamples(resamples, level), seed=seed))
    point = float(score(units.sum(axis=0)))
    low, high = percentile_ends(draws, point, units=len(units), level=level)
    made = Interval(low, high, level, f"bootstrap over {resampled(len(units), clusters)}")
    return made.clipped(0.0, 1.0) if 0 <= point <= 1 and draws.min() >= 0 and draws.max() <= 1 else made


def resampled(units: int, clusters: Clusters | None) -> str:
    """What was resampled, in words: "800 examples", "40 documents"."""
    return counted(units, "example" if clusters is None else clusters.noun)
