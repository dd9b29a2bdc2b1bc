"""Two noises in one interval: other examples would have been scored, and training would have gone another way.

What follows depends on how the runs were made.

- **One fixed validation split, several seeds.** Every run scores the same examples, so runs differ by training noise
  alone, and the bootstrap shows sampling noise alone. The two are independent and *add*: the variance is the sum of the
  bootstrap's and of each arm's variance over its seeds. Welch-Satterthwaite degrees of freedom are too many where two
  seeds alone show one of the variances (it then errs in up to 11 %, for the score of one arm in up to 13 %), so the
  reciprocal degrees of freedom of both noises are averaged by their shares; the share of training counts a quarter
  more where it is one arm's alone. The wider of a paired t interval over seeds and of the bootstrap, which would be
  simpler, errs in up to 8.5 % where both noises are alike, and is two to five times as wide with two seeds (one degree
  of freedom). Seeds are not paired here: what a seed shares between two arms (the order of the data) makes them alike
  if anything, and the sum then errs to the wide side.
- **Folds.** Every run scores examples of its own, so the runs already hold both noises, but their training rows overlap
  and they are not independent: the variance is inflated by the share of validation to training rows (Nadeau & Bengio).
  The interval is the hull of that one and of the bootstrap.
- **One run.** The bootstrap alone; the basis says that training noise was not seen.

How often each is wrong in simulations is written down in docs/statistics.md, and tested.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from unfreeze.compare.intervals import Array

Limit = Literal["examples", "runs"]


class View(NamedTuple):
    """An interval, and the two-sided p-value of nothing being there."""

    low: float
    high: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Sampled:
    """What resampling examples says of a figure.

    Attributes:
        mean: the figure: a score, or a difference of two.
        view: its bootstrap interval.
        spread: variance of the figure over samples of examples.
        units: how many examples or clusters were resampled.
    """

    mean: float
    view: View
    spread: float
    units: int


@dataclass(frozen=True, slots=True)
class Whole:
    """What examples and runs say together.

    Attributes:
        view: the interval that holds both noises.
        limited_by: what makes it wide: too few "examples", or training noise seen over too few "runs".
        training_share: share of the variance that more examples would not take away.
    """

    view: View
    limited_by: Limit
    training_share: float = 0.0


def with_training(sampled: Sampled, runs: Array, *, folds: int, share: float, level: float) -> Whole:
    """Add what the runs show of training noise to what examples show of sampling noise.

    Args:
        sampled: what the examples say.
        runs: (arms, seeds x folds), scores of runs; with a minus where an arm is subtracted. All finite.
        folds: of a seed; 1 where every run scores the same examples.
        share: validation rows / training rows of one fold.
        level: the confidence level.

    Source:
        Welch 1947, Biometrika 34 (degrees of freedom of a sum of variances). Nadeau & Bengio 2003, Inference for the
        generalization error, Machine Learning 52, equation 9 (corrected resampled t; for repeated folds: Bouckaert &
        Frank 2004, section 3.2).
    """
    if runs.shape[1] < 2:
        return Whole(sampled.view, "runs")
    if folds == 1:
        return _added(sampled, runs, level)
    sums = runs.sum(axis=0)
    variance = float(sums.var(ddof=1)) * (1 / len(sums) + share)
    return Whole(_hull(sampled, variance, len(sums) - 1, level), "examples")


def _added(sampled: Sampled, runs: Array, level: float) -> Whole:
    """One split, several seeds: the variances of both noises added."""
    seeds = runs.shape[1]
    parts = runs.var(axis=1, ddof=1) / seeds
    training = float(parts.sum())
    if training == 0 or sampled.units < 2:
        return Whole(sampled.view, "examples")
    total = training + sampled.spread
    of_training = training**2 / float((parts**2).sum()) * (seeds - 1)  # Welch-Satterthwaite, between the arms
    weight = min(1.0, training / total * (1.25 if len(parts) == 1 else 1.0))
    freedom = 1 / (weight / of_training + (1 - weight) / (sampled.units - 1))
    limit: Limit = "runs" if training > sampled.spread else "examples"
    return Whole(_hull(sampled, total, freedom, level), limit, training / total)


def _hull(sampled: Sampled, variance: float, freedom: float, level: float) -> View:
    """The wider end of the bootstrap interval and of a t interval, on either side."""
    from scipy.special import stdtr, stdtrit

    mean, view = sampled.mean, sampled.view
    error = float(np.sqrt(variance))
    reach = float(stdtrit(freedom, (1 + level) / 2)) * error
    ratio = mean / error if error > 0 else (0.0 if mean == 0 else np.inf)
    p_value = max(view.p_value, float(2 * stdtr(freedom, -abs(ratio))))
    return View(min(view.low, mean - reach), max(view.high, mean + reach), p_value)


def basis(runs: int, folds: int, *, over: str) -> str:
    """What an interval rests on, in words; ``over`` says what was resampled, such as "800 examples"."""
    if runs < 2:
        return f"one run: bootstrap over {over}, training noise not seen"
    if folds == 1:
        return f"{runs} seeds on one validation split and a bootstrap over {over}, their variances added"
    return f"{runs} runs (seeds × folds, corrected resampled t) and a bootstrap over {over}, the wider end of both"
