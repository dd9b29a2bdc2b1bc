"""Compute once what does not change: the hidden states at the top of a frozen prefix.

While the lowest layers are frozen (and in evaluation mode), the hidden states they hand on are a fixed function of the
text. They are computed once, kept in memory, and enter the model at that depth in every epoch, learning rate, seed,
fold and strategy that freezes as much. The model's own code is not touched: layers below are short-circuited while a
batch runs.

States are only served to a model whose prefix holds the very weights that they were computed with.
"""

import zlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from unfreeze.encoders.outline import Outline
from unfreeze.encoders.reading_outline import layer_modules
from unfreeze.engine.batches import canonical_batches, collate
from unfreeze.engine.runtime import Runtime
from unfreeze.tasks import Feature

AGREEMENT = 1e-4
"""Largest difference of logits, relative to the largest logit, between a model run whole and run from remembered
states. In float32; bfloat16 rounds differently for other batch shapes, so there it is ``AGREEMENT_BF16``."""

AGREEMENT_BF16 = 5e-2


class PrefixMemory:
    """Hidden states of one pretrained encoder on one list of features, by depth.

    Args:
        features: all features of the comparison: training, validation and test.
        limit_bytes: what the states may take; depths that do not fit are not remembered, and the model runs whole.
    """

    def __init__(self, features: Sequence[Feature], *, limit_bytes: int = 2 * 1024**3) -> None:
        self._features = features
        self._limit = limit_bytes
        self._states: dict[int, list[torch.Tensor]] = {}
        self._made_with: dict[int, Hashable] = {}  # for each remembered depth, the key of the prefix
        self._trusted: dict[tuple[str, int], bool] = {}
        self._outputs = 0  # how many things a layer of this family gives as a tuple; 0 for a bare tensor

    @property
    def depths(self) -> frozenset[int]:
        """Depths that are remembered; depth d is what layer d reads, the number of layers what lies above the last."""
        return frozenset(self._states)

    def serves(
        self,
        model: nn.Module,
        outline: Outline,
        *,
        depth: int,
        runtime: Runtime,
        also: frozenset[int] = frozenset(),
    ) -> bool:
        """Make sure that a model can start at a depth: states are there, fit, and give the same logits.

        Args:
            model: the whole model, its first ``depth`` layers frozen at their pretrained weights.
            outline: its parts.
            depth: number of layers to skip.
            runtime: how to compute.
            also: depths that will be asked for later, to be computed in the same pass if they fit; if every depth below
                fits, all are. None above ``depth`` is: those layers may have learned.

        Returns:
            False where nothing is frozen, memory is short, the remembered states are of other weights or another
            precision, or the family cannot be short-circuited: run the model whole.
        """
        if depth == 0:
            return False
        needed = {depth, *_read_by_head(model, outline, depth)}
        keys = _keys(model, outline, depth, runtime)
        if any(self._made_with[d] != keys[d] for d in needed & self.depths):
            return False
        if not needed <= self.depths:
            size = self._bytes_a_depth(model)
            if len(needed) * size > self._limit:
                return False
            every = set(range(1, depth + 1))
            some = needed | {d for d in also if 0 < d < depth}
            fitting = (w for w in (every, some) if len(w | self.depths) * size <= self._limit)  # in nobody's place
            wanted = next(fitting, needed)
            self._make_room(wanted, size)
            self._compute(model, outline, wanted - self.depths, runtime)
            self._made_with = {d: self._made_with.get(d, keys.get(d)) for d in self.depths}
        key = (f"{type(model).__name__}/{sorted(needed)}", depth)
        if key not in self._trusted:
            self._trusted[key] = self._agrees(model, outline, depth, runtime)
        return self._trusted[key]

    @contextmanager
    def skipping(self, model: nn.Module, outline: Outline, *, depth: int, places: Sequence[int]) -> Iterator[None]:
        """While it holds, the model's first ``depth`` layers compute nothing and hand on the remembered states.

        Args:
            model: the whole model, called in its ordinary way with the features at ``places``, padded on the right.
            outline: its parts.
            depth: number of layers to skip; ``serves`` has said yes to it.
            places: where the batch's features stand in this memory's list.
        """
        needed = {depth, *_read_by_head(model, outline, depth)}
        states = {d: nn.utils.rnn.pad_sequence([self._states[d][i] for i in places], batch_first=True) for d in needed}
        layers = layer_modules(model, outline)

        def shortcut(index: int) -> Callable[..., Any]:
            def forward(hidden_states: torch.Tensor, *_: Any, **__: Any) -> Any:
                handed = states.get(index + 1, hidden_states)
                return (handed, *[None] * (self._outputs - 1)) if self._outputs else handed

            return forward

        def entering(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return ((states[depth], *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": states[depth]})

        # The hook repeats what the last shortcut gives, for families that act between layers (DeBERTa's convolution).
        hook = layers[depth].register_forward_pre_hook(entering, with_kwargs=True) if depth < outline.depth else None
        for index in range(depth):
            layers[index].forward = shortcut(index)
        try:
            yield
        finally:
            for index in range(depth):
                del layers[index].__dict__["forward"]
            if hook is not None:
                hook.remove()

    def _bytes_a_depth(self, model: nn.Module) -> int:
        return sum(feature.length for feature in self._features) * int(model.config.hidden_size) * 4  # type: ignore[union-attr,arg-type]

    def _make_room(self, needed: set[int], size: int) -> None:
        """Forget depths that are not needed now until the new ones fit, the lowest first: they save the least."""
        for depth in sorted(self.depths - needed):
            if len(self.depths | needed) * size <= self._limit:
                return
            del self._states[depth]

    def _compute(self, model: nn.Module, outline: Outline, depths: set[int], runtime: Runtime) -> None:
        """One pass over all features that keeps every depth asked for.

        The batches are the canonical ones, whatever is asked for, so that states are the same bits in every process.
        """
        kept: dict[int, list[torch.Tensor]] = {depth: [torch.empty(0)] * len(self._features) for depth in depths}
        pad = int(model.config.pad_token_id or 0)  # type: ignore[union-attr,arg-type]
        with _evaluating(model), torch.no_grad(), runtime.computing():
            for indices in canonical_batches(self._features):
                members = [self._features[i] for i in indices]
                with self._recording(model, outline, depths) as seen:
                    model(**collate(members, pad_token_id=pad, device=runtime.device))
                for depth in depths:
                    states = seen[depth].float()
                    for i, row, feature in zip(indices, states, members, strict=True):
                        kept[depth][i] = row[: feature.length].clone()
        self._states |= kept

    def _agrees(self, model: nn.Module, outline: Outline, depth: int, runtime: Runtime) -> bool:
        """Whether the model gives the same logits from remembered states as when run whole, on a few features."""
        order = [i for batch in canonical_batches(self._features) for i in batch]
        indices = order[:: max(1, len(order) // 8)][:8]  # short and long ones, so that there is padding
        members = [self._features[i] for i in indices]
        inputs = collate(members, pad_token_id=int(model.config.pad_token_id or 0), device=runtime.device)  # type: ignore[union-attr,arg-type]
        with _evaluating(model), torch.no_grad(), runtime.computing():
            whole = model(**inputs).logits.float()
            with self.skipping(model, outline, depth=depth, places=indices):
                short = model(**inputs).logits.float()
        if whole.ndim == 3:
            real = inputs["attention_mask"].bool()
            whole, short = whole[real], short[real]
        limit = AGREEMENT if runtime.precision == "fp32" else AGREEMENT_BF16
        return bool((whole - short).abs().max() <= limit * whole.abs().max().clamp(min=1e-3))

    @contextmanager
    def _recording(self, model: nn.Module, outline: Outline, depths: set[int]) -> Iterator[dict[int, torch.Tensor]]:
        """Collect what enters layer d, for each depth d; for the number of layers, what the last one gives."""
        layers, seen, hooks = layer_modules(model, outline), {}, []

        def entering(depth: int) -> Callable[..., None]:
            def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                seen[depth] = args[0] if args else kwargs["hidden_states"]

            return hook

        def leaving(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
            self._outputs = len(output) if isinstance(output, tuple) else 0
            seen[outline.depth] = output[0] if isinstance(output, tuple) else output

        for depth in sorted(depths - {outline.depth}):
            hooks.append(layers[depth].register_forward_pre_hook(entering(depth), with_kwargs=True))
        hooks.append(layers[outline.depth - 1].register_forward_hook(leaving))
        try:
            yield seen
        finally:
            for hook in hooks:
                hook.remove()


@dataclass(frozen=True, slots=True)
class Start:
    """A depth from which a model can start on some features.

    Attributes:
        memory: the states.
        outline: the model's parts.
        depth: number of layers to skip.
        places: where each of the features stands in the memory's list.
    """

    memory: PrefixMemory
    outline: Outline
    depth: int
    places: Sequence[int]

    def at(self, model: nn.Module, indices: Sequence[int]) -> AbstractContextManager[None]:
        """While it holds, the model starts at the depth, on the features with these indices."""
        return self.memory.skipping(model, self.outline, depth=self.depth, places=[self.places[i] for i in indices])


def _keys(model: nn.Module, outline: Outline, depth: int, runtime: Runtime) -> dict[int, Hashable]:
    """For each depth from 1 to ``depth``, what its hidden states follow from: the weights below, and the precision.

    A checksum stands for each weight: a tenth of a second for MiniLM, and training always changes it.
    """
    weights = dict(model.named_parameters())

    def sums(names: Sequence[str]) -> tuple[int, ...]:
        return tuple(zlib.crc32(weights[name].detach().cpu().contiguous().numpy().data) for name in names)

    below: tuple[int, ...] = sums((*outline.embeddings, *outline.shared))
    keys: dict[int, Hashable] = {}
    for index, names in enumerate(outline.layers[:depth]):
        below = (*below, *sums(names))
        keys[index + 1] = (runtime.precision, below)
    return keys


def _read_by_head(model: nn.Module, outline: Outline, depth: int) -> set[int]:
    """Depths below ``depth`` that the head reads beside the last layer's."""
    layers = int(getattr(model.config, "layers", 1))
    return {d for d in range(outline.depth - layers + 1, outline.depth + 1) if 0 < d < depth}


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards every module is in the mode it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
