"""Read from a model which parameters lie below, in, and above its layers.

The depth of a parameter is read from gradient flow: one short forward pass, then the graph that autograd recorded is
walked back from the input of each layer. No gradient is computed, and the model is left exactly as it was. Names only
confirm what the graph says; where the two disagree, or the structure is not understood, the model is refused.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from unfreeze.encoders.outline import AUXILIARY, Outline
from unfreeze.encoders.output_norm import acting
from unfreeze.errors import EncoderError

PROBE_TOKENS = 8
_WAY_OUT = "Choose an encoder like BERT, RoBERTa, DeBERTa or ModernBERT."


def read_outline(model: nn.Module) -> Outline:
    """Sort the parameters of a model by depth.

    Args:
        model: a transformers model; its parameters, gradients and modes are left as they are, and the global random
            state is not used.

    Returns:
        Every parameter's name in exactly one part; tied parameters are named once.

    Raises:
        EncoderError: the model has no single stack of layers that each act once, or a parameter's depth is unknown.
    """
    config = getattr(model, "config", None)
    base = getattr(model, "base_model", None)
    if config is None or not isinstance(base, nn.Module):
        raise EncoderError(f"{type(model).__name__} is no transformers model, so its parts are unknown. {_WAY_OUT}")
    if config.is_encoder_decoder:
        raise EncoderError(
            f"{type(model).__name__} has an encoder and a decoder, two stacks; unfreeze reads one. {_WAY_OUT}"
        )
    base_path = next(path for path, module in model.named_modules() if module is base)
    stack_path, layers = _find_stack(model, base_path)
    reached = _probe(model, base, layers, (base_path, stack_path))
    return _sort(model, base_path, stack_path, reached)


def layer_modules(model: nn.Module, outline: Outline) -> nn.ModuleList:
    """The layers themselves, in order, 0 nearest the input."""
    layers = model.get_submodule(outline.stack)
    if not isinstance(layers, nn.ModuleList) or len(layers) != outline.depth:
        raise EncoderError(f"{outline.stack!r} is no list of {outline.depth} layers: the outline is another model's.")
    return layers


@dataclass(frozen=True, slots=True)
class _Reached:
    """What autograd's graph connects: names of parameters behind each point of the forward pass.

    Attributes:
        points: behind the input of layer 0, of layer 1, …, and behind the output of the last layer; each holds the
            ones before it.
        base: behind anything that the base model gives.
        output_norm: the norm that what the layers give passes last.
    """

    points: tuple[frozenset[str], ...]
    base: frozenset[str]
    output_norm: tuple[str, ...]

    def level(self, name: str) -> int | None:
        """The first point behind which a parameter lies; None where it lies behind none of them."""
        return next((i for i, names in enumerate(self.points) if name in names), None)


def _find_stack(model: nn.Module, base_path: str) -> tuple[str, nn.ModuleList]:
    prefix = f"{base_path}." if base_path else ""
    lists = {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and path.startswith(prefix) and any(True for _ in module.parameters())
    }
    outer = {p: m for p, m in lists.items() if not any(p != q and p.startswith(f"{q}.") for q in lists)}
    if not outer:
        raise EncoderError(
            f"{type(model).__name__} has no list of alike layers, so nothing can be unfrozen one by one. {_WAY_OUT}"
        )
    stack = max(outer, key=lambda path: len(outer[path]))
    others = sorted(set(outer) - {stack})
    if others:
        raise EncoderError(
            f"{type(model).__name__} has numbered layers outside its main stack {stack!r} ({', '.join(others[:3])}), "
            f"so their depth is unknown. {_WAY_OUT}"
        )
    if len({type(layer) for layer in outer[stack]}) > 1 or isinstance(outer[stack][0], nn.ModuleList):
        raise EncoderError(
            f"{type(model).__name__}: the layers in {stack!r} are not alike, so they are no plain stack. {_WAY_OUT}"
        )
    return stack, outer[stack]


def _probe(model: nn.Module, base: nn.Module, layers: nn.ModuleList, paths: tuple[str, str]) -> _Reached:
    """Run a few tokens and see which parameters lie behind the input of each layer.

    Args:
        model: the whole.
        base: the pretrained model inside.
        layers: inside that.
        paths: module paths of these two.
    """
    # Copies that share memory: the model's own requires_grad and gradients are never written.
    learning = {name: p.detach().requires_grad_() for name, p in model.named_parameters() if p.is_floating_point()}
    calls: list[int] = []
    inputs: dict[int, torch.Tensor] = {}
    outputs: dict[str, list[torch.Tensor]] = {}

    def before(index: int) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            calls.append(index)
            inputs[index] = next(_tensors((args, kwargs)))

        return hook

    def after(key: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            outputs[key] = list(_tensors(output))

        return hook

    with ExitStack() as stack:
        stack.enter_context(_evaluating(model))
        stack.enter_context(torch.enable_grad())
        for i, layer in enumerate(layers):
            stack.callback(layer.register_forward_pre_hook(before(i), with_kwargs=True).remove)
        stack.callback(layers[-1].register_forward_hook(after("last")).remove)
        stack.callback(base.register_forward_hook(after("base")).remove)
        acted = stack.enter_context(acting(base, path=paths[0], stack=paths[1]))
        _forward(model, learning)
    _check_calls(model, calls, len(layers))
    known = {id(tensor): name for name, tensor in learning.items()}
    points = (*([inputs[i]] for i in range(len(layers))), outputs["last"][:1])
    ending = acted.ending(outputs["last"][0], outputs["base"])
    return _Reached(tuple(_behind(point, known) for point in points), _behind(outputs["base"], known), ending)


def _forward(model: nn.Module, parameters: dict[str, torch.Tensor]) -> None:
    words = model.get_input_embeddings()  # type: ignore[operator]
    device = words.weight.device
    ids = torch.arange(PROBE_TOKENS, device=device).remainder(words.weight.shape[0]).unsqueeze(0)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    try:
        torch.func.functional_call(model, parameters, (), batch)
    except Exception as error:  # a model that wants other inputs fails in as many ways as there are models
        raise EncoderError(
            f"{type(model).__name__} does not run on token ids and a mask alone ({type(error).__name__}), so its parts "
            f"cannot be read. {_WAY_OUT}"
        ) from error


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode within (no dropout, so no random numbers); afterwards each module is in its own mode again."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _check_calls(model: nn.Module, calls: list[int], depth: int) -> None:
    if calls == list(range(depth)):
        return
    uses = ", ".join(f"layer {i}: {calls.count(i)} times" for i in range(depth) if calls.count(i) != 1)
    raise EncoderError(
        f"{type(model).__name__}: its layers do not each act once, in order "
        f"({uses or f'the order is {calls}'}). A layer that is used many times has no depth of its own, so it can be "
        f"neither frozen nor unfrozen by depth. {_WAY_OUT}"
    )


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """The floating-point tensors inside nested tuples, lists and dictionaries, in order."""
    if isinstance(value, torch.Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)


def _behind(tensors: list[torch.Tensor], known: dict[int, str]) -> frozenset[str]:
    """Names of the parameters that tensors depend on: a walk through autograd's graph, computing nothing."""
    pending: list[Any] = [tensor.grad_fn for tensor in tensors if tensor.grad_fn is not None]
    seen = set(pending)
    found = {known[id(tensor)] for tensor in tensors if id(tensor) in known}
    while pending:
        node = pending.pop()
        leaf = getattr(node, "variable", None)
        if leaf is not None and id(leaf) in known:
            found.add(known[id(leaf)])
        following = {source for source, _ in node.next_functions if source is not None} - seen
        seen |= following
        pending.extend(following)
    return frozenset(found)


def _sort(model: nn.Module, base_path: str, stack_path: str, reached: _Reached) -> Outline:
    depth = len(reached.points) - 1
    parts: dict[str, list[str]] = {part: [] for part in ("embeddings", "top", "head", "auxiliary", "shared")}
    layers: list[list[str]] = [[] for _ in range(depth)]
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    base_prefix = f"{base_path}." if base_path else ""
    for name in sizes:
        level = reached.level(name)
        if name.startswith(f"{stack_path}."):
            layers[_layer_of(name, stack_path, level)].append(name)
        elif not name.startswith(base_prefix):
            if level is not None:
                raise EncoderError(f"{name!r} lies outside the encoder, but its layers depend on it. {_WAY_OUT}")
            parts["auxiliary" if name.startswith(f"{AUXILIARY}.") else "head"].append(name)
        elif level is not None:
            parts["embeddings" if level == 0 else "shared"].append(name)
        elif name in reached.base:
            parts["top"].append(name)
        else:
            raise EncoderError(f"{name!r} takes no part in a forward pass, so its depth is unknown. {_WAY_OUT}")
    return Outline(
        embeddings=tuple(parts["embeddings"]),
        layers=tuple(map(tuple, layers)),
        top=tuple(parts["top"]),
        head=tuple(parts["head"]),
        shared=tuple(parts["shared"]),
        sizes=sizes,
        stack=stack_path,
        base=base_path,
        auxiliary=tuple(parts["auxiliary"]),
        output_norm=tuple(name for name in reached.output_norm if name in sizes),  # a tied one has another name
    )


def _layer_of(name: str, stack_path: str, level: int | None) -> int:
    """The layer that a parameter's name says, if the graph says so too."""
    index = int(name.removeprefix(f"{stack_path}.").split(".")[0])
    if level != index + 1:  # point 0 is the input of layer 0, so what acts in layer i is first behind point i + 1
        found = "it takes no part in a forward pass" if level is None else f"gradients say layer {level - 1}"
        raise EncoderError(f"{name!r} is named as layer {index}, but {found}, so its depth is unknown. {_WAY_OUT}")
    return index
