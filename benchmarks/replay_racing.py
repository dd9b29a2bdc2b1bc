"""The product's race on a cell whose trials are kept: asked for a trial, it is given a record and charged for it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from replay_kept import head_of, pooling_of
from replay_world import SEEDS_OF_SEARCH, Choice, Order, World

from unfreeze.compare.arms import Arm
from unfreeze.compare.budget import Purser
from unfreeze.compare.jobs import Answer, Job
from unfreeze.compare.outcomes import ArmOutcome, Tables
from unfreeze.compare.pricing import FINISHING, REFIT, entrants
from unfreeze.compare.race import Host, Race
from unfreeze.compare.standing import Purse, Standing
from unfreeze.compare.steward import Terms
from unfreeze.compare.trials import Trial
from unfreeze.engine.settings import TrainingSettings
from unfreeze.errors import SettingsError
from unfreeze.recommend import Arm as Candidate
from unfreeze.recommend import recommend
from unfreeze.strategies import strategy_named

MARGIN = 0.01


@dataclass(slots=True)
class Clock:
    """Seconds charged so far, of a budget that has room for the last training beside a share of the whole price."""

    budget: float
    spent: float = 0.0


@dataclass(slots=True)
class _Replay:
    """One replay under way."""

    world: World
    order: Order
    clock: Clock

    def arms(self) -> list[Arm]:
        """The arms as they were collected, in the order of their priority."""
        made = [self._arm(name) for name in self.order.arms]
        return sorted(made, key=lambda arm: arm.strategy.search.priority)

    def _arm(self, name: str) -> Arm:
        settings = [some for some in self.world.settings if some[0] == name]
        heads = tuple(dict.fromkeys(head_of(some[1], some[2]) for some in settings))
        rates = tuple(dict.fromkeys(some[3] for some in settings))
        row = self.world.rows[self.world.middle(name), self.world.seeds[0]]
        base = TrainingSettings(learning_rate=rates[0], num_train_epochs=row["epochs"], patience=row["patience"])
        return Arm(name, strategy_named(name), heads, rates, base)

    def place(self, trial: Trial) -> tuple[int, int]:
        """The setting's place and the seed that a trial stands for."""
        head, settings = trial.head, trial.settings
        setting = (trial.strategy, pooling_of(head), head.layers, settings.learning_rate)
        return self.world.settings.index(setting), self.order.seeds[settings.seed]

    def outputs(self, trial: Trial) -> dict[str, np.ndarray]:
        """The counts kept of a trial, as a ledger has them."""
        setting, seed = self.place(trial)
        counts = self.world.counts["validation"][setting, self.world.seeds.index(seed)]
        return {"validation/counts": counts, "validation/examples": np.arange(len(counts))}

    def told(self) -> dict[str, float]:
        """What a trial of each arm is said to cost before any was run."""
        first, noise = self.order.seeds[0], self.order.noise
        return {name: self.world.cost(self.world.middle(name), first) * noise[name] for name in self.world.arms}

    def starting(self) -> list[Arm]:
        """The arms that the product would start; none where it would ask for a larger budget."""
        arms = self.arms()
        try:
            names = entrants(self.clock.budget + FINISHING, arms, trial_prices=self.told(), prefix=0.0)
        except SettingsError:
            return []
        return [arm for arm in arms if arm.name in names]

    def purse(self, outcomes: Sequence[ArmOutcome]) -> Purse:
        """What is left, as the product counts it; before its first trial an arm's price is told with some noise."""
        purser = Purser(self.clock.budget + FINISHING, spent=lambda: self.clock.spent, prices=self.told())
        return purser.purse(outcomes)

    def answer(self, jobs: Sequence[Job]) -> tuple[dict[Trial, Answer], bool]:
        """The records of jobs as far as the budget goes; whether it held them all."""
        answers: dict[Trial, Answer] = {}
        for trial in (trial for job in jobs for trial in job.trials):
            setting, seed = self.place(trial)
            cost = self.world.cost(setting, seed)
            if self.clock.spent + cost > self.clock.budget:
                self.clock.spent = self.clock.budget
                return answers, False
            self.clock.spent += cost
            row = self.world.rows[setting, seed]
            answers[trial] = {**row, "seconds": cost, "cpu_seconds": cost, "train_seconds": cost}
        return answers, True


def race(world: World, order: Order, *, budget: float) -> Choice:
    """Replay the product's race within a budget.

    Args:
        world: of the cell.
        order: what is drawn at random.
        budget: seconds of trials; beside it there is room for training the dearest way once more, as in the product.
    """
    replay = _Replay(world, order, Clock(budget + last_training(world)))
    rows = world.about["rows"]
    validated, share = [range(rows["validation"])], rows["validation"] / rows["train"]
    tables = Tables(world.about["metric"], validated, share, replay.outputs)
    arms = replay.starting()
    if not arms:
        return Choice(None, 0.0, 0, "the budget is too short")
    steps = arms[0].base.steps_per_epoch(rows["train"])
    terms = Terms(0, min(SEEDS_OF_SEARCH, len(world.seeds)), len(world.seeds), 1, steps)
    standing = Standing(tables, world.score, MARGIN, order.number)
    running = Race(arms, terms=terms, standing=standing, host=Host(purse=replay.purse))
    outcomes, trials = _driven(running, replay)
    chosen, verdict = _recommended(outcomes, tables, world, steps)
    return Choice(None if chosen is None else replay.place(chosen)[0], replay.clock.spent, trials, verdict)


def last_training(world: World) -> float:
    """Seconds that the product keeps for training the dearest way once more on all rows."""
    return REFIT * max(world.cost(world.middle(arm), world.seeds[0]) for arm in world.arms)


def _driven(running: Race, replay: _Replay) -> tuple[list[ArmOutcome], int]:
    """Run a race to its end, or to that of its budget; its outcomes, and how many trials it was given."""
    course, answers, trials = running.course(), None, 0
    while True:
        try:
            jobs = course.send(answers)  # type: ignore[arg-type]  # None begins a generator
        except StopIteration as end:
            return end.value, trials
        answers, whole = replay.answer(jobs)
        trials += len(answers)
        if not whole:
            return running.finish("the budget is spent", answered=answers.get), trials


def _recommended(outcomes: Sequence[ArmOutcome], tables: Tables, world: World, steps: int) -> tuple[Trial | None, str]:
    """The trial that the product would hand over, and its verdict."""
    candidates, found = [], {}
    for outcome in outcomes:
        if outcome.failed or outcome.left or outcome.chosen is None or outcome.runs is None:
            continue
        cost = float(np.mean([record["train_seconds"] for record in outcome.records.values()]))
        size = 4 * next(iter(outcome.records.values()))["trainable_parameters"]
        starved = outcome.arm.starved(outcome.chosen, steps)
        candidates.append(Candidate(outcome.arm.name, outcome.runs, False, starved, cost, size, 0.0))
        found[outcome.arm.name] = outcome.chosen
    if not candidates:
        return None, "nothing was trained"
    said = recommend(candidates, world.score, metric=world.about["metric"], margin=MARGIN)
    return (found[said.chosen] if said.chosen else None), said.verdict
