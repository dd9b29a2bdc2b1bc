"""One temperature for a trained model's logits, so that its probabilities say how often it is right.

Source: Guo, Pleiss, Sun & Weinberger 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599: temperature
scaling (section 4.2), expected calibration error (section 2, equation 3). That a head trained before the encoder needs
it: Tomihari & Sato 2024, "Understanding Linear Probing then Fine-tuning Language Models from NTK Perspective",
arXiv:2405.16747.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from unfreeze.encoders.outline import Outline
from unfreeze.engine.class_means import last_linear
from unfreeze.tasks import Feature

LOWEST, HIGHEST = 0.05, 20.0
"""Between these lies every temperature."""

BINS = 15
"""Of equal width, over confidences from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What calibrating a model did.

    Attributes:
        temperature: what its logits were divided by.
        fitted: whether it was fitted on these very rows, and not taken from other runs.
        targets: on how many targets the errors were counted, 0 where there were none.
        error_before: expected calibration error before, in [0, 1]; None without targets.
        error_after: and after.
    """

    temperature: float
    fitted: bool
    targets: int
    error_before: float | None
    error_after: float | None


def calibrate(
    model: nn.Module,
    outline: Outline,
    *,
    features: Sequence[Feature],
    logits: Sequence[np.ndarray],
    temperature: float | None = None,
) -> Calibration:
    """Divide a model's logits by a temperature, which changes no label that it gives.

    The division goes into the weights and biases of its last linear layer, so the model stays of the class it is.

    Args:
        model: trained; its last linear layer is changed.
        outline: its parts.
        features: validation features; targets that are ignored do not count.
        logits: the model's, one entry a feature.
        temperature: what to divide by; None to fit it on the features.
    """
    rows, targets = scored_targets(features, logits)
    used = fitted_temperature(rows, targets) if temperature is None else temperature
    last = last_linear(model, outline)
    with torch.no_grad():
        last.weight.div_(used)
        last.bias.div_(used)
    errors = [calibration_error(rows / by, targets) if len(targets) else None for by in (1.0, used)]
    return Calibration(used, temperature is None, len(targets), *errors)


def scored_targets(features: Sequence[Feature], logits: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Logits and class number of every target that is not ignored: (targets, classes) float64, (targets,) int64."""
    rows, targets = [np.zeros((0, logits[0].shape[-1] if logits else 1))], [np.zeros(0, dtype=np.int64)]
    for feature, values in zip(features, logits, strict=True):
        own = np.asarray(feature.targets, dtype=np.int64)
        rows.append((values if feature.words else values[None])[own >= 0].astype(np.float64))
        targets.append(own[own >= 0])
    return np.concatenate(rows), np.concatenate(targets)


def fitted_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """The temperature of the least cross entropy, within ``LOWEST`` and ``HIGHEST``.

    Cross entropy is convex in 1/T, so its slope has one root there, or none. Where it falls all the way to ``LOWEST``
    (every target is named right, so that more confidence always looks better) the rows do not tell a temperature: it is
    1, and the model stays as it is. Where it falls all the way to ``HIGHEST`` (what the model says is no better than
    chance) it is ``HIGHEST``, and all probabilities come out nearly even. Without targets it is 1.

    Args:
        logits: (targets, classes), float64.
        targets: class numbers, (targets,).
    """
    from scipy.optimize import brentq

    if not len(targets):
        return 1.0
    right = logits[np.arange(len(targets)), targets]

    def slope(inverse: float) -> float:
        return float((_probabilities(logits * inverse) * logits).sum(axis=1).mean() - right.mean())

    if slope(1 / LOWEST) <= 0:
        return 1.0
    if slope(1 / HIGHEST) >= 0:
        return HIGHEST
    return float(1 / brentq(slope, 1 / HIGHEST, 1 / LOWEST, xtol=1e-12, rtol=1e-12))


def calibration_error(logits: np.ndarray, targets: np.ndarray) -> float:
    """Expected calibration error: the mean gap between confidence and accuracy, over bins of confidence, in [0, 1].

    Args:
        logits: (targets, classes).
        targets: class numbers, (targets,); at least one.
    """
    probabilities = _probabilities(logits)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    # A bin holds its upper end, as in the source: (0, 1/15], (1/15, 2/15] …
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    gaps = np.bincount(bins, weights=confidence - right, minlength=BINS)
    return float(np.abs(gaps).sum() / len(targets))


def _probabilities(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
