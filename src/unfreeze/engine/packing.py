"""Packed batches: linear layers see real tokens only, attention sees sequences of similar length.

Random batches of plain sentences are half padding, of long-tailed text four fifths. The model is called in its ordinary
padded way; a hook before its first layer packs the states of all texts end to end, (1, tokens, hidden), and one after
its last layer spreads them again. In between, attention goes through a function of our own, registered with
transformers, that is told by a keyword argument where each text begins. The composition of the batch is untouched.

A head that reads the first token alone needs of the last layer no more: where attention's output enters a module of its
own with what it is added to (BERT, RoBERTa, ELECTRA), all that follows is computed for the first tokens only. That is
three quarters of the layer.

Families whose attention never asks for that function compute nonsense without a word, so packing is used only where
``way_of_batching`` has compared logits and gradients with the padded model's.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface

from unfreeze.encoders.outline import Outline
from unfreeze.encoders.reading_outline import layer_modules
from unfreeze.engine.batches import grouped_by_length
from unfreeze.engine.dropout import Dropout

ATTENTION = "unfreeze_packed"
"""The name under which transformers knows the attention below. It has no mask function: transformers makes none."""

AFTER_ATTENTION = "attention.output"
"""Where a layer's attention ends: a module that is given attention's output and what entered the layer."""

ROUNDED_TO = 64
"""Packed tokens are rounded up to a multiple: oneDNN builds a kernel for every new size."""


@dataclass(frozen=True, slots=True)
class Group:
    """Texts that go through attention together.

    Attributes:
        begin: first of the group's rows in the grouped layout.
        texts: their number.
        longest: tokens of the longest; the others are padded to it.
        lengths: tokens of each, (texts,), int64.
        mask: which keys are real, (texts, 1, 1, longest), bool; None where all are.
    """

    begin: int
    texts: int
    longest: int
    lengths: torch.Tensor
    mask: torch.Tensor | None


class Packing:
    """Where the tokens of one batch stand: padded, packed, and grouped for attention.

    Args:
        lengths: tokens of each text, in the order of the batch.
        device: of the states.
        dropout: of attention; None to leave it out.
        narrows: whether the last layer, from its attention on, computes first tokens only.
    """

    def __init__(
        self, lengths: Sequence[int], *, device: str, dropout: Dropout | None = None, narrows: bool = False
    ) -> None:
        self.narrows = narrows
        self.texts, self.longest, self.tokens, self.dropout = len(lengths), max(lengths), sum(lengths), dropout
        self.rows = -(-self.tokens // ROUNDED_TO) * ROUNDED_TO
        sizes = torch.tensor(lengths)
        within = torch.arange(self.tokens) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
        text = torch.arange(self.texts).repeat_interleave(sizes)
        self.padded = (text * self.longest + within).to(device)
        self.firsts = (sizes.cumsum(0) - sizes).to(device)
        self.groups: list[Group] = []
        begins, begin = torch.zeros(self.texts, dtype=torch.long), 0
        for members in grouped_by_length(lengths):
            longest = max(lengths[i] for i in members)
            begins[members] = begin + longest * torch.arange(len(members))
            own = sizes[members].to(device)
            real = torch.arange(longest, device=device) < own[:, None, None, None]
            self.groups.append(Group(begin, len(members), longest, own, None if bool(real.all()) else real))
            begin += len(members) * longest
        self.grouped_rows = begin
        self.grouped = (begins[text] + within).to(device)

    def pack(self, states: torch.Tensor) -> torch.Tensor:
        """(texts, longest, …) to (1, rows, …); rows beyond the tokens are zero."""
        flat = states.reshape(self.texts * self.longest, -1)
        return _Move.apply(flat, self.padded, self.rows, False).view(1, self.rows, *states.shape[2:])

    def narrow(self, states: torch.Tensor) -> torch.Tensor:
        """(1, rows, …) to (1, texts, …): the first token of each text."""
        flat = _Move.apply(states.reshape(self.rows, -1), self.firsts, self.texts, False)
        return flat.view(1, self.texts, *states.shape[2:])

    def unpack(self, states: torch.Tensor) -> torch.Tensor:
        """(1, rows, …) to (texts, longest, …); padding is zero. Narrowed, (1, texts, …) to (texts, 1, …)."""
        if self.narrows:
            return states.view(self.texts, 1, *states.shape[2:])
        flat = _Move.apply(states.reshape(self.rows, -1), self.padded, self.texts * self.longest, True)
        return flat.view(self.texts, self.longest, *states.shape[2:])

    def to_groups(self, states: torch.Tensor) -> torch.Tensor:
        """(1, heads, rows, width) to (grouped rows, heads, width)."""
        heads, width = states.shape[1], states.shape[3]
        flat = states.transpose(1, 2).reshape(self.rows, heads * width)
        return _Move.apply(flat, self.grouped, self.grouped_rows, True).view(self.grouped_rows, heads, width)

    def from_groups(self, states: torch.Tensor) -> torch.Tensor:
        """(grouped rows, heads, width) to (1, rows, heads, width)."""
        flat = _Move.apply(states.reshape(self.grouped_rows, -1), self.grouped, self.rows, False)
        return flat.view(1, self.rows, *states.shape[1:])


def _gathered(values: torch.Tensor, index: torch.Tensor, rows: int) -> torch.Tensor:
    out = values.new_empty(rows, values.shape[1])
    torch.index_select(values, 0, index, out=out[: len(index)])
    out[len(index) :] = 0
    return out


def _spread(values: torch.Tensor, index: torch.Tensor, rows: int) -> torch.Tensor:
    return values.new_zeros(rows, values.shape[1]).index_copy_(0, index, values[: len(index)])


class _Move(torch.autograd.Function):
    """Gather rows from distinct places, or spread them there; each is the other's way back.

    The backward pass that autograd knows for either adds up; places are distinct, so a copy will do.
    """

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, index: torch.Tensor, rows: int, spreads: bool) -> torch.Tensor:
        ctx.save_for_backward(index)
        ctx.rows, ctx.spreads = len(values), spreads
        return (_spread if spreads else _gathered)(values, index, rows)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (index,) = ctx.saved_tensors
        back = _gathered if ctx.spreads else _spread
        return back(gradients[0].contiguous(), index, ctx.rows), None, None, None


def _attention(
    module: nn.Module,
    *states: torch.Tensor | None,
    packing: Packing,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Scaled dot-product attention within each text, called as transformers calls its attention functions.

    Args:
        module: whose attention it is.
        states: query, key and value, each (1, heads, rows, width), and the mask that transformers did not make.
        packing: where each text stands.
        scaling: of the products; None for 1 / sqrt(width).
        dropout: probability with which a weight is dropped; 0 in evaluation mode.
        sliding_window: a token sees those nearer than this; None for all.

    Returns:
        (1, rows, heads, width), and no weights.
    """
    query, key, value = (state for state in states if state is not None)
    heads, width = query.shape[1], query.shape[3]
    scaled = query * (width**-0.5 if scaling is None else scaling)
    rows = [packing.to_groups(states) for states in (scaled, key, value)]
    parts = []
    for number, group in enumerate(packing.groups):
        end = group.begin + group.texts * group.longest
        shape = (group.texts, group.longest, heads, width)
        q, k, v = (states[group.begin : end].view(shape).transpose(1, 2) for states in rows)
        weights = q @ k.transpose(2, 3)
        mask = _visible(group, sliding_window)
        if mask is not None:
            weights = weights.masked_fill(~mask, torch.finfo(weights.dtype).min)
        weights = weights.softmax(-1).to(v.dtype)
        if dropout and packing.dropout is not None:
            weights = weights * packing.dropout.mask(module, weights, p=dropout, again=number)
        parts.append((weights @ v).transpose(1, 2).reshape(end - group.begin, heads, width))
    return packing.from_groups(torch.cat(parts)), None


def _visible(group: Group, sliding_window: int | None) -> torch.Tensor | None:
    if sliding_window is None or group.longest <= sliding_window:
        return group.mask
    place = torch.arange(group.longest, device=group.lengths.device)
    near = (place[:, None] - place).abs() < sliding_window
    return near if group.mask is None else near & group.mask


AttentionInterface.register(ATTENTION, _attention)


@contextmanager
def packed(
    model: nn.Module, outline: Outline, *, packing: Packing, first: int = 0, states: torch.Tensor | None = None
) -> Iterator[None]:
    """While it holds, the model may be called with a padded batch, and computes it packed.

    It should hold during the backward pass too: gradient checkpointing calls the layers again.

    Args:
        model: of a family that packs, see ``way_of_batching``.
        outline: its parts.
        packing: of the batch.
        first: the layer where packing begins.
        states: what enters that layer, packed, (rows, hidden); None for what the model itself gives.
    """
    layers = layer_modules(model, outline)[first:]
    hooks = [layers[-1].register_forward_hook(_leaving(packing))]
    for layer in layers:
        entering = _entering(packing, states) if layer is layers[0] else _entering(packing, None, packs=False)
        hooks.append(layer.register_forward_pre_hook(entering, with_kwargs=True))
    if packing.narrows:
        hooks.append(layers[-1].get_submodule(AFTER_ATTENTION).register_forward_pre_hook(_narrowing(packing)))
    configs = {id(m.config): m.config for m in model.modules() if hasattr(m, "config")}
    before = {number: config._attn_implementation for number, config in configs.items()}  # type: ignore[union-attr]
    try:
        for config in configs.values():
            config._attn_implementation_internal = ATTENTION  # type: ignore[union-attr]
        yield
    finally:
        for number, config in configs.items():
            config._attn_implementation_internal = before[number]  # type: ignore[union-attr]
        for hook in hooks:
            hook.remove()


def _entering(packing: Packing, states: torch.Tensor | None, *, packs: bool = True) -> Callable[..., Any]:
    """What a layer reads: packed states, rotary tables row by row, and where each text stands."""

    def tables(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(tables(member) for member in value)
        if isinstance(value, torch.Tensor) and value.ndim == 3 and value.shape[1] == packing.longest:
            return packing.pack(value.expand(packing.texts, -1, -1))
        return value

    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        kwargs = {name: tables(value) for name, value in kwargs.items() if name != "hidden_states"} | (
            {"hidden_states": kwargs["hidden_states"]} if "hidden_states" in kwargs else {}
        )
        given = args[0] if args else kwargs["hidden_states"]
        if packs:
            given = packing.pack(given) if states is None else states.unsqueeze(0)
        if args:
            args = (given, *args[1:])
        else:
            kwargs["hidden_states"] = given
        return args, kwargs | {"packing": packing}

    return hook


def _narrowing(packing: Packing) -> Callable[..., Any]:
    def hook(_: nn.Module, args: tuple[torch.Tensor, ...]) -> Any:
        return tuple(packing.narrow(states) for states in args)

    return hook


def _leaving(packing: Packing) -> Callable[..., Any]:
    def hook(_: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
        if isinstance(output, tuple):
            return (packing.unpack(output[0]), *output[1:])
        return packing.unpack(output)

    return hook
