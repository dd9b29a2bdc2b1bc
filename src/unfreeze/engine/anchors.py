"""Weight decay towards where an encoder started, in the place of zero.

Plain decay pulls weights to 0, which for pretrained ones is nowhere in particular. Here the matrices of the encoder are
pulled back to the values that training began with; the head, and whatever else was not pretrained, to 0 as ever. As
with decay towards zero, AdamW takes a share of the distance times the rate, apart from the gradient; with Adam and SGD
the distance is added to the (clipped) gradient.

Source: Li, Grandvalet & Davoine 2018, "Explicit Inductive Bias for Transfer Learning with Convolutional Networks"
(L2-SP), arXiv:1802.01483, section 3, equation 3 (with the head's own term towards zero). For BERT: Zhang et al. 2021,
arXiv:2006.05987, section 7. Differs: biases and norms do not decay here, in either direction.
"""

from collections.abc import Iterator

import torch
from torch import nn

from unfreeze.encoders.outline import Outline
from unfreeze.engine.settings import TrainingSettings
from unfreeze.plan import Plan


def anchored_names(outline: Outline, plan: Plan, *, settings: TrainingSettings) -> frozenset[str]:
    """Names of what learns and decays towards where it started: what was pretrained, and not drawn anew.

    What a strategy adds to the encoder is not among them: decaying towards zero, it becomes the pretrained encoder.

    Args:
        outline: of the model, with what was added.
        plan: who learns.
        settings: whether anything decays so; none does where they say "zero".
    """
    if settings.weight_decay_towards == "zero" or not settings.weight_decay or plan.encoder_weights == "random":
        return frozenset()
    return plan.ever_trainable & ({*outline.encoder} - {*outline.added} - {*plan.reinitialised})


class Anchors:
    """The values that an optimizer's parameters had when it was built, and the pull back there.

    Args:
        optimizer: as ``build_optimizer`` gives it, before its first step.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        self._decoupled = isinstance(optimizer, torch.optim.AdamW)
        self._starts = {
            parameter: parameter.detach().clone()
            for group in optimizer.param_groups
            if group["pull"]
            for parameter in group["params"]
        }

    @torch.no_grad()
    def pull(self) -> None:
        """Before a step, once gradients are clipped: what has a gradient decays, as with decay towards zero."""
        for parameter, rate, share in self._pulled():
            start = self._starts[parameter]
            if self._decoupled:
                parameter.lerp_(start, rate * share)
            else:  # not in place: the gradient of the word embeddings is a buffer that outlives the step
                assert parameter.grad is not None
                parameter.grad = parameter.grad.add(parameter - start, alpha=share)

    def _pulled(self) -> Iterator[tuple[nn.Parameter, float, float]]:
        for group in self._optimizer.param_groups:
            if group["pull"]:
                yield from ((p, group["lr"], group["pull"]) for p in group["params"] if p.grad is not None)
