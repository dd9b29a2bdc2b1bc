"""A linear head in closed form: each text goes to the nearest class mean. No gradient."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from unfreeze.encoders.outline import Outline
from unfreeze.engine.batches import canonical_batches, collate, collate_targets
from unfreeze.engine.prefix import Start
from unfreeze.engine.runtime import Runtime
from unfreeze.errors import EncoderError
from unfreeze.tasks import Feature

NEVER = -1e30
"""Bias of a class without training examples: it is never the nearest. Far below minus any squared norm, yet finite in
bfloat16 too."""


def fit_class_means(
    model: nn.Module,
    outline: Outline,
    *,
    features: Sequence[Feature],
    runtime: Runtime,
    start: Start | None = None,
) -> None:
    """Set the last linear layer so that its largest logit names the nearest class mean.

    With squared Euclidean distance, ``-|x - m|^2 = 2 m.x - |m|^2 - |x|^2``, and the last term is the same for all
    classes: so weights ``2 m`` and biases ``-|m|^2`` are the nearest-mean rule exactly.

    Source: Snell, Swersky & Zemel 2017, arXiv:1703.05175, section 2.4, equation 8.

    Args:
        model: its last linear layer is overwritten; left in evaluation mode.
        outline: the model's parts.
        features: training features; targets below 0 are left out.
        runtime: how to compute.
        start: remembered hidden states to start from, instead of the text.
    """
    last = last_linear(model, outline)
    sums = torch.zeros(last.out_features, last.in_features, dtype=torch.float64)
    numbers = torch.zeros(last.out_features, dtype=torch.float64)
    model.eval()
    with reading(last) as seen, torch.no_grad(), runtime.computing():
        for indices in canonical_batches(features):
            members = [features[i] for i in indices]
            inputs = collate(members, pad_token_id=int(model.config.pad_token_id or 0), device=runtime.device)  # type: ignore[union-attr,arg-type]
            with start.at(model, indices) if start else nullcontext():
                model(**inputs)
            read, targets = seen.pop().double().cpu(), collate_targets(members, "cpu")
            sums.index_add_(0, targets[targets >= 0], read[targets >= 0])
            numbers += torch.bincount(targets[targets >= 0], minlength=last.out_features)
    means = sums / numbers.clamp(min=1)[:, None]
    with torch.no_grad():
        last.weight.copy_(2 * means)
        last.bias.copy_(torch.where(numbers > 0, -(means**2).sum(1), NEVER))


@contextmanager
def reading(module: nn.Module) -> Iterator[list[torch.Tensor]]:
    """While it holds, what goes into a module is put into the list that it gives."""
    seen: list[torch.Tensor] = []

    def read(_: nn.Module, args: tuple[Any, ...]) -> None:
        seen.append(args[0])

    hook = module.register_forward_pre_hook(read)
    try:
        yield seen
    finally:
        hook.remove()


def last_linear(model: nn.Module, outline: Outline) -> nn.Linear:
    """The layer that gives the logits: the last linear one of the head.

    Raises:
        EncoderError: there is none, or it has no bias.
    """
    head = {name.rpartition(".")[0] for name in outline.head}
    found = [module for name, module in model.named_modules() if name in head and isinstance(module, nn.Linear)]
    if not found or found[-1].bias is None:
        raise EncoderError(
            f"{type(model).__name__} has no linear head with a bias, so its logits cannot be set or scaled."
        )
    return found[-1]
