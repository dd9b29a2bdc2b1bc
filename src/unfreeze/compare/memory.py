"""How much memory an arm takes, from what a short calibration took, and which arms fit.

The calibration notes how large this process is before it has a model, how large it was once a model was built and run,
how large while it was found out how its batches may be computed (this trains copies, all of them), and how large while
a few steps of everything were trained. From these an arm's peak follows:

- Where nothing below the head learns: as large as after a model was built and run; with a head that is more than a
  linear layer also its weights, and what their learning takes.
- Elsewhere the larger of two: the moment at which the way of batching is found out, the same for all arms; and
  training, which takes the process before, the model, ``LEARNING`` bytes for each weight that ever learns, and the
  activations, in proportion to the layers above the frozen depth. The activations of all layers are what is left of the
  measured steps once the rest is taken off. Word embeddings count as nothing here: only rows that the text shows are
  stepped. Where weights decay towards their first values, those are ``WEIGHT`` bytes more. To either of the two,
  ``KEEPING`` bytes for each weight that ever learns are added.
- What head-only trials keep in the process stays beside all others: a model and a table for each kind of head.

Hidden states are not counted: they are mapped from files, and the system takes their memory back when it is short.
Nor is anything on a GPU, whose memory is not measured.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from unfreeze.compare.arms import Arm
from unfreeze.compare.head_trials import KINDS
from unfreeze.compare.material import Material
from unfreeze.compare.numerals import sized
from unfreeze.compare.space import Choices
from unfreeze.encoders.outline import Outline
from unfreeze.engine import machine
from unfreeze.engine.anchors import anchored_names
from unfreeze.engine.settings import TrainingSettings
from unfreeze.errors import SettingsError

WEIGHT = 4
"""A weight in float32."""

LEARNING = 12
"""Of a weight that learns: its gradient and two moments."""

KEEPING = 12
"""Of a weight that learns: its best value so far, and twice more while that is written."""


@dataclass(frozen=True, slots=True)
class Peaks:
    """Bytes that a process took in the calibration, at the most in each of its parts.

    Attributes:
        before: without a model.
        still: while a model was built and run.
        tried: while it was found out how its batches may be computed.
        stepping: while a few steps of everything were trained.
    """

    before: int
    still: int
    tried: int
    stepping: int

    def larger(self, other: "Peaks") -> "Peaks":
        """The larger of each."""
        return Peaks(
            max(self.before, other.before),
            max(self.still, other.still),
            max(self.tried, other.tried),
            max(self.stepping, other.stepping),
        )


class Gauge:
    """Notes how large this process is, part by part.

    Attributes:
        before: bytes that it took at the beginning; None where the system does not say.
    """

    def __init__(self) -> None:
        machine.give_freed_memory_back()
        machine.forget_peak()
        self.before = machine.resident_memory() or machine.peak_memory()

    def part(self) -> int:
        """Bytes that it took at the most in the part that ends here; 0 where the system does not say."""
        most = machine.peak_memory() or 0
        machine.give_freed_memory_back()
        machine.forget_peak()
        return most


def needs(arms: Sequence[Arm], material: Material, *, outline: Outline, peaks: Peaks) -> dict[str, int]:
    """Bytes that a process takes at the most while it trains an arm, by the arm's name; see the module.

    Args:
        arms: all of the comparison.
        material: what they share.
        outline: of the encoder.
        peaks: of the calibration.
    """
    alone = {arm.name: arm for arm in arms if _head_alone(arm, outline)}
    kept = {name: _kept(arm, material, outline) for name, arm in alone.items()}
    found = {}
    for arm in arms:
        beside = sum(size for name, size in kept.items() if name != arm.name)
        own = kept[arm.name] - WEIGHT * outline.size(outline.names) if arm.name in kept else 0  # one is in the peak
        still = arm.name in kept or not arm.learns
        own = max(0, own) + (_networks(arm, material) if still else 0)
        found[arm.name] = beside + own + (peaks.still if still else _learning(arm, outline, peaks))
    return found


def _head_alone(arm: Arm, outline: Outline) -> bool:
    return arm.learns and arm.plan(outline).ever_trainable <= set(outline.head)


def _kept(arm: Arm, material: Material, outline: Outline) -> int:
    """What head-only trials leave in the process: a model and a table of what its head reads, for each kind."""
    tokens = material.task.kind != "sequence"
    rows = sum(feature.length for feature in material.features) if tokens else len(material.features)
    table = WEIGHT * rows * int(getattr(material.encoder.config, "hidden_size", 0))
    linear = sum(head.is_linear for head in arm.heads)
    return min(KINDS, linear) * (WEIGHT * outline.size(outline.names) + min(table, material.limit_bytes))


def _networks(arm: Arm, material: Material) -> int:
    """What the largest network of an arm's heads takes while it learns."""
    hidden = int(getattr(material.encoder.config, "hidden_size", 0))
    return (WEIGHT + LEARNING + KEEPING) * max(head.network_weights(hidden) for head in arm.heads)


def _learning(arm: Arm, plain: Outline, peaks: Peaks) -> int:
    outline = arm.outline(plain)
    plan = arm.plan(outline)
    model = peaks.before + WEIGHT * outline.size(outline.names)
    activations = max(0, peaks.stepping - model - LEARNING * _stepped(frozenset(plain.names), plain))
    lowest = min(outline.frozen_depth(plan.touched_by(stage)) for stage in plan.stages)
    share = (outline.depth - lowest) / max(1, outline.depth)
    starts = max(_stepped(anchored_names(outline, plan, settings=settings), outline) for settings in _settings(arm))
    learning = LEARNING * _stepped(plan.ever_trainable, outline) + WEIGHT * starts
    training = model + learning + int(activations * share)
    return max(peaks.tried, training) + KEEPING * outline.size(plan.ever_trainable)


def _settings(arm: Arm) -> Iterator[TrainingSettings]:
    """Settings that an arm's trials may have, of which only the dearest counts."""
    yield from arm.points
    drawn = arm.sampling.space.dimensions.get("weight_decay_towards") if arm.sampling is not None else None
    for value in drawn.values if isinstance(drawn, Choices) else ():
        yield replace(arm.base, weight_decay_towards=value)


def _stepped(names: frozenset[str], outline: Outline) -> int:
    """Weights that the optimizer steps, but for those of words."""
    return outline.size(names - set(outline.embeddings))


@dataclass(frozen=True, slots=True)
class Room:
    """The memory that a comparison may take, and what its arms need of it.

    Attributes:
        limit: bytes for all processes together; None where nobody knows.
        given: whether the user has said so; else it is what is free.
        before: bytes of a process without a model.
        needs: bytes of a process that trains an arm, by name; empty where they could not be measured.
    """

    limit: int | None
    given: bool
    before: int
    needs: Mapping[str, int]

    @property
    def too_large(self) -> dict[str, str]:
        """Why some arms do not fit, by name."""
        if self.limit is None:
            return {}
        left = f"{sized(self.limit)} are {'given' if self.given else 'free'}"
        return {name: f"needs about {sized(n)}, and {left}" for name, n in self.needs.items() if n > self.limit}

    @property
    def processes(self) -> int | None:
        """Processes that fit beside the one that leads them, at least 1; None where nobody knows."""
        dearest = max((size for name, size in self.needs.items() if name not in self.too_large), default=0)
        if self.limit is None or not self.needs:
            return None
        return max(1, (self.limit - self.before) // dearest) if dearest else 1

    def fitting(self, arms: Sequence[Arm]) -> list[Arm]:
        """The arms that fit into one process.

        Raises:
            SettingsError: not even two that may be handed over do; says what would do.
        """
        too_large = self.too_large
        kept = [arm for arm in arms if arm.name not in too_large]
        rivals = [arm.name for arm in arms if not arm.strategy.search.floor]
        least = min(2, len(rivals))
        if not too_large or sum(arm.name in rivals for arm in kept) >= least:
            return kept
        name = sorted(rivals, key=lambda name: self.needs[name])[least - 1]
        raise SettingsError(
            f"{sized(self.limit or 0)} of memory {'as given' if self.given else 'that are free'} are too little for "
            f"{'two ways' if least == 2 else 'this way'} of fine-tuning: {name} {too_large[name]}; --memory "
            f"{as_option(self.needs[name])} would do for the smallest, {as_option(max(self.needs.values()))} for all. "
            "Smaller are a smaller encoder and smaller batches (--set per_device_train_batch_size=8)."
        )


def as_option(number: int) -> str:
    """Bytes as a size to type that surely holds them, such as "1200MB"."""
    return f"{-(-number * 11 // 10 // 100_000_000) * 100}MB"
