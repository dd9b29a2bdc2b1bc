"""Who would learn, stage by stage: for ``--dry-run``."""

from typing import Any

from unfreeze.compare.arms import Arm
from unfreeze.compare.material import Material
from unfreeze.encoders.building import build_model
from unfreeze.encoders.reading_outline import read_outline
from unfreeze.strategies import install, stage_rows


def stages_of(arm: Arm, material: Material) -> list[dict[str, Any]]:
    """An arm's plan for this encoder, with its usual head, as rows.

    Args:
        arm: which.
        material: its encoder and task.

    Returns:
        For each stage what ``stage_rows`` gives, and the learning rates that would be tried, of which each parameter
        has its share; where these are drawn, the ends of their range.
    """
    task, head = material.task, arm.heads[0]
    model = build_model(
        material.encoder, head, kind=task.kind, labels=task.labels, weights="pretrained", seed=arm.base.seed
    )
    install(arm.strategy, model, encoder=material.encoder, seed=arm.base.seed)
    outline = read_outline(model)
    rates = list(arm.rate_range or arm.rates) if arm.learns else []
    tried = {"learning_rates": rates, "rates_drawn": arm.rate_range is not None}
    return [row | tried for row in stage_rows(arm.strategy.plan(outline), outline)]
