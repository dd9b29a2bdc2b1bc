"""What arms score, how far two of them lie apart, what that rests on, and what would settle it.

Two noises part what was measured from what is true: other *examples* would have been scored, and *training* would have
gone another way (seed, and the rows trained on). More seeds do not help against the first, more examples not against
the second, so both are estimated:

- Over examples: a bootstrap of the counts, averaged over seeds; of two arms both get the same weights. Where examples
  belong together (``RunScores.clusters``), whole documents or groups are drawn. Where the arms differ on a handful of
  examples (four to none, say) the bootstrap excludes 0 too soon, so its interval is widened to hold 0 unless swapping
  the arms at random, example by example, seldom gives as large a difference.
- Over runs: seeds x folds. How both are put together stands in ``noises``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unfreeze.compare.clusters import Clusters
from unfreeze.compare.intervals import (
    Array,
    Interval,
    Score,
    check_level,
    enough_resamples,
    percentile_ends,
    resampled,
    resampled_sums,
    swapped_sums,
    unit_counts,
)
from unfreeze.compare.noises import Limit, Sampled, View, basis, with_training

__all__ = [
    "Difference",
    "Interval",
    "RunScores",
    "Score",
    "examples_needed",
    "have_common_run",
    "holm",
    "paired_difference",
    "score_interval",
    "selection_score",
]


@dataclass(frozen=True, slots=True, eq=False)
class RunScores:
    """What one arm scored, run by run and example by example.

    Attributes:
        scores: (seeds, folds), float64; one fold where there is one fixed validation split; NaN where a run failed.
        counts: (seeds, examples, counts), float64; out-of-fold, pooled over folds, in one fixed order of the examples
            that is the same for all arms; NaN in the rows that a failed run should have scored.
        validation_share: validation rows / training rows of one fold.
        clusters: which examples belong together, the same for all arms; None where they stand alone.

    Raises:
        ValueError: shapes that do not fit together.
    """

    scores: Array
    counts: Array
    validation_share: float
    clusters: Clusters | None = None

    def __post_init__(self) -> None:
        scores = np.asarray(self.scores, dtype=np.float64)
        counts = np.asarray(self.counts, dtype=np.float64)
        if scores.ndim != 2 or counts.ndim != 3 or len(scores) != len(counts) or 0 in (*scores.shape, *counts.shape):
            raise ValueError(
                "scores have shape (seeds, folds) and counts (seeds, examples, counts) with as many seeds; "
                f"got {scores.shape} and {counts.shape}"
            )
        if not self.validation_share > 0:
            raise ValueError(f"validation rows / training rows is above 0; got {self.validation_share}")
        if self.clusters is not None and self.clusters.numbers.shape != counts.shape[1:2]:
            raise ValueError(
                f"one cluster an example: {counts.shape[1]} examples, but clusters {self.clusters.numbers.shape}"
            )
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "counts", counts)

    @property
    def seeds(self) -> int:
        """Number of seeds."""
        return self.scores.shape[0]

    @property
    def folds(self) -> int:
        """Number of folds; 1 for a fixed validation split."""
        return self.scores.shape[1]

    @property
    def examples(self) -> int:
        """Number of examples scored once a seed."""
        return self.counts.shape[1]

    @property
    def failed_runs(self) -> int:
        """Number of runs (of seeds x folds) without a score."""
        return int((~np.isfinite(self.scores)).sum())

    def repeated(self, seeds: int) -> "RunScores":
        """The same runs under more seeds; right only for what has no training noise, such as a closed-form floor."""
        if self.seeds != 1 or seeds == 1:
            return self
        return replace(self, scores=np.repeat(self.scores, seeds, axis=0), counts=np.repeat(self.counts, seeds, axis=0))


@dataclass(frozen=True, slots=True)
class Difference:
    """How far arm a lies above arm b.

    Attributes:
        mean: score of a minus score of b, counts averaged over seeds and pooled over examples; a fraction.
        interval: where the difference lies.
        p_value: two-sided, of no difference; consistent with the interval, not corrected for many comparisons.
        basis: what it rests on, in words.
        runs: paired runs (seeds x folds) that both arms finished.
        examples: examples that both arms were scored on; documents or groups, where these were resampled.
        limited_by: what makes the interval wide: too few "examples", or training noise seen over too few "runs".
        training_share: share of the variance that is training noise, which more examples would not take away.
    """

    mean: float
    interval: Interval
    p_value: float
    basis: str
    runs: int
    examples: int
    limited_by: Limit
    training_share: float = 0.0


def selection_score(runs: RunScores, score: Score) -> float:
    """The score by which arms are ranked: pooled over examples, mean over seeds; failed runs count as 0.

    Counts are pooled over folds before they are scored, because the mean of F1 over folds is biased. The score of a
    seed is multiplied by the share of the examples it scored: for accuracy, what a failed run left out is wrong.

    Args:
        runs: what the arm scored.
        score: summed counts to a score.

    Returns:
        The score, a fraction; NaN where every run failed.

    Source:
        Forman & Scholz 2010, Apples-to-apples in cross-validation studies, SIGKDD Explorations 12(1).
    """
    scored: NDArray[np.bool_] = np.asarray(np.isfinite(runs.counts).all(axis=2))
    if not scored.any():
        return float("nan")
    sums = np.where(scored[..., None], runs.counts, 0.0).sum(axis=1)
    values = np.where(scored.any(axis=1), score(sums), 0.0)
    return float((values * scored.mean(axis=1)).mean())


def have_common_run(a: RunScores, b: RunScores) -> bool:
    """Whether both arms finished one run (a seed and fold) or more."""
    seeds = min(a.seeds, b.seeds)
    return bool((np.isfinite(a.scores[:seeds]) & np.isfinite(b.scores[:seeds])).any())


def paired_difference(
    a: RunScores,
    b: RunScores,
    *,
    score: Score,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Difference:
    """How far a lies above b, from runs and examples that pair up (see the head of this module).

    Runs are paired by seed and fold; where one arm has fewer seeds, or a run of either failed, only the pairs that both
    finished are read. Whether an arm that failed may win is for the caller to decide.

    Args:
        a: one arm.
        b: the other arm; same folds, same examples in the same order, same clusters.
        score: summed counts of shape (..., counts) to scores of shape (...).
        level: the confidence level of the interval.
        resamples: bootstrap resamples, at least; more are drawn where the level needs them.
        seed: of the random draws; the same for all pairs of one comparison.

    Returns:
        The difference with its interval.

    Raises:
        ValueError: the arms do not pair up, or have no finished run in common, or the level is outside (0, 1).

    Source:
        Berg-Kirkpatrick, Burkett & Klein 2012, An empirical investigation of statistical significance in NLP (paired
        bootstrap). Yeh 2000, More accurate tests for the statistical significance of result differences, COLING
        (swapping). Over runs: see ``noises``.
    """
    check_level(level)
    runs, units = _paired(a, b)
    width = units.shape[1] // 2

    def gap(sums: Array) -> Array:
        return score(sums[..., :width]) - score(sums[..., width:])

    draws = gap(resampled_sums(units, resamples=enough_resamples(resamples, level), seed=seed))
    swapped = gap(swapped_sums(units, resamples=len(draws), seed=seed))
    sampled = _sampled(float(gap(units.sum(axis=0))), draws, units=len(units), level=level)
    p_swap = (int((np.abs(swapped) >= abs(sampled.mean) - 1e-12).sum()) + 1) / (len(swapped) + 1)
    low, high, p_value = sampled.view
    if p_swap > 1 - level:  # too few examples on which the arms differ for the bootstrap to be trusted
        low, high = min(low, 0.0), max(high, 0.0)
    sampled = replace(sampled, view=View(low, high, max(p_swap, p_value)))
    whole = with_training(sampled, runs, folds=a.folds, share=a.validation_share, level=level)
    rests = basis(runs.shape[1], a.folds, over=resampled(len(units), a.clusters))
    return Difference(
        sampled.mean,
        Interval(whole.view.low, whole.view.high, level, rests),
        whole.view.p_value,
        rests,
        runs.shape[1],
        len(units),
        whole.limited_by,
        whole.training_share,
    )


def score_interval(
    runs: RunScores, score: Score, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Where the expected score of a way lies, over other examples and, with several runs, other trainings.

    Around ``selection_score``: a run that failed counts as 0, in the score and in how much the runs differ.

    Args:
        runs: what the arm scored.
        score: summed counts of shape (..., counts) to scores of shape (...).
        level: the confidence level.
        resamples: bootstrap resamples, at least; more are drawn where the level needs them.
        seed: of the random draws.

    Returns:
        The interval, inside [0, 1] where the score is; all of [0, 1] where every run failed.

    Raises:
        ValueError: the level is outside (0, 1).
    """
    check_level(level)
    scored: NDArray[np.bool_] = np.asarray(np.isfinite(runs.counts).all(axis=2))
    if not scored.any():
        return Interval(0.0, 1.0, level, "no finished run")
    means, kept = _seed_means(runs.counts, scored)
    units = unit_counts(means, None if runs.clusters is None else runs.clusters.of(kept))
    draws = score(resampled_sums(units, resamples=enough_resamples(resamples, level), seed=seed))
    share, mean = float(scored.mean()), selection_score(runs, score)
    sampled = _sampled(float(score(units.sum(axis=0))), draws, units=len(units), level=level)
    view = View(share * sampled.view.low, share * sampled.view.high, 1.0)
    sampled = Sampled(mean, view, share**2 * sampled.spread, sampled.units)
    every = np.nan_to_num(runs.scores, nan=0.0).reshape(1, -1)
    low, high, _ = with_training(sampled, every, folds=runs.folds, share=runs.validation_share, level=level).view
    over = resampled(len(units), runs.clusters)
    made = Interval(low, high, level, basis(every.size, runs.folds, over=over))
    return made.clipped(0.0, 1.0) if 0 <= mean <= 1 and draws.min() >= 0 and draws.max() <= 1 else made


def _sampled(mean: float, draws: Array, *, units: int, level: float) -> Sampled:
    """What bootstrap draws say of a figure."""
    low, high = percentile_ends(draws, mean, units=units, level=level)
    spread = float(draws.var()) * units / max(1, units - 1)
    return Sampled(mean, View(low, high, _bootstrap_p(draws, units)), spread, units)


def _seed_means(counts: Array, seen: NDArray[np.bool_]) -> tuple[Array, NDArray[np.bool_]]:
    """Counts of each example averaged over the seeds that scored it, and which examples were scored at all."""
    times = seen.sum(axis=0)
    kept: NDArray[np.bool_] = times > 0
    return np.where(seen[..., None], counts, 0.0).sum(axis=0)[kept] / times[kept, None], kept


def _paired(a: RunScores, b: RunScores) -> tuple[Array, Array]:
    """Scores (2, runs) of the runs both finished, b's negative, and seed-mean counts side by side, a unit a row."""
    if a.folds != b.folds or a.counts.shape[1:] != b.counts.shape[1:] or not _same(a.clusters, b.clusters):
        raise ValueError(
            "arms pair up over the same folds and examples, with the same clusters; "
            f"got {a.folds} and {b.folds} folds, counts {a.counts.shape[1:]} and {b.counts.shape[1:]}"
        )
    seeds = min(a.seeds, b.seeds)
    runs = np.stack([a.scores[:seeds].ravel(), -b.scores[:seeds].ravel()])
    runs = runs[:, np.isfinite(runs).all(axis=0)]
    both = np.concatenate([a.counts[:seeds], b.counts[:seeds]], axis=2)
    seen: NDArray[np.bool_] = np.asarray(np.isfinite(both).all(axis=2))
    if not seen.any() or runs.size == 0:
        raise ValueError("the two arms have no finished run in common")
    means, kept = _seed_means(both, seen)
    return runs, unit_counts(means, None if a.clusters is None else a.clusters.of(kept))


def _same(one: Clusters | None, other: Clusters | None) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one.numbers, other.numbers)


def _bootstrap_p(draws: Array, units: int) -> float:
    """Two-sided p-value: twice the smaller share of draws on either side of 0 (0 itself counts on both).

    Read with t's tails, as the ends of the interval are stretched by them: see ``percentile_ends``.
    """
    from scipy.special import ndtri, stdtr

    rare = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    p_value = min(1.0, 2 * (rare + 1) / (len(draws) + 1))
    if units < 2:
        return p_value
    return float(2 * stdtr(units - 1, ndtri(p_value / 2) * np.sqrt((units - 1) / units)))


def holm(p_values: Sequence[float] | ArrayLike, *, family: float | None = None) -> list[float]:
    """p-values corrected for having made several comparisons: the chance of one false claim or more stays below alpha.

    Verdicts read intervals, not p-values: with m comparisons they are taken at level 1 - alpha / m, so that all hold at
    once (Bonferroni). Whatever such an interval calls different, Holm's step-down test calls different too. Where the
    comparisons are some of a larger family, picked by what they show, the steps are counted down from its size.

    Args:
        p_values: one a comparison, in any order; each in [0, 1].
        family: how many comparisons these were picked from, where there were more of them.

    Returns:
        Adjusted p-values in the same order, each in [0, 1] and at least the one given.

    Source:
        Holm 1979, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6(2).
    """
    given = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(given, kind="stable")
    factors = np.maximum(1.0, max(len(given), family or 0) - np.arange(len(given)))
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(given[order] * factors)) if len(given) else []
    return [float(value) for value in adjusted]


def examples_needed(difference: Difference, margin: float, *, n: int) -> int | None:
    """How many scored examples would settle a comparison, if the difference stayed what it is.

    The part of the variance that comes from examples falls as one over their number, until the interval excludes 0 or
    lies inside the margin, whichever comes first; that from training stays. A planning figure, not a promise: the
    difference itself is uncertain, and so many settle it about every other time.

    Args:
        difference: an open comparison.
        margin: half the width of a tie, a fraction such as 0.01.
        n: examples it rests on now, in what was resampled (documents, for one); so is what is returned.

    Returns:
        The number, above ``n``; None where training noise is the limit (more seeds would help, examples would not),
        or where no number would do (a difference of exactly the margin's size or of 0 with no margin).

    Source:
        The width of an interval for a mean; Card et al. 2020, With little power comes great responsibility (why it is
        worth saying).
    """
    if difference.limited_by == "runs":
        return None
    mean = difference.mean
    below, above = mean - difference.interval.low, difference.interval.high - mean
    inner = max(below if mean > 0 else above, (below + above) / 2)  # an end that stopped at 0 says little
    ratios = [inner / abs(mean)] if mean != 0 else []
    if abs(mean) < margin:
        ratios.append(max(below / (margin + mean), above / (margin - mean)))
    fixed, left = difference.training_share, 1 / min(ratios) ** 2 if ratios else 0.0
    if left <= fixed:  # training noise alone is too wide for that
        return None
    return max(n + 1, int(np.ceil(n * (1 - fixed) / (left - fixed))))
