"""A plan says who learns, and when. It is the only language between strategies and the engine.

A plan is a value: frozen, comparable, printable, computed from (settings, outline) alone. What is trainable at a step
follows from the plan and the progress of training, so there is no freezing state to save, and a resumed run cannot
lose it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from unfreeze.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters that share one learning-rate scale.

    Attributes:
        names: parameter names, as in an outline.
        lr_scale: share of the run's learning rate at which they learn, above 0.
    """

    names: tuple[str, ...]
    lr_scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.lr_scale > 0:
            raise SettingsError(f"a group learns at a share of the learning rate above 0; got {self.lr_scale}")


@dataclass(frozen=True, slots=True)
class Masking:
    """What of a text is hidden from the encoder, to be predicted from what is left.

    Attributes:
        unit: what is hidden as a whole: "entity", the spans that the labels name; "word"; or "span", some words in a
            row.
        share: of the entities, or of the words, that are hidden in one pass, in (0, 1].

    Raises:
        SettingsError: the unit is none of these, or the share lies outside (0, 1].
    """

    unit: Literal["entity", "word", "span"] = "entity"
    share: float = 0.5

    def __post_init__(self) -> None:
        if self.unit not in ("entity", "word", "span"):
            raise SettingsError(f'what is masked is an "entity", a "word" or a "span"; got {self.unit!r}')
        if not 0 < self.share <= 1:
            raise SettingsError(f"a share of the units is masked, above 0 and at most 1; got {self.share}")

    @property
    def reads_unlabelled(self) -> bool:
        """Whether it can be done on texts without labels, too."""
        return self.unit != "entity"


@dataclass(frozen=True, slots=True)
class Objective:
    """What is minimised: a weighted sum of the task's own loss and of others that teach the encoder.

    Attributes:
        task: weight of the task's loss, its mean over targets.
        masked: weight of the masked-language-model loss, its mean over masked tokens.
        masking: what is masked, where that has a weight.
        contrastive: weight of the contrastive loss, its mean over the pairs of a batch.

    Raises:
        SettingsError: a weight is negative, none is positive, or something is masked without a weight or the reverse.
    """

    task: float = 1.0
    masked: float = 0.0
    masking: Masking | None = None
    contrastive: float = 0.0

    def __post_init__(self) -> None:
        weights = (self.task, self.masked, self.contrastive)
        if min(weights) < 0 or not sum(weights) > 0:
            raise SettingsError(f"weights of a loss are 0 or more, one of them above; got {weights}")
        if (self.masking is not None) != (self.masked > 0):
            raise SettingsError("what is masked has a weight in the loss, and the reverse")

    @property
    def passes(self) -> int:
        """How often a step reads its texts: once for each loss that has a weight."""
        return sum(weight > 0 for weight in (self.task, self.masked, self.contrastive))


TASK = Objective()
"""The task's own loss alone."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What must hold when training reaches a stage, for the stage to begin; otherwise training ends there.

    Attributes:
        good: how good the best validation score so far must be: so much of the way from the score of always giving the
            most frequent class to a perfect one, below 1.
        target: validation score that is good enough: where it is reached nothing more is opened.
        examples: training examples that are enough for more to be opened.

    Raises:
        SettingsError: ``good`` is not below 1, or ``target`` or ``examples`` below 0.
    """

    good: float
    target: float
    examples: int

    def __post_init__(self) -> None:
        if not self.good < 1:
            raise SettingsError(f"good is a share of the way to a perfect score, below 1; got {self.good}")
        if self.target < 0 or self.examples < 0:
            raise SettingsError(f"a target and a number of examples are at least 0; got {self.target}, {self.examples}")

    def least(self, floor: float) -> float:
        """The score that is good, where always giving the most frequent class scores ``floor``."""
        return floor + self.good * (1.0 - floor)


@dataclass(frozen=True, slots=True)
class Stage:
    """What learns from one point of training on, until the next stage begins.

    Attributes:
        start: the point, as a fraction of training in [0, 1).
        groups: what learns; everything else is frozen.
        objective: what is minimised.
        gate: what must hold for it to begin; None for nothing. Where there are no validation rows it is not asked.
    """

    start: float
    groups: tuple[Group, ...]
    objective: Objective = TASK
    gate: Gate | None = None

    @property
    def trainable(self) -> frozenset[str]:
        """Names of all parameters that learn in this stage."""
        return frozenset(name for group in self.groups for name in group.names)

    @property
    def lr_scales(self) -> dict[str, float]:
        """Each trainable parameter's share of the learning rate."""
        return {name: group.lr_scale for group in self.groups for name in group.names}


@dataclass(frozen=True, slots=True)
class Plan:
    """Stages in order of their start; the first starts at 0.

    Attributes:
        stages: at least one.
        encoder_weights: where the encoder starts from, "pretrained" or "random".
        head_fit: how the head gets its weights: by "gradient", or in closed form from "class-means".
        calibrated: whether the trained model's logits are divided by a temperature fitted on validation rows.
        reinitialised: names of pretrained parameters that are drawn anew before training, as their family draws them.

    Raises:
        SettingsError: starts do not rise from 0, the first stage has a gate, one parameter is listed twice in a stage,
            or what is drawn anew never learns.
    """

    stages: tuple[Stage, ...]
    encoder_weights: Literal["pretrained", "random"] = "pretrained"
    head_fit: Literal["gradient", "class-means"] = "gradient"
    calibrated: bool = False
    reinitialised: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        starts = [stage.start for stage in self.stages]
        if not starts or starts[0] != 0 or starts != sorted(set(starts)) or starts[-1] >= 1:
            raise SettingsError(f"stage starts must rise from 0 and stay below 1; got {starts}")
        if self.stages[0].gate is not None:
            raise SettingsError("the first stage has no gate: something must learn before anything can be decided")
        for stage in self.stages:
            listed = [name for group in stage.groups for name in group.names]
            if len(listed) != len(set(listed)):
                twice = sorted({name for name in listed if listed.count(name) > 1})
                raise SettingsError(f"each parameter learns at one rate; listed twice at {stage.start}: {twice[:3]}")
        idle = sorted(set(self.reinitialised) - self.ever_trainable)
        if idle:
            raise SettingsError(f"what is drawn anew must learn, and these never do: {idle[:3]}")

    def at(self, progress: float) -> Stage:
        """The stage in force once ``progress`` (fraction of training, in [0, 1]) is done."""
        return [stage for stage in self.stages if stage.start <= progress][-1]

    @property
    def masking(self) -> Masking | None:
        """What any stage masks; None where none does."""
        return next((stage.objective.masking for stage in self.stages if stage.objective.masking), None)

    @property
    def ever_trainable(self) -> frozenset[str]:
        """Names of the parameters that learn in any stage."""
        return frozenset().union(*(stage.trainable for stage in self.stages))

    def teaches_by(self, stage: Stage) -> bool:
        """Whether the task's own loss has been minimised in a stage, or before it."""
        return any(earlier.objective.task > 0 for earlier in self.stages if earlier.start <= stage.start)

    def touched_by(self, stage: Stage) -> frozenset[str]:
        """Names of what learns in a stage or learned before it; all others have their first weights."""
        return frozenset().union(*(earlier.trainable for earlier in self.stages if earlier.start <= stage.start))


def one_stage(*groups: Iterable[str]) -> Plan:
    """A plan that never changes; each argument becomes one group at the full learning rate."""
    return Plan((Stage(0.0, tuple(Group(tuple(names)) for names in groups)),))
