"""Find the norm that an encoder's hidden states pass last: by what acts, not by what it is called.

Where norms come last (BERT), it is the module inside the last layer whose output *is* that layer's output. Where they
come first (ModernBERT), a layer ends with a sum, and the norm lies above: the module that reads the last layer's output
and gives what the encoder gives. Either way it must behave as a norm: its parameters are one vector or two as wide as
what it reads, and what it gives does not change when what it reads is scaled.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

SCALE = 8.0
"""What a norm reads is scaled by this, to see that what it gives stays."""


@dataclass(slots=True)
class Acted:
    """Modules that acted in a forward pass, each with what it read first and what it gave.

    Attributes:
        calls: path, module, input, output, in the order of the calls.
    """

    calls: list[tuple[str, nn.Module, Any, Any]] = field(default_factory=list)

    def ending(self, states: torch.Tensor, given: Sequence[torch.Tensor]) -> tuple[str, ...]:
        """Names of the parameters of the norm that comes last; empty where none is understood to be it.

        Args:
            states: what the last layer gave, the very tensor.
            given: what the encoder gave.
        """
        within = [(path, module) for path, module, _, output in self.calls if output is states]
        above = [
            (path, module)
            for path, module, read, output in self.calls
            if read is states and any(output is tensor for tensor in given)
        ]
        for path, module in (*within, *above):
            if _is_norm(module, int(states.shape[-1])):
                return tuple(f"{path}.{name}" for name, _ in module.named_parameters(recurse=False))
        return ()


@contextmanager
def acting(base: nn.Module, *, path: str, stack: str) -> Iterator[Acted]:
    """While it holds, note which modules with parameters of their own act in the last layer and outside the layers.

    Args:
        base: the pretrained model.
        path: its module path inside the whole.
        stack: module path of the list of layers.
    """
    acted, prefix = Acted(), f"{path}." if path else ""
    last = f"{stack}.{len(base.get_submodule(stack.removeprefix(prefix))) - 1}."  # type: ignore[arg-type]
    with ExitStack() as hooks:
        for name, module in base.named_modules(prefix=path):
            own = any(True for _ in module.parameters(recurse=False))
            if own and (name.startswith(last) or not name.startswith(f"{stack}.")):
                hooks.callback(module.register_forward_hook(_noting(acted, name)).remove)
        yield acted


def _noting(acted: Acted, name: str) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        acted.calls.append((name, module, args[0] if args else None, output))

    return hook


def _is_norm(module: nn.Module, width: int) -> bool:
    """Whether a module's parameters are vectors of this width, and scaling what it reads changes nothing."""
    parameters = list(module.parameters(recurse=False))
    if any(parameter.shape != (width,) for parameter in parameters):
        return False
    like = parameters[0]
    states = torch.linspace(-1, 2, width, dtype=like.dtype, device=like.device).reshape(1, 1, width)
    with torch.no_grad():
        once, scaled = module(states), module(SCALE * states)
    return torch.allclose(once, scaled, rtol=1e-2, atol=1e-3)
