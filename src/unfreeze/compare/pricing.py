"""What a comparison costs before it is run, and what to leave out where the budget is short.

Arms are dropped first, then seeds, then folds, never steps: an arm that is not trained to its end says nothing.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations, pairwise
from typing import Any

from torch import nn

from unfreeze.compare.arms import Arm
from unfreeze.compare.material import Material
from unfreeze.compare.memory import Gauge, Peaks
from unfreeze.compare.numerals import spelled
from unfreeze.compare.trials import planned
from unfreeze.compare.unlabelled import share_of_step
from unfreeze.encoders.building import build_model
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.encoders.outline import Outline
from unfreeze.encoders.reading_outline import read_outline
from unfreeze.engine.masking import parts_of
from unfreeze.engine.prediction import logits_of
from unfreeze.engine.runtime import Runtime
from unfreeze.engine.training import Run, TrainingData, Watch
from unfreeze.errors import SettingsError
from unfreeze.plan import Masking, one_stage
from unfreeze.strategies import adds_modules
from unfreeze.tasks import Feature

REFIT = 1.25
"""The model handed over learns from the validation rows too, a quarter more."""

FINISHING = 8.0
"""Seconds for the floors that need no encoder, for saving the model, and for loading it again in a fresh process, on a
machine that has nothing else to do."""

TOGETHER = 0.02
"""What linear heads take of a step of everything: they are trained together, on numbers that never change."""

IN_THE_LOOP = 0.05
"""What any other head takes of it beside its own products: reading remembered states, and calling the model."""

TOKEN_BY_TOKEN = 4.0
"""An LSTM takes so much longer than other layers of as many weights: one token waits for the one before it."""

FORWARD = 0.35
"""What running a layer forward costs of a training step through it."""

MASKED = 1.1
"""What predicting hidden tokens of a text costs of a step through it: the gradient of all words comes on top."""

STARTING = 1.5
"""Seconds to build a model and write a trial's record."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Measured on this machine with this encoder.

    Attributes:
        forward: seconds a token to run the whole encoder.
        step: seconds a token of a training step in which everything learns.
        outline: the parts of the model measured.
        peaks: the memory that this took; None where it is not known, as on a GPU.
    """

    forward: float
    step: float
    outline: Outline
    peaks: Peaks | None = None


def outline_of(material: Material, arm: Arm, *, runtime: Runtime) -> Outline:
    """The parts of a model without what strategies add, to check and to price plans by.

    Args:
        material: its encoder and task.
        arm: any; its first head is built.
        runtime: how to compute.

    Raises:
        EncoderError: the encoder is none that can be trained.
    """
    return _model(material, arm, runtime)[1]


def with_own_outline(arm: Arm, material: Material, *, runtime: Runtime) -> Arm:
    """An arm that knows the modules its strategy adds, if it adds any: plans and prices follow from these.

    Raises:
        SettingsError: the strategy cannot add them to this encoder.
        MissingExtra: it needs a package that is not installed.
    """
    if not adds_modules(arm.strategy):
        return arm
    trial = arm.trial(arm.heads[0], arm.rates[0], seed=arm.base.seed, fold=0)
    return replace(arm, own_outline=planned(material, trial, runtime=runtime)[1])


def _model(material: Material, arm: Arm, runtime: Runtime) -> tuple[nn.Module, Outline]:
    task, seed = material.task, arm.base.seed
    model: Any = build_model(
        material.encoder, arm.heads[0], kind=task.kind, labels=task.labels, weights="pretrained", seed=seed
    )
    return model.to(runtime.device), read_outline(model)


def measure_speed(material: Material, arm: Arm, *, runtime: Runtime) -> Speed:
    """Time a few steps of training everything, and a few batches of prediction, on rows of the user's.

    Also notes the memory that this takes, see ``Peaks``.

    Args:
        material: its training rows are used.
        arm: any; only its settings are read.
        runtime: how to compute.
    """
    gauge = Gauge()
    model, outline = _model(material, arm, runtime)
    size = arm.base.per_device_train_batch_size
    places = material.places(material.splits.folds[0].train)[: 6 * size]
    data = TrainingData(material.features, places, (), lambda _: 0.0)
    settings = replace(arm.base, learning_rate=1e-6, num_train_epochs=1)
    logits_of(model, [material.features[place] for place in places[:size]], runtime=runtime)
    still = gauge.part()
    run = Run(model, outline, plan=one_stage(outline.names), settings=settings, data=data, runtime=runtime)
    tried = gauge.part()
    times = [time.perf_counter()]
    run.run(Watch(progress=lambda _: times.append(time.perf_counter())))
    stepping = gauge.part()
    # The first step also makes the optimizer's state; the median leaves it out, and what else the machine was doing.
    seconds = statistics.median(later - earlier for earlier, later in pairwise(times))
    tokens = sum(material.features[place].length for place in places)
    begun = time.perf_counter()
    logits_of(model, [material.features[place] for place in places[: 2 * size]], runtime=runtime)
    forward = time.perf_counter() - begun
    read = sum(material.features[place].length for place in places[: 2 * size])
    known = gauge.before is not None and runtime.device == "cpu"
    peaks = Peaks(gauge.before or 0, still, tried, stepping) if known else None
    return Speed(forward / read, seconds * len(times[1:]) / tokens, outline, peaks)


def price_of_trial(arm: Arm, material: Material, *, speed: Speed) -> float:
    """Seconds one trial of an arm takes at the most, early stopping left out.

    What lies below the frozen depth is computed once for all trials (see ``price_of_prefix``), so an epoch pays for the
    layers above it only, and for the head: the mean over the arm's heads, because each is tried once.
    """
    if not arm.learns:
        return STARTING + speed.forward * _tokens(material, material.splits.folds[0].train)
    fold = material.splits.folds[0]
    outline = arm.outline(speed.outline)
    plan, depth = arm.plan(outline), outline.depth
    ends = [stage.start for stage in plan.stages[1:]] + [1.0]
    places = material.places(fold.train)
    read = [material.features[place] for place in places]
    hidden = 0.0 if plan.masking is None else _share_with_parts(read, plan.masking)
    if plan.masking is not None and plan.masking.reads_unlabelled:
        hidden += share_of_step(material.unlabelled, read)
    work = statistics.fmean(_share_of_head(head, material, speed.outline) for head in arm.heads)
    for stage, end in zip(plan.stages, ends, strict=True):
        frozen, objective = outline.frozen_depth(stage.trainable), stage.objective
        # A layer that learned before and is frozen now has no remembered states: it is run forward.
        moved = frozen - outline.frozen_depth(plan.touched_by(stage))
        passes = (objective.task > 0) + (objective.contrastive > 0)
        work += (end - stage.start) * passes * (depth - frozen + FORWARD * moved) / depth
        # What is hidden differs from step to step, so nothing of it can be remembered: a frozen layer is run forward.
        again = hidden * (objective.masked > 0) * (MASKED * (depth - frozen) + FORWARD * frozen) / depth
        work += (end - stage.start) * again
    learned = speed.step * work * _tokens(material, fold.train)
    validated = speed.forward * work * _tokens(material, fold.validation)
    tested = speed.forward * work * _tokens(material, material.splits.test)
    return STARTING + arm.longest * (learned + validated) + tested


def _share_with_parts(features: Sequence[Feature], masking: Masking) -> float:
    """The texts in which something can be hidden, as a share of all tokens."""
    some = sum(feature.length for feature in features if parts_of(feature, masking))
    return some / max(1, sum(feature.length for feature in features))


def price_of_first(arm: Arm, material: Material, *, speed: Speed) -> float:
    """Seconds that the first trial of an arm's search takes at the most: its first head is the cheapest."""
    return price_of_trial(replace(arm, heads=arm.heads[:1]), material, speed=speed)


def _share_of_head(head: HeadSettings, material: Material, outline: Outline) -> float:
    """What a head takes of a step of everything: its weights against those of the layers, for as many rows."""
    if head.is_linear:
        return TOGETHER
    tokens = sum(feature.length for feature in material.features)
    rows = 1.0 if head.pooling == "tokens" else len(material.features) / tokens
    weights = head.network_weights(int(material.encoder.config.hidden_size))
    slower = TOKEN_BY_TOKEN if head.network == "bilstm" else 1.0
    return IN_THE_LOOP + slower * rows * weights / outline.size(tuple(chain.from_iterable(outline.layers)))


def price_of_prefix(material: Material, speed: Speed) -> float:
    """Seconds to compute the hidden states that frozen prefixes share, once."""
    return speed.forward * sum(feature.length for feature in material.features)


def _tokens(material: Material, examples: Sequence[int]) -> int:
    return sum(material.features[place].length for place in material.places(examples))


@dataclass(frozen=True, slots=True)
class Shape:
    """How much of a comparison is run.

    Attributes:
        arms: names of the arms that are run.
        seeds: runs of each fold.
        folds: folds that are run.
        nested: whether each fold has a search of its own.
    """

    arms: tuple[str, ...]
    seeds: int
    folds: int
    nested: bool = False

    def trials_of(self, arm: Arm) -> int:
        """Trials of an arm's searches and runs; a search on the fold itself ends with the run there, not repeated."""
        seeds = 1 if arm.strategy.search.floor else self.seeds
        searches = self.folds * arm.tuning_trials if self.nested else arm.tuning_trials - 1
        return searches + seeds * self.folds


def price_of(shape: Shape, arms: Sequence[Arm], *, trial_prices: Mapping[str, float], prefix: float) -> float:
    """Seconds of a whole comparison: searches, runs, and the chosen arm trained once more on all rows."""
    kept = [arm for arm in arms if arm.name in shape.arms]
    runs = sum(_price_of_arm(arm, shape, trial_prices) for arm in kept)
    return prefix + runs + _price_of_refit(kept, trial_prices)


def _price_of_arm(arm: Arm, shape: Shape, trial_prices: Mapping[str, float]) -> float:
    """Seconds of an arm's searches and runs."""
    return shape.trials_of(arm) * trial_prices[arm.name]


def _price_of_refit(arms: Sequence[Arm], trial_prices: Mapping[str, float]) -> float:
    """Seconds to train the arm that is handed over once more on all rows, whichever it will be, and to save it."""
    dearest = max((trial_prices[arm.name] for arm in arms if not arm.strategy.search.floor), default=0.0)
    return REFIT * dearest + FINISHING


def fit_into(
    budget: float, arms: Sequence[Arm], *, trial_prices: Mapping[str, float], prefix: float, most: Shape
) -> Shape:
    """The largest comparison that fits a budget.

    The most arms that fit with all seeds; among equally many those of the highest priority; then fewer seeds, then
    fewer folds. Floors are dropped before arms.

    Args:
        budget: seconds.
        arms: all arms.
        trial_prices: seconds of one trial, by arm.
        prefix: seconds of what is shared.
        most: the comparison that was asked for.

    Raises:
        SettingsError: not even two arms fit; says which budget would do.
    """
    rivals = [arm.name for arm in arms if not arm.strategy.search.floor]
    floors = sorted((arm.name for arm in arms if arm.strategy.search.floor), key=lambda name: trial_prices[name])
    least = min(2, len(rivals))
    sizes = [(seeds, most.folds) for seeds in range(most.seeds, 0, -1)]
    sizes += [(1, folds) for folds in range(most.folds - 1, 0, -1)]
    for seeds, folds in sizes:
        for number in range(len(rivals), least - 1, -1):
            for kept in combinations(rivals, number):
                for some in range(len(floors), -1, -1):
                    shape = replace(most, arms=(*kept, *floors[:some]), seeds=seeds, folds=folds)
                    if price_of(shape, arms, trial_prices=trial_prices, prefix=prefix) <= budget:
                        return shape
    pairs = [replace(most, arms=pair, seeds=1, folds=1) for pair in combinations(rivals, least)]
    needed = min(price_of(shape, arms, trial_prices=trial_prices, prefix=prefix) for shape in pairs)
    raise SettingsError(
        f"a budget of {spelled(budget)} is too short for {'two ways' if least == 2 else 'one way'} of fine-tuning on "
        f"these rows; --budget {ceil_minutes(needed)} would do for the cheapest, "
        f"{ceil_minutes(price_of(most, arms, trial_prices=trial_prices, prefix=prefix))} for all. Cheaper are fewer "
        "learning rates (--tuning 1) or trials (--trials 4, of a search that draws), fewer epochs "
        "(--set num_train_epochs=3), or fewer rows."
    )


def entrants(
    budget: float, arms: Sequence[Arm], *, trial_prices: Mapping[str, float], prefix: float, nested: bool = False
) -> tuple[str, ...]:
    """The arms that start a race: in the order of their priority, all whose first setting fits the budget.

    Room is left for training the dearest of them once more on all rows. Where that keeps out the way of the highest
    priority, the room is given up: its first model is then handed over as it is. Floors start where there is room at
    the end. With nested terms the first setting is no run yet, so there is room for a run of the two dearest more.

    Args:
        budget: seconds.
        arms: all arms.
        trial_prices: seconds of one trial, by arm.
        prefix: seconds of what is shared.
        nested: whether settings are chosen on inner folds.

    Returns:
        Their names, floors last.

    Raises:
        SettingsError: not even two arms fit; says which budget would do.
    """
    rivals = [arm.name for arm in arms if not arm.strategy.search.floor]
    floors = [arm.name for arm in arms if arm.strategy.search.floor]
    least = min(2, len(rivals))

    def price(names: Sequence[str], *, last: bool) -> float:
        dear = sorted((trial_prices[name] for name in names), reverse=True)
        runs = sum(dear) + (sum(dear[:2]) if nested else 0.0)
        return prefix + runs + (REFIT * max(dear, default=0.0) if last else 0.0) + FINISHING

    def started(*, last: bool) -> list[str]:
        kept: list[str] = []
        for name in rivals:
            kept += [name] if price([*kept, name], last=last) <= budget else []
        return kept

    with_room, without = started(last=True), started(last=False)
    gives_up = len(with_room) < least or any(name in without and name not in with_room for name in rivals[:1])
    kept = without if gives_up and len(without) >= least else with_room
    if len(kept) >= least:
        return (*kept, *floors)
    pair = sorted(rivals, key=lambda name: trial_prices[name])[:least]
    if price(pair, last=False) <= budget:
        return (*pair, *floors)
    raise SettingsError(
        f"a budget of {spelled(budget)} is too short for {'two ways' if least == 2 else 'one way'} of fine-tuning on "
        f"these rows; --budget {ceil_minutes(price(pair, last=True))} would do for the cheapest, "
        f"{ceil_minutes(price(rivals, last=True))} for a start of all. Cheaper are fewer epochs "
        "(--set num_train_epochs=3), or fewer rows."
    )


def ceil_minutes(seconds: float) -> str:
    """Seconds as a budget that surely holds them, such as "12m"."""
    return f"{int(seconds * 1.1 // 60) + 1}m"


def plan_as_dict(
    shape: Shape, arms: Sequence[Arm], *, trial_prices: Mapping[str, float], prefix: float, why: str = ""
) -> dict[str, Any]:
    """The plan with its price, for the ledger and the report.

    The prices of the arms that are kept, of the prefix and of the last training add up to ``whole_seconds``: what it
    costs if every way is run to its end.

    Args:
        shape: what is run at the most.
        arms: all arms.
        trial_prices: seconds of one trial, by arm.
        prefix: seconds of what is shared.
        why: why some arms are left out.
    """
    rows = []
    for arm in arms:
        kept = arm.name in shape.arms
        rows.append(
            {
                "name": arm.name,
                "price_seconds": _price_of_arm(arm, shape, trial_prices),
                "trial_seconds": trial_prices[arm.name],
                "tuning_trials": arm.tuning_trials,
                "kept": kept,
                "reason": "" if kept else why or "does not fit the budget",
            }
        )
    total = price_of(shape, arms, trial_prices=trial_prices, prefix=prefix)
    refit = _price_of_refit([arm for arm in arms if arm.name in shape.arms], trial_prices)
    parts = {"whole_seconds": total, "total_seconds": total, "prefix_seconds": prefix, "refit_seconds": refit}
    return parts | {"most_seeds": shape.seeds, "folds": shape.folds, "nested": shape.nested, "arms": rows}
