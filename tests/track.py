"""A made-up world to hold races in: every way, setting and seed has a true score, and nothing is trained."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import inf
from typing import Any

import numpy as np

from unfreeze.compare.arms import Arm
from unfreeze.compare.driving import Course
from unfreeze.compare.outcomes import ArmOutcome, Tables
from unfreeze.compare.race import Host, Race
from unfreeze.compare.standing import Purse, Standing
from unfreeze.compare.steward import Decision, Terms
from unfreeze.compare.trials import Trial
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.engine.settings import TrainingSettings
from unfreeze.strategies import strategy_named

RATES = (1e-4, 3e-5, 3e-4)


def an_arm(name: str, *, rates: Sequence[float] = RATES, heads: int = 1) -> Arm:
    """A way with so many rates and heads to choose from; a floor has one rate."""
    strategy = strategy_named(name)
    poolings = ("standard", "mean")[:heads]
    some = tuple(rates[:1]) if strategy.search.floor else tuple(rates)
    return Arm(name, strategy, tuple(HeadSettings(p) for p in poolings), some, TrainingSettings())  # type: ignore[arg-type]


def accuracy(sums: Any) -> Any:
    return sums[..., 0] / sums[..., 1]


@dataclass
class Track:
    """The world: what each way truly scores, what a trial of it costs, and how much runs differ.

    Attributes:
        skill: true accuracy of each way's best setting.
        price: seconds of a trial of each way.
        worse: how much every further rate of the list loses.
        noise: standard deviation of a run's accuracy from training alone.
        rows: examples of each fold's validation part.
        folds: how many.
        world: another one has other draws.
        budget: seconds; infinite for none.
        spent: seconds of all trials that were run.
        ran: them, in order.
        fails: ways whose trials cannot be run.
    """

    skill: Mapping[str, float]
    price: Mapping[str, float] = field(default_factory=dict)
    worse: float = 0.01
    noise: float = 0.005
    rows: int = 500
    folds: int = 1
    world: int = 0
    budget: float = inf
    spent: float = 0.0
    ran: list[Trial] = field(default_factory=list)
    fails: frozenset[str] = frozenset()

    def outputs(self, trial: Trial) -> dict[str, np.ndarray]:
        """Which examples of a fold a trial gets right: hard ones are hard for all."""
        rate = RATES.index(trial.settings.learning_rate)
        fold = int(trial.fold or 0)
        settings = trial.settings
        # Not its folder's name: that is another one with every new setting, and so would be all that is drawn.
        name = (
            f"{trial.strategy} {trial.head} {settings.learning_rate} {settings.num_train_epochs} {settings.stop_after}"
        )
        name += f" {settings.seed} {trial.fold}"
        draw = np.random.default_rng([self.world, zlib.crc32(name.encode())])
        target = self.skill[trial.strategy] - self.worse * rate + self.noise * draw.standard_normal()
        correct = _difficulty(self.world, fold, self.rows) + 0.15 * draw.standard_normal(self.rows) < _level(target)
        counts = np.stack([correct, np.ones(self.rows)], axis=1).astype(float)
        return {"validation/examples": np.arange(self.rows) * self.folds + fold, "validation/counts": counts}

    def run(self, trial: Trial) -> dict[str, Any] | str:
        """The record of a trial."""
        self.ran.append(trial)
        if trial.strategy in self.fails:
            return "it cannot be trained"
        seconds = self.price.get(trial.strategy, 1.0)
        self.spent += seconds
        score = float(self.outputs(trial)["validation/counts"][:, 0].mean())
        scores = {"validation": {"accuracy": score}}
        took = {"seconds": seconds, "cpu_seconds": seconds, "train_seconds": seconds}
        return {"state": "done", "scores": scores, "best_epoch": 3, **took}

    def purse(self, outcomes: Sequence[ArmOutcome]) -> Purse:
        return Purse(self.budget - self.spent, {o.arm.name: self.price.get(o.arm.name, 1.0) for o in outcomes})

    def race(self, arms: Sequence[Arm], terms: Terms, decisions: dict[str, Decision] | None = None) -> Race:
        """A race in this world; its decisions are kept in ``decisions``."""
        kept: dict[str, Decision] = {} if decisions is None else decisions

        def decided(stage: str, make: Any) -> Decision:
            if stage not in kept:
                kept[stage] = make()
            return kept[stage]

        validated = [list(range(fold, self.rows * self.folds, self.folds)) for fold in range(self.folds)]
        standing = Standing(Tables("accuracy", validated, 0.25, self.outputs), accuracy, 0.01, 0)
        return Race(arms, terms=terms, standing=standing, host=Host(self.purse, decided))

    def hold(self, arms: Sequence[Arm], terms: Terms, *, most: int | None = None, **kept: Any) -> Race:
        """Hold a race to its end, or until so many trials are run."""
        race = self.race(arms, terms, **kept)
        course: Course = race.course()
        known: dict[Trial, Any] = {}
        try:
            jobs = next(course)
            while True:
                for trial in (trial for job in jobs for trial in job.trials):
                    if most is not None and len(self.ran) >= most:
                        race.finish("the budget is spent", answered=known.get)
                        return race
                    known[trial] = known.get(trial) or self.run(trial)
                jobs = course.send({trial: known[trial] for job in jobs for trial in job.trials})
        except StopIteration:
            return race


@cache
def _difficulty(world: int, fold: int, rows: int) -> np.ndarray:
    return np.random.default_rng([world, fold]).standard_normal(rows)


def _level(target: float) -> float:
    """How hard an example may be for a way of this accuracy to get it right."""
    from scipy.stats import norm

    return float(norm.ppf(target) * np.hypot(1.0, 0.15))
