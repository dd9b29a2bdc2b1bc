"""One temperature for a trained model's logits, so that its probabilities say how often it is right.

Source: Guo, Pleiss, Sun & Weinberger 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599: temperature
scaling (section 4.2), expected calibration error (section 2, equation 3). There validation rows are thousands, and the
temperature is that of the least cross entropy; here they may be twenty, so a weak prior comes to it. That a head
trained before the encoder needs it: Tomihari & Sato 2024, "Understanding Linear Probing then Fine-tuning Language
Models from NTK Perspective", arXiv:2405.16747.
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

SPREAD = float(np.log(2))
"""How far, on a log scale, temperatures are expected to lie from 1: two models of three between a half and two."""

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
    """The temperature of the least cross entropy, drawn towards 1 where the rows are few.

    To the cross entropy, summed over the targets, comes a weak prior: that the logarithm of the temperature is normal
    about 0 with the deviation ``SPREAD``. From a hundred targets on it changes next to nothing. Below, it must be
    there: the rows that fit the temperature also chose the epoch and the settings, so the model looks better on them
    than it is, and twenty rows that are all right would ask for any amount of confidence. (In simulations with 20 rows,
    the best of 10 draws, cross entropy on new rows is 0.45 uncalibrated, 1.03 with the plain minimum, 0.50 with the
    prior; with 60 rows 0.45, 0.48, 0.47; and where logits are twice too large, with 60 rows, 0.52, 0.47, 0.47.)

    It lies within ``LOWEST`` and ``HIGHEST``, and is one of them where the least lies there or beyond: logits that are
    tiny beside what the labels ask for, or a model that is surely wrong of many rows. Without targets it is 1.

    Args:
        logits: (targets, classes), float64.
        targets: class numbers, (targets,).
    """
    from scipy.optimize import minimize_scalar

    def cost(power: float) -> float:
        return _summed_cross_entropy(logits * np.exp(-power), targets) + 0.5 * (power / SPREAD) ** 2

    # Beside the prior there may be two least points where logits are tiny: so first where, then exactly.
    powers = np.linspace(np.log(LOWEST), np.log(HIGHEST), 41)
    costs = [cost(power) for power in powers]
    best = int(np.argmin(costs))
    if best in (0, len(powers) - 1):
        return LOWEST if best == 0 else HIGHEST
    found = minimize_scalar(cost, bounds=(powers[best - 1], powers[best + 1]), method="bounded", options=_EXACTLY)
    return float(np.exp(found.x))


_EXACTLY = {"xatol": 1e-9}


def _summed_cross_entropy(logits: np.ndarray, targets: np.ndarray) -> float:
    if not len(targets):
        return 0.0
    shifted = logits - logits.max(axis=1, keepdims=True)
    return float((np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(targets)), targets]).sum())


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
