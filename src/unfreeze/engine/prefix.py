"""Compute once what does not change: the hidden states at the top of a frozen prefix.

While the lowest layers are frozen (and in evaluation mode), the hidden states they hand on are a fixed function of the
text. They are computed once, kept on disk or in memory, and enter the model at that depth in every epoch, learning
rate, seed, fold and strategy that freezes as much. The model's own code is not touched: layers below are
short-circuited while a batch runs.

States are only served to a model whose prefix holds the very weights that they were computed with.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unfreeze.encoders.outline import Outline
from unfreeze.encoders.reading_outline import layer_modules
from unfreeze.engine.batches import canonical_batches, collate
from unfreeze.engine.packing import Packing, packed
from unfreeze.engine.prefix_file import Key
from unfreeze.engine.prefix_key import StateKeys, checksums
from unfreeze.engine.prefix_states import Put, Shelf, States, stored_type
from unfreeze.engine.prefix_store import NotStored, PrefixStore
from unfreeze.engine.runtime import Runtime
from unfreeze.tasks import Feature

AGREEMENT = 1e-4
"""Largest difference of logits, relative to the largest logit, between a model run whole and run from remembered
states. In float32; bfloat16 rounds differently for other batch shapes, so there it is ``AGREEMENT_BF16``."""

AGREEMENT_BF16 = 5e-2


class PrefixMemory:
    """Hidden states of one pretrained encoder on one list of features, by depth.

    Attributes:
        expected: depths that trials to come start from or read, all of which the first pass computes if they fit; None
            where that is not known, and then every depth is.

    Args:
        features: all features of the comparison: training, validation and test.
        limit_bytes: what states may take in memory; depths that fit neither there nor into ``store`` are not
            remembered, and the model runs whole.
        store: where states are kept for other trials, processes and commands; None for nowhere.
    """

    def __init__(
        self, features: Sequence[Feature], *, limit_bytes: int = 2 * 1024**3, store: PrefixStore | None = None
    ) -> None:
        self.expected: frozenset[int] | None = None
        self._features = features
        self._offsets = (0, *accumulate(feature.length for feature in features))
        self._limit = limit_bytes
        self._store = store or PrefixStore(Path(), limit_bytes=0)
        self._names = StateKeys(features)
        self._states: dict[int, States] = {}
        self._made_with: dict[int, Hashable] = {}  # for each remembered depth, the key of the prefix
        self._trusted: dict[tuple[str, int], bool] = {}
        self._outputs = 0  # how many things a layer of this family gives as a tuple; 0 for a bare tensor

    def __getstate__(self) -> dict[str, Any]:
        # Another process gets everything but the states: it reads them from disk, or computes its own.
        return self.__dict__ | {"_states": {}, "_made_with": {}, "_trusted": {}}

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
            also: depths that will be asked for later, to be computed in the same pass if they fit; if all that are
                expected fit, all are. None above ``depth`` is: those layers may have learned.

        Returns:
            False where nothing is frozen, memory is short, the remembered states are of other weights or another
            precision, or the family cannot be short-circuited: run the model whole.
        """
        if depth == 0:
            return False
        needed = {depth, *_read_by_head(model, outline, depth)}
        keys = checksums(model, outline, depth=depth, runtime=runtime)
        if any(self._made_with[d] != keys[d] for d in needed & self.depths):
            return False
        if not needed <= self.depths:
            shelf = self._shelf(model, outline, keys, runtime)
            provided = self._provide(model, outline, needed, also, shelf, runtime)
            self._made_with = {d: self._made_with.get(d, keys.get(d)) for d in self.depths}
            if not provided:
                return False
        key = (f"{type(model).__name__}/{sorted(needed)}", depth)
        if key not in self._trusted:
            self._trusted[key] = self._agrees(model, outline, depth, runtime)
        return self._trusted[key]

    def states_of(self, depth: int, places: Sequence[int]) -> list[torch.Tensor]:
        """The remembered states of some features at a depth; ``serves`` has said yes to it.

        Args:
            depth: one of ``depths``.
            places: where the features stand in this memory's list.

        Returns:
            For each (tokens, hidden), a view, in the type that states are kept in: bfloat16 or float32.
        """
        return [self._states[depth].stored(place) for place in places]

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

        def entering(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return ((states[depth], *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": states[depth]})

        # The hook repeats what the last shortcut gives, for families that act between layers (DeBERTa's convolution).
        hook = layers[depth].register_forward_pre_hook(entering, with_kwargs=True) if depth < outline.depth else None
        try:
            with self._shortcut(model, outline, depth, states):
                yield
        finally:
            if hook is not None:
                hook.remove()

    @contextmanager
    def skipping_packed(
        self, model: nn.Module, outline: Outline, *, depth: int, places: Sequence[int], packing: Packing
    ) -> Iterator[None]:
        """The same for a packed batch: the layers above ``depth``, of which there are some, compute packed."""
        states = [self._states[depth][i] for i in places]
        filler = states[0].new_zeros(packing.rows - packing.tokens, states[0].shape[1])
        entering = torch.cat([*states, filler])
        above = packed(model, outline, packing=packing, first=depth, states=entering)
        with self._shortcut(model, outline, depth, {}), above:
            yield

    @contextmanager
    def _shortcut(
        self, model: nn.Module, outline: Outline, depth: int, states: Mapping[int, torch.Tensor]
    ) -> Iterator[None]:
        """While it holds, the first ``depth`` layers hand on the states given, or what they are given."""
        layers = layer_modules(model, outline)[:depth]

        def shortcut(index: int) -> Callable[..., Any]:
            def forward(hidden_states: torch.Tensor, *_: Any, **__: Any) -> Any:
                handed = states.get(index + 1, hidden_states)
                return (handed, *[None] * (self._outputs - 1)) if self._outputs else handed

            return forward

        for index, layer in enumerate(layers):
            layer.forward = shortcut(index)
        try:
            yield
        finally:
            for layer in layers:
                del layer.__dict__["forward"]

    def _shelf(self, model: nn.Module, outline: Outline, keys: Mapping[int, Hashable], runtime: Runtime) -> Shelf:
        """The files of the states below, named by content where any are kept."""
        names: dict[int, Key] = {}
        common: Key = {}
        if self._store.keeps:
            names = self._names.of(model, outline, runtime=runtime, checksums=keys)
            common = self._names.common(model, outline, runtime=runtime)
        hidden = int(model.config.hidden_size)  # type: ignore[union-attr,arg-type]
        return Shelf(self._store, names, common=common, offsets=self._offsets, hidden=hidden, runtime=runtime)

    def _provide(
        self,
        model: nn.Module,
        outline: Outline,
        needed: set[int],
        also: frozenset[int],
        shelf: Shelf,
        runtime: Runtime,
    ) -> bool:
        """Have the states at some depths: from memory, from disk, or computed; False where they fit nowhere."""
        self._read(needed, shelf)
        if needed <= self.depths:
            return True
        if len(needed) * shelf.size > max(self._limit, self._store.limit_bytes):
            return False
        depth = max(needed)
        expected = range(1, depth + 1) if self.expected is None else self.expected
        every, some = ({*needed, *(d for d in more if 0 < d < depth)} for more in (expected, also))
        with shelf.turn():
            self._read(needed, shelf)  # another process may have computed them meanwhile
            while not needed <= self.depths:
                goals = [{*needed, *(d for d in goal if not shelf.holds(d))} - self.depths for goal in (every, some)]
                if any(self._fit(model, outline, goal, shelf, runtime) for goal in (*goals, needed - self.depths)):
                    break
                spare = sorted(self.depths - needed)
                if not spare:
                    return False
                del self._states[spare[0]]  # the lowest: it saves the least
        return True

    def _read(self, depths: set[int], shelf: Shelf) -> None:
        """Take from disk what is there."""
        for depth in sorted(depths - self.depths):
            states = shelf.read(depth)
            if states is not None:
                self._states[depth] = states

    def _fit(self, model: nn.Module, outline: Outline, depths: set[int], shelf: Shelf, runtime: Runtime) -> bool:
        """Compute states onto the disk, else into memory; False, and nothing is done, where neither has the room."""
        try:
            with shelf.writing(depths, into=self._states) as put:
                self._run_through(model, outline, depths, runtime, put)
        except NotStored:
            held = sum(states.file is None for states in self._states.values())
            if (held + len(depths)) * shelf.size > self._limit:
                return False
            self._compute(model, outline, depths, runtime)
        return True

    def _compute(self, model: nn.Module, outline: Outline, depths: set[int], runtime: Runtime) -> None:
        """Compute states into memory."""
        shape = (self._offsets[-1], int(model.config.hidden_size))  # type: ignore[union-attr,arg-type]
        kept = {d: torch.empty(shape, dtype=stored_type(runtime), device=runtime.device) for d in depths}

        def put(depth: int, places: Sequence[int], states: torch.Tensor) -> None:
            for place, row in zip(places, states, strict=True):
                begin, end = self._offsets[place], self._offsets[place + 1]
                kept[depth][begin:end] = row[: end - begin]

        self._run_through(model, outline, depths, runtime, put)
        self._states |= {depth: States(states, self._offsets, runtime.device) for depth, states in kept.items()}

    def _run_through(self, model: nn.Module, outline: Outline, depths: set[int], runtime: Runtime, put: Put) -> None:
        """One pass over all features that hands on every depth asked for.

        The batches are the canonical ones, whatever is asked for, so that states are the same bits in every process.
        """
        pad = int(model.config.pad_token_id or 0)  # type: ignore[union-attr,arg-type]
        with _evaluating(model), torch.no_grad(), runtime.computing():
            for indices in canonical_batches(self._features):
                members = [self._features[i] for i in indices]
                with self._recording(model, outline, depths) as seen:
                    model(**collate(members, pad_token_id=pad, device=runtime.device))
                for depth in sorted(depths):
                    put(depth, indices, seen[depth])

    def _agrees(self, model: nn.Module, outline: Outline, depth: int, runtime: Runtime) -> bool:
        """Whether the model gives the same logits from remembered states as when run whole, on a few features."""
        order = [i for batch in canonical_batches(self._features) for i in batch]
        indices = order[:: max(1, len(order) // 8)][:8]  # short and long ones, so that there is padding
        members = [self._features[i] for i in indices]
        inputs = collate(members, pad_token_id=int(model.config.pad_token_id or 0), device=runtime.device)  # type: ignore[union-attr,arg-type]
        with _evaluating(model), torch.no_grad(), runtime.computing():
            with self._recording(model, outline, set()):  # also tells what layers give, which a file does not
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

    def packed_at(self, model: nn.Module, indices: Sequence[int], *, packing: Packing) -> AbstractContextManager[None]:
        """The same for a packed batch; the depth lies below the last layer."""
        places = [self.places[i] for i in indices]
        return self.memory.skipping_packed(model, self.outline, depth=self.depth, places=places, packing=packing)


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
