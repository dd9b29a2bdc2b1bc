"""Who would learn, stage by stage: for ``--dry-run``."""

from itertools import groupby
from typing import Any

from unfreeze.compare.arms import Arm
from unfreeze.compare.material import Material
from unfreeze.encoders.building import build_model
from unfreeze.encoders.outline import Outline
from unfreeze.encoders.reading_outline import read_outline
from unfreeze.plan import TASK, Stage
from unfreeze.strategies import install


def stages_of(arm: Arm, material: Material) -> list[dict[str, Any]]:
    """An arm's plan for this encoder, with its usual head, as rows.

    Args:
        arm: which.
        material: its encoder and task.

    Returns:
        For each stage: where it starts (a fraction of training), what learns, how many parameters and what share of
        all, what is minimised if not the task's loss alone, and the learning rates that would be tried; where these are
        drawn, the ends of their range.
    """
    task, head = material.task, arm.heads[0]
    model = build_model(
        material.encoder, head, kind=task.kind, labels=task.labels, weights="pretrained", seed=arm.base.seed
    )
    install(arm.strategy, model, encoder=material.encoder, seed=arm.base.seed)
    outline = read_outline(model)
    rates = list(arm.rate_range or arm.rates) if arm.learns else []
    return [
        {
            "start": stage.start,
            "learns": _named_parts(stage, outline) or "nothing",
            "trainable_parameters": outline.size(stage.trainable),
            "share": outline.size(stage.trainable) / outline.size(outline.names),
            "objective": _objective(stage),
            "learning_rates": [rate * scale for rate in rates for scale in sorted({g.lr_scale for g in stage.groups})],
            "rates_drawn": arm.rate_range is not None,
        }
        for stage in arm.strategy.plan(outline).stages
    ]


def _named_parts(stage: Stage, outline: Outline) -> str:
    """What learns in a stage, as "layers 4–5, top, head"."""
    learning = {outline.part_of(name) for name in stage.trainable}
    parts: list[str] = [part for part in ("embeddings", "shared") if part in learning]
    layers = [i for i in range(outline.depth) if f"layer {i}" in learning]
    for _, run in groupby(enumerate(layers), key=lambda item: item[1] - item[0]):
        numbers = [layer for _, layer in run]
        parts.append(f"layers {numbers[0]}–{numbers[-1]}" if len(numbers) > 1 else f"layer {numbers[0]}")
    parts += [part for part in ("top", "head") if part in learning]
    return ", ".join([*parts, "masked-language-model head"] if "auxiliary" in learning else parts)


def _objective(stage: Stage) -> str:
    """What a stage minimises, as "the task's loss + 0.1 × that of masked entities"; empty for the first alone."""
    objective = stage.objective
    if objective == TASK:
        return ""
    parts = [(objective.task, "the task's loss"), (objective.masked, "that of masked entities")]
    return " + ".join(f"{weight:g} × {name}" if weight != 1 else name for weight, name in parts if weight)
