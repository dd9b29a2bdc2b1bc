"""The loss: cross entropy, smoothed and weighted as the settings say, and what a step's sum of it is divided by.

The loss of a step is a sum over its targets divided by their number or, where classes have weights, by the sum of the
targets' weights. That is ``torch.nn.functional.cross_entropy`` over the whole step, however the step is cut.
"""

from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy

from unfreeze.engine.settings import TrainingSettings
from unfreeze.tasks import IGNORED


@dataclass(frozen=True, slots=True, eq=False)
class Loss:
    """Cross entropy in nats over targets that are not ``IGNORED``.

    Attributes:
        smoothing: share of a target that is spread evenly over all classes, in [0, 1).
        weights: of each class, (classes,), float32; None where all count alike.
    """

    smoothing: float = 0.0
    weights: torch.Tensor | None = None

    def summed(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The sum over targets, a scalar.

        Args:
            logits: (targets, classes), float32.
            targets: class numbers or ``IGNORED``, (targets,), int64.
        """
        return cross_entropy(
            logits,
            targets,
            weight=self.weights,
            ignore_index=IGNORED,
            reduction="sum",
            label_smoothing=self.smoothing,
        )

    def number(self, targets: torch.Tensor) -> float:
        """What the sum over these targets is divided by: their number or, with weights, the sum of their weights."""
        if self.weights is None:
            return int((targets != IGNORED).sum())
        weights = self.weights.to(targets.device)
        return float(weights[targets[targets != IGNORED]].sum(dtype=torch.float64))

    def expected(self, classes: int, *, like: torch.Tensor) -> torch.Tensor | None:
        """What the loss multiplies minus the log probabilities with, a column for each target, (classes, classes).

        So ``-(expected[:, targets] * log_softmax(logits)).sum()`` is the summed loss. None where that is plain cross
        entropy.
        """
        if self.weights is None and not self.smoothing:
            return None
        weights = like.new_ones(classes) if self.weights is None else self.weights
        spread = (weights * (self.smoothing / classes))[:, None].expand(classes, classes)
        return torch.diag(weights * (1 - self.smoothing)) + spread


PLAIN = Loss()
"""Cross entropy as it is."""


def loss_for(settings: TrainingSettings, *, targets: torch.Tensor, classes: int) -> Loss:
    """The loss that the settings say.

    Args:
        settings: how a model is trained.
        targets: of all that it is trained on, class numbers or ``IGNORED``, any shape, int64, where the loss will be.
        classes: how many there are.
    """
    weights = balanced_weights(targets, classes) if settings.class_weights == "balanced" else None
    return Loss(settings.label_smoothing_factor, weights)


def balanced_weights(targets: torch.Tensor, classes: int) -> torch.Tensor:
    """A weight for each class, n / (classes that occur * number of the class), so that all weigh the same together.

    A class that never occurs has weight 1: only smoothing reads it.

    Source: as scikit-learn's ``compute_class_weight``; King & Zeng 2001, "Logistic Regression in Rare Events Data".

    Args:
        targets: class numbers or ``IGNORED``, any shape, int64.
        classes: how many there are.

    Returns:
        (classes,), float32.
    """
    number = torch.bincount(targets[targets != IGNORED], minlength=classes).double()
    occurring = int((number > 0).sum())
    weights = number.sum() / (occurring * number)
    return torch.where(number > 0, weights, 1.0).float()
