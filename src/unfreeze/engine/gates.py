"""Gates: whether a stage of a plan begins, decided from what validation has shown so far."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unfreeze.encoders.outline import Outline
from unfreeze.plan import Gate, Plan
from unfreeze.tasks import IGNORED, Feature


def decided(
    plan: Plan, index: int, *, outline: Outline, score: float | None, floor: float, examples: int
) -> dict[str, Any]:
    """Whether a stage with a gate begins, and why.

    Args:
        plan: of the run.
        index: of the stage.
        outline: of the model.
        score: the best so far on validation; None where nothing was validated yet, and then it begins.
        floor: what always giving the most frequent class scores on the same rows.
        examples: that the run learns from.

    Returns:
        ``stage`` (its index), ``start``, what it ``opens`` in words, whether it ``opened``, ``score``, ``floor`` and
        ``examples`` as given, ``because`` (the reason, the same words for all runs) and ``why`` (with its figures).
    """
    stage = plan.stages[index]
    assert stage.gate is not None, "only a gate is asked"
    opened, because, why = _judged(stage.gate, score, floor, examples)
    return {
        "stage": index,
        "start": stage.start,
        "opens": outline.told(stage.trainable - plan.stages[index - 1].trainable) or "nothing more",
        "opened": opened,
        "score": score,
        "floor": floor,
        "examples": examples,
        "because": because,
        "why": why,
    }


def _judged(gate: Gate, score: float | None, floor: float, examples: int) -> tuple[bool, str, str]:
    if score is None:
        return True, "nothing was validated before", "nothing was validated before, so nothing speaks against it"
    told, least, target = (f"{100 * number:.1f}" for number in (score, gate.least(floor), gate.target))
    if score >= gate.target:
        return False, "the target is reached", f"{told} points reach the target of {target}: nothing needs opening"
    if score < gate.least(floor):
        because = "too little was learned on what is frozen to build on"
        return False, because, f"{told} points are not good (at least {least}): {because}"
    if examples < gate.examples:
        because = "the training examples are too few"
        return False, because, f"{examples} training examples are too few to open more (at least {gate.examples})"
    why = (
        f"{told} points are good (at least {least}) and below the target of {target}, and {examples} training examples "
        f"are enough (at least {gate.examples})"
    )
    return True, "good, below the target, and the training examples are enough", why


def shut(gates: Sequence[Mapping[str, Any]]) -> int | None:
    """The stage whose gate stayed shut, among decisions that were made; None where all opened."""
    return next((gate["stage"] for gate in gates if not gate["opened"]), None)


def constant_logits(shown: Sequence[Feature], features: Sequence[Feature], *, classes: int) -> list[np.ndarray]:
    """Logits that give the most frequent training target everywhere: of equals the one that is numbered first.

    Args:
        shown: features that are learned from.
        features: that logits are for.
        classes: how many.

    Returns:
        Of each feature (classes,), or (tokens, classes) where each token has a target.
    """
    counts = Counter(target for feature in shown for target in feature.targets if target != IGNORED)
    row = np.zeros(classes, dtype=np.float32)
    row[min(counts, key=lambda target: (-counts[target], target))] = 1.0
    return [np.tile(row, (len(feature.targets), 1)) if feature.words else row.copy() for feature in features]
