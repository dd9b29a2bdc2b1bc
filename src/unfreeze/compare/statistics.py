"""How far two arms lie apart, what that rests on, and what would settle it.

Two noises part what was measured from what is true: other *examples* would have been scored, and *training* would have
gone another way (seed, and the rows trained on). More seeds do not help against the first, more examples not against
the second, so both are estimated:

- Over examples: a paired bootstrap of the counts, averaged over seeds; both arms get the same weights. Where the arms
  differ on a handful of examples (four to none, say) the bootstrap excludes 0 too soon, so its interval is widened to
  hold 0 unless swapping the arms at random, example by example, seldom gives as large a difference.
- Over runs: the paired differences of seeds x folds.

What follows depends on how the runs were made.

- **One fixed validation split, several seeds.** Every run scores the same examples, so runs differ by training noise
  alone, and the bootstrap shows sampling noise alone. The two are independent and *add*: the variance is the sum of the
  bootstrap's and of each arm's variance over its seeds, with Welch-Satterthwaite degrees of freedom. Simulated false
  claims at 95 %, two to five seeds, training noise from none to a hundred times the other: 4 to 6.5 %. The wider of a
  paired t interval over seeds and of the bootstrap errs in up to 8.5 %, where both noises are alike, and with two seeds
  (one degree of freedom) it is two to five times as wide. Seeds are not paired here: what a seed shares between two
  arms (the order of the data) makes them alike if anything, and the sum then errs to the wide side.
- **Folds.** Every run scores examples of its own, so the differences already hold both noises, but their training rows
  overlap and they are not independent: the variance is inflated by the share of validation to training rows (Nadeau &
  Bengio). The interval is the hull of that one and of the bootstrap. Simulated false claims at 95 %, real
  cross-validation of equal arms, one and three seeds: 1 to 4.5 %; of the bootstrap alone, up to 12 %.
- **One run.** The bootstrap alone; ``basis`` says that training noise was not seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unfreeze.compare.intervals import (
    Array,
    Interval,
    Score,
    bootstrap_interval,
    check_level,
    enough_resamples,
    percentile_ends,
    resampled_sums,
    swapped_sums,
    unit_counts,
)

__all__ = [
    "Difference",
    "Interval",
    "RunScores",
    "Score",
    "bootstrap_interval",
    "examples_needed",
    "have_common_run",
    "holm",
    "paired_difference",
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

    Raises:
        ValueError: shapes that do not fit together.
    """

    scores: Array
    counts: Array
    validation_share: float

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
        return RunScores(
            np.repeat(self.scores, seeds, axis=0), np.repeat(self.counts, seeds, axis=0), self.validation_share
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """How far arm a lies above arm b.

    Attributes:
        mean: score of a minus score of b, counts averaged over seeds and pooled over examples; a fraction.
        interval: where the difference lies.
        p_value: two-sided, of no difference; consistent with the interval, not corrected for many comparisons.
        basis: what it rests on, in words.
        runs: paired runs (seeds x folds) that both arms finished.
        examples: examples (or clusters) that both arms were scored on.
        limited_by: what makes the interval wide: too few "examples", or training noise seen over too few "runs".
    """

    mean: float
    interval: Interval
    p_value: float
    basis: str
    runs: int
    examples: int
    limited_by: Literal["examples", "runs"]


class _View(NamedTuple):
    low: float
    high: float
    p_value: float


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
    clusters: Sequence[object] | ArrayLike | None = None,
) -> Difference:
    """How far a lies above b, from runs and examples that pair up (see the head of this module).

    Runs are paired by seed and fold; where one arm has fewer seeds, or a run of either failed, only the pairs that both
    finished are read. Whether an arm that failed may win is for the caller to decide.

    Args:
        a: one arm.
        b: the other arm; same folds, same examples in the same order.
        score: summed counts of shape (..., counts) to scores of shape (...).
        level: the confidence level of the interval.
        resamples: bootstrap resamples, at least; more are drawn where the level needs them.
        seed: of the random draws; the same for all pairs of one comparison.
        clusters: one name an example; whole clusters are drawn where given.

    Returns:
        The difference with its interval.

    Raises:
        ValueError: the arms do not pair up, or have no finished run in common, or the level is outside (0, 1).

    Source:
        Nadeau & Bengio 2003, Inference for the generalization error, Machine Learning 52, equation 9 (corrected
        resampled t; for repeated folds: Bouckaert & Frank 2004, section 3.2). Berg-Kirkpatrick, Burkett & Klein 2012,
        An empirical investigation of statistical significance in NLP (paired bootstrap). Yeh 2000, More accurate
        tests for the statistical significance of result differences, COLING (swapping). Welch 1947, Biometrika 34
        (degrees of freedom of a sum of variances).
    """
    check_level(level)
    runs, units = _paired(a, b, clusters)
    gaps = runs[0] - runs[1]
    width = units.shape[1] // 2

    def gap(sums: Array) -> Array:
        return score(sums[..., :width]) - score(sums[..., width:])

    mean = float(gap(units.sum(axis=0)))
    draws = gap(resampled_sums(units, resamples=enough_resamples(resamples, level), seed=seed))
    low, high = percentile_ends(draws, len(units), level=level)
    swapped = gap(swapped_sums(units, resamples=len(draws), seed=seed))
    p_swap = (int((np.abs(swapped) >= abs(mean) - 1e-12).sum()) + 1) / (len(swapped) + 1)
    if p_swap > 1 - level:  # too few examples on which the arms differ for the bootstrap to be trusted
        low, high = min(low, 0.0), max(high, 0.0)
    sample = _View(low, high, max(p_swap, _bootstrap_p(draws)))
    spread = float(draws.var())
    limit: Literal["examples", "runs"] = "examples"
    if len(gaps) < 2:
        reported, limit = sample, "runs"
    elif a.folds == 1:
        reported, limit = _both_noises(mean, sample, runs=runs, spread=spread, units=len(units), level=level)
    else:
        wide = _corrected_t(mean, gaps, share=a.validation_share, level=level)
        reported = _View(min(wide.low, low), max(wide.high, high), max(wide.p_value, sample.p_value))
    basis = _basis(len(gaps), a.folds, len(units), clustered=clusters is not None)
    interval = Interval(reported.low, reported.high, level, basis)
    return Difference(mean, interval, reported.p_value, basis, len(gaps), len(units), limit)


def _paired(a: RunScores, b: RunScores, clusters: Sequence[object] | ArrayLike | None) -> tuple[Array, Array]:
    """Scores (2, runs) of the runs both finished, and seed-mean counts of a and b side by side, a unit a row."""
    if a.folds != b.folds or a.counts.shape[1:] != b.counts.shape[1:]:
        raise ValueError(
            "arms pair up over the same folds and examples; "
            f"got {a.folds} and {b.folds} folds, counts {a.counts.shape[1:]} and {b.counts.shape[1:]}"
        )
    seeds = min(a.seeds, b.seeds)
    runs = np.stack([a.scores[:seeds].ravel(), b.scores[:seeds].ravel()])
    runs = runs[:, np.isfinite(runs).all(axis=0)]
    both = np.concatenate([a.counts[:seeds], b.counts[:seeds]], axis=2)
    seen = np.isfinite(both).all(axis=2)
    times = seen.sum(axis=0)
    kept = times > 0
    if not kept.any() or runs.size == 0:
        raise ValueError("the two arms have no finished run in common")
    means = np.where(seen[..., None], both, 0.0).sum(axis=0)[kept] / times[kept, None]
    return runs, unit_counts(means, None if clusters is None else np.asarray(clusters)[kept])


def _bootstrap_p(draws: Array) -> float:
    """Two-sided p-value: twice the smaller share of draws on either side of 0 (0 itself counts on both)."""
    rare = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return min(1.0, 2 * (rare + 1) / (len(draws) + 1))


def _two_sided_p(t: float, freedom: float) -> float:
    from scipy.special import stdtr

    return float(2 * stdtr(freedom, -abs(t)))


def _t_reach(freedom: float, level: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + level) / 2))


def _ratio(mean: float, error: float) -> float:
    if error > 0:
        return mean / error
    return 0.0 if mean == 0 else float("inf")


def _corrected_t(mean: float, gaps: Array, *, share: float, level: float) -> _View:
    """Runs over folds: the t interval with the variance inflated because training rows overlap."""
    freedom = len(gaps) - 1
    error = float(np.sqrt(gaps.var(ddof=1) * (1 / len(gaps) + share)))
    reach = _t_reach(freedom, level) * error
    return _View(mean - reach, mean + reach, _two_sided_p(_ratio(mean, error), freedom))


def _both_noises(
    mean: float, sample: _View, *, runs: Array, spread: float, units: int, level: float
) -> tuple[_View, Literal["examples", "runs"]]:
    """One split, several seeds: the bootstrap interval widened by the training noise of both means over seeds."""
    seeds = runs.shape[1]
    parts = runs.var(axis=1, ddof=1) / seeds
    training = float(parts.sum())
    if training == 0 or units < 2:
        return sample, "examples"
    total = training + spread
    freedom = total**2 / (float((parts**2).sum()) / (seeds - 1) + spread**2 / (units - 1))
    error = float(np.sqrt(total))
    reach = _t_reach(freedom, level) * error
    p_value = max(sample.p_value, _two_sided_p(mean / error, freedom))
    low, high = min(sample.low, mean - reach), max(sample.high, mean + reach)
    return _View(low, high, p_value), "runs" if training > spread else "examples"


def _basis(runs: int, folds: int, units: int, *, clustered: bool) -> str:
    over = f"{units:,} {'clusters of examples' if clustered else 'examples'}"
    if runs < 2:
        return f"one run: bootstrap over {over}, training noise not seen"
    if folds == 1:
        return f"{runs} seeds on one validation split and a bootstrap over {over}, their variances added"
    return f"{runs} runs (seeds × folds, corrected resampled t) and a bootstrap over {over}, the wider end of both"


def holm(p_values: Sequence[float] | ArrayLike) -> list[float]:
    """p-values corrected for having made several comparisons: the chance of one false claim or more stays below alpha.

    Verdicts read intervals, not p-values: with m comparisons they are taken at level 1 - alpha / m, so that all hold at
    once (Bonferroni). Whatever such an interval calls different, Holm's step-down test calls different too.

    Args:
        p_values: one a comparison, in any order; each in [0, 1].

    Returns:
        Adjusted p-values in the same order, each in [0, 1] and at least the one given.

    Source:
        Holm 1979, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6(2).
    """
    given = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(given, kind="stable")
    factors = np.arange(len(given), 0, -1)
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(given[order] * factors)) if len(given) else []
    return [float(value) for value in adjusted]


def examples_needed(difference: Difference, margin: float, *, n: int) -> int | None:
    """How many scored examples would settle a comparison, if the difference stayed what it is.

    The interval narrows as one over the square root of the examples until it excludes 0 or lies inside the margin,
    whichever comes first. A planning figure, not a promise: the difference itself is uncertain.

    Args:
        difference: an open comparison.
        margin: half the width of a tie, a fraction such as 0.01.
        n: examples it rests on now.

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
    if not ratios:
        return None
    return max(n + 1, int(np.ceil(n * min(ratios) ** 2)))
