"""The optimizer of heads that take their steps together."""

import math
from collections.abc import Sequence

import torch

from unfreeze.engine.optimizer import MOMENTUM
from unfreeze.engine.settings import TrainingSettings

FIRST_DECAY, SECOND_DECAY = 0.9, 0.999
"""Of Adam's running means of gradients and of their squares; torch's defaults, which the loop has too."""


class HeadSteps:
    """AdamW, Adam or SGD for many heads at once, as ``build_optimizer`` has them for one model.

    Every operation is correctly rounded by itself (no fused multiplication and addition), so that an element does not
    depend on its place in the tensor.

    Source: Loshchilov & Hutter 2019, arXiv:1711.05101, algorithms 1 and 2, with bias correction.

    Args:
        optim: which of them.
        weights: of the heads, (heads, classes, columns).
        width: how many columns decay.
    """

    def __init__(self, optim: str, *, weights: torch.Tensor, width: int) -> None:
        self._optim, self._width = optim, width
        self._first = torch.zeros_like(weights)  # of SGD the velocity
        self._second = torch.zeros_like(weights[:0] if optim == "sgd" else weights)

    def arrange(self, settings: Sequence[TrainingSettings]) -> None:
        """Learn how each of the heads is trained that are left."""
        self._decay = self._first.new_tensor([s.weight_decay for s in settings])[:, None, None]
        self._epsilon = self._first.new_tensor([s.adam_epsilon for s in settings])[:, None, None]

    def keep(self, left: Sequence[int]) -> None:
        """Go on with some of the heads."""
        self._first = self._first[left]
        self._second = self._second if self._optim == "sgd" else self._second[left]

    def step(self, weights: torch.Tensor, gradient: torch.Tensor, *, rates: torch.Tensor, number: int) -> None:
        """One step of every head.

        Args:
            weights: of the heads that are left, (heads, classes, columns); changed.
            gradient: clipped, of the same shape; overwritten.
            rates: (heads, 1, 1).
            number: of the step, from 1.
        """
        decaying = weights[:, :, : self._width]
        if self._optim == "adamw":
            decaying.mul_(1 - rates * self._decay)
        else:
            gradient[:, :, : self._width].add_(decaying * self._decay)
        if self._optim == "sgd":
            weights.sub_(self._first.mul_(MOMENTUM).add_(gradient) * rates)
            return
        first, second = self._first, self._second
        first.mul_(FIRST_DECAY).add_(gradient * (1 - FIRST_DECAY))
        second.mul_(SECOND_DECAY).add_(gradient.mul_(gradient).mul_(1 - SECOND_DECAY))
        scale = second.sqrt().div_(math.sqrt(1 - SECOND_DECAY**number)).add_(self._epsilon)
        weights.sub_((first / scale).mul_(rates / (1 - FIRST_DECAY**number)))
