"""A model's logits on features, in the order of the features, whatever the batches."""

from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import torch
from torch import nn

from unfreeze.engine.batches import canonical_batches, collate
from unfreeze.engine.prefix import Start
from unfreeze.engine.runtime import Runtime
from unfreeze.tasks import Feature


def logits_of(
    model: nn.Module,
    features: Sequence[Feature],
    *,
    runtime: Runtime,
    start: Start | None = None,
) -> list[np.ndarray]:
    """Logits in evaluation mode, without gradients.

    Args:
        model: called as ``model(**inputs).logits``; left in evaluation mode.
        features: what to predict, in any order.
        runtime: how to compute.
        start: remembered hidden states to start from, instead of the text.

    Returns:
        For each feature (labels,) for whole texts or (tokens, labels) for tokens, float32.
    """
    model.eval()
    out: list[np.ndarray] = [np.empty(0)] * len(features)
    pad = int(model.config.pad_token_id or 0)  # type: ignore[union-attr,arg-type]
    with torch.inference_mode(), runtime.computing():
        for indices in canonical_batches(features):
            members = [features[i] for i in indices]
            inputs = collate(members, pad_token_id=pad, device=runtime.device)
            with start.at(model, indices) if start else nullcontext():
                logits = model(**inputs).logits
            for i, feature, row in zip(indices, members, logits.float().cpu().numpy(), strict=True):
                out[i] = row[: feature.length].copy() if feature.words else row
    return out


def summed_loss(features: Sequence[Feature], logits: Sequence[np.ndarray]) -> tuple[float, int]:
    """Cross entropy summed over all targets, in nats, and the number of targets; the same for any batches."""
    total, number = 0.0, 0
    for feature, values in zip(features, logits, strict=True):
        rows = values if feature.words else values[None]
        targets = np.asarray(feature.targets)
        kept = targets >= 0
        rows, targets = rows[kept].astype(np.float64), targets[kept]
        most = rows.max(axis=1, initial=-np.inf)
        normaliser = most + np.log(np.exp(rows - most[:, None]).sum(axis=1))
        total += float((normaliser - rows[np.arange(len(rows)), targets]).sum())
        number += int(kept.sum())
    return total, number
