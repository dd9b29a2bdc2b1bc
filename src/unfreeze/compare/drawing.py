"""Trials drawn from an arm's space: at random, or where a tree of Parzen estimators expects most (TPE)."""

import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from unfreeze.compare.arms import Arm
from unfreeze.compare.space import Choices, Point, Range, Space
from unfreeze.compare.trials import Trial
from unfreeze.errors import MissingExtra

DRAWS = 50
"""How often at the most a point is drawn instead of one whose trial was given out before."""


def drawn(arm: Arm, scores: Mapping[Trial, float], *, seed: int, fold: int) -> Iterator[list[Trial]]:
    """The drawn trials of an arm's search: the most likely one, those that no score decides, then one by one.

    Args:
        arm: one whose settings are drawn.
        scores: of the trials already given out; NaN where a trial failed.
        seed: of what is drawn, and of all trials.
        fold: of all trials.

    Raises:
        MissingExtra: TPE is asked for, and Optuna is not installed.
    """
    assert arm.sampling is not None, "a grid is not drawn"
    space, number = arm.sampling.space, arm.sampling.trials - arm.fits_schedule
    first, *others = _sizes(arm.sampling.method, number)
    entropy = (seed, zlib.crc32(arm.name.encode()))
    drawing: _Drawing = _Random(space, entropy)
    if arm.sampling.method == "tpe":
        drawing = _Tpe(space, entropy, startup=first + sum(others[:1]))
    given: dict[Trial, _Asked] = {}
    for size in (first, *others):
        before = len(given)
        for _ in range(size):
            for asked in _candidates(drawing, space, len(given)):
                trial = arm.trial_with(*space.settings(asked.point), seed=seed, fold=fold)
                if trial not in given:
                    given[trial] = asked
                    break
                drawing.tell(asked, math.nan)
        trials = list(given)[before:]
        yield trials
        for trial in trials:
            drawing.tell(given[trial], scores[trial])


def _sizes(method: str, number: int) -> list[int]:
    """How many trials each list has: random search needs no score, TPE none for the first third, four at least."""
    blind = number if method == "random" else min(number, max(4, math.ceil(number / 3)))
    return [size for size in (1, blind - 1, *[1] * (number - blind)) if size]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A point, and what the sampler knows it by."""

    point: Point
    handle: Any = None


class _Drawing(Protocol):
    """Where points come from."""

    def at(self, point: Point) -> _Asked:
        """This very point."""
        ...

    def anywhere(self, number: int) -> _Asked:
        """A point for the trial of this number, another at each call."""
        ...

    def tell(self, asked: _Asked, score: float) -> None:
        """What a point gave; NaN where it failed, or was not tried because it had been tried before."""
        ...


def _candidates(drawing: _Drawing, space: Space, number: int) -> Iterator[_Asked]:
    """Points for one trial, until the caller has one that is new; of a small space every point comes in the end."""
    if number == 0:
        yield drawing.at(space.first)
    for _ in range(DRAWS):
        yield drawing.anywhere(number)
    for point in space.points() or ():
        yield drawing.at(point)


class _Random:
    """Every point as likely as any other; what is drawn for a trial does not depend on the other trials.

    Args:
        space: where points lie.
        entropy: from which, with the number of a trial, its point follows.
    """

    def __init__(self, space: Space, entropy: tuple[int, ...]) -> None:
        self._space, self._entropy = space, entropy
        self._number, self._generator = -1, np.random.default_rng()

    def at(self, point: Point) -> _Asked:
        return _Asked(point)

    def anywhere(self, number: int) -> _Asked:
        if number != self._number:
            self._number, self._generator = number, np.random.default_rng([*self._entropy, number])
        point: dict[str, float] = {}
        for name, dimension in self._space.dimensions.items():
            if isinstance(dimension, Range):
                point[name] = dimension.at(float(self._generator.random()))
            else:
                point[name] = int(self._generator.integers(len(dimension.values)))
        return _Asked(point)

    def tell(self, asked: _Asked, score: float) -> None:
        """Nothing is learnt from it."""


class _Tpe:
    """A tree-structured Parzen estimator, Optuna's: its study lies in memory, and is rebuilt from what is told.

    Source: Bergstra, Bardenet, Bengio & Kégl 2011, "Algorithms for Hyper-Parameter Optimization", section 4; Akiba et
    al. 2019, "Optuna", arXiv:1907.10902.

    Args:
        space: where points lie.
        entropy: from which all that is drawn follows, with what is told.
        startup: how many points are drawn at random first.

    Raises:
        MissingExtra: Optuna is not installed.
    """

    def __init__(self, space: Space, entropy: tuple[int, ...], *, startup: int) -> None:
        try:
            import optuna
        except ImportError as error:
            raise MissingExtra("search", "for the search 'tpe'") from error
        self._optuna: Any = optuna
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup)
        loud = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        optuna.logging.set_verbosity(loud)
        self._space = {name: self._distribution(dimension) for name, dimension in space.dimensions.items()}
        self._dimensions = space.dimensions

    def _distribution(self, dimension: Range | Choices) -> Any:
        known = self._optuna.distributions
        if isinstance(dimension, Range):
            return known.FloatDistribution(dimension.low, dimension.high, log=True)
        return known.CategoricalDistribution(range(len(dimension.values)))

    def at(self, point: Point) -> _Asked:
        self._study.enqueue_trial(dict(point))
        return self.anywhere(0)

    def anywhere(self, number: int) -> _Asked:
        trial = self._study.ask(self._space)
        point = {
            name: dimension.rounded(trial.params[name]) if isinstance(dimension, Range) else trial.params[name]
            for name, dimension in self._dimensions.items()
        }
        return _Asked(point, trial)

    def tell(self, asked: _Asked, score: float) -> None:
        if math.isfinite(score):
            self._study.tell(asked.handle, score)
        else:
            self._study.tell(asked.handle, state=self._optuna.trial.TrialState.FAIL)
