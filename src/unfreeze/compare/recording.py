"""What is kept of a trial, however it was trained: its scores, the counts they are summed from, its prediction time."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save
from torch import nn

from unfreeze.compare.material import Material
from unfreeze.engine.prediction import logits_of
from unfreeze.engine.runtime import Runtime
from unfreeze.files import publish_folder, write_bytes, write_json

RESULT, OUTPUTS = "result.json", "outputs.safetensors"


def scored(
    material: Material, fold: int | None, *, logits: Callable[[Sequence[int]], list[np.ndarray]]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Score a trained model on the validation rows of its fold and on the test rows.

    Args:
        material: what all trials share.
        fold: number of the fold; None where nothing is left to validate on.
        logits: of some examples' features, in the order of ``material.places``.

    Returns:
        For each split its metrics; and as arrays, for each split, its examples and their counts.
    """
    scores: dict[str, Any] = {}
    outputs: dict[str, np.ndarray] = {}
    for split, examples in (("validation", material.fold(fold).validation), ("test", material.splits.test)):
        if not examples:
            continue
        predictions = material.predictions(examples, logits(examples))
        counts = material.task.counts([material.examples[i] for i in examples], predictions)
        outputs[f"{split}/examples"] = np.asarray(examples, dtype=np.int64)
        outputs[f"{split}/counts"] = counts
        scores[split] = material.task.details(counts.sum(0)) | {"collapsed": is_collapsed(predictions)}
    return scores, outputs


def publish_trial(folder: Path, *, record: Mapping[str, Any], outputs: dict[str, np.ndarray]) -> None:
    """Put a trial's record into its folder, all of it at once.

    Raises:
        StorageError: the folder cannot be written.
    """

    def fill(into: Path) -> None:
        write_bytes(into / OUTPUTS, save(outputs))
        write_json(into / RESULT, dict(record))

    publish_folder(folder, fill)


def prediction_seconds(material: Material, model: nn.Module, *, runtime: Runtime) -> float:
    """Seconds to predict one example with the whole model, as its user will, measured on a few."""
    examples = material.splits.folds[0].train[:48]
    features = [material.features[place] for place in material.places(examples)]
    logits_of(model, features[:8], runtime=runtime)
    begun = time.perf_counter()
    logits_of(model, features, runtime=runtime)
    return (time.perf_counter() - begun) / len(examples)


def is_collapsed(predictions: Sequence[Any]) -> bool:
    """Whether a model says the same of everything."""
    first = predictions[0].value
    if isinstance(first, str):
        return all(prediction.value == first for prediction in predictions)
    return all(tag == "O" for prediction in predictions for tag in prediction.value)
