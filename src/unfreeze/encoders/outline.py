"""The parts of a model, by parameter name: what every strategy reads, and all it reads.

Reading an outline from a model needs torch and lives in ``reading_outline.py``; the type itself imports nothing, so
that plans can be made, printed and compared without it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, groupby

AUXILIARY = "masked_head"
"""Module path of what stands beside the head while a model is trained."""


@dataclass(frozen=True, slots=True)
class Outline:
    """Parameter names of a model, sorted by depth; every parameter belongs to exactly one part.

    Attributes:
        embeddings: what feeds the first layer.
        layers: one tuple of names a layer; ``layers[0]`` is nearest the input.
        top: pretrained, above the last layer: pooler, final norm.
        head: new, above everything.
        auxiliary: new, beside the head: what only training needs, and nobody is handed.
        shared: what feeds several layers (relative position tables and the like); frozen whenever a prefix is.
        sizes: number of scalars in each parameter.
        stack: module path of the list of layers, such as "bert.encoder.layer".
        base: module path of the pretrained model inside the whole, such as "bert".
        output_norm: the norm that what the layers give passes last, for the head to read: within the last layer where
            norms come last, within the top where they come first; empty where none was found.
        added: names within the encoder that a strategy added to it: new, not pretrained.
    """

    embeddings: tuple[str, ...]
    layers: tuple[tuple[str, ...], ...]
    top: tuple[str, ...]
    head: tuple[str, ...]
    shared: tuple[str, ...]
    sizes: Mapping[str, int]
    stack: str
    base: str
    auxiliary: tuple[str, ...] = ()
    output_norm: tuple[str, ...] = ()
    added: tuple[str, ...] = ()

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self.layers)

    @property
    def names(self) -> tuple[str, ...]:
        """All parameter names, from the input to the head, and what stands beside it."""
        return (*self.encoder, *self.head, *self.auxiliary)

    @property
    def encoder(self) -> tuple[str, ...]:
        """All pretrained parameters: everything but the head and what stands beside it."""
        return (*self.embeddings, *self.shared, *chain.from_iterable(self.layers), *self.top)

    def size(self, names: frozenset[str] | tuple[str, ...]) -> int:
        """Number of scalars in the named parameters."""
        return sum(self.sizes[name] for name in names)

    def part_of(self, name: str) -> str:
        """Where a parameter lies: "embeddings", "layer 3", "top", "head", "auxiliary" or "shared"."""
        for part in ("embeddings", "top", "head", "auxiliary", "shared"):
            if name in getattr(self, part):
                return part
        return next(f"layer {i}" for i, names in enumerate(self.layers) if name in names)

    def told(self, names: frozenset[str]) -> str:
        """Where some parameters lie, in words from the input to the head: "layers 4–5, top, head".

        A part is named "in part" where not all of its parameters are among them; empty where there are none.
        """
        below = [_told(part, getattr(self, part), names) for part in ("embeddings", "shared")]
        above = [_told(part, getattr(self, part), names) for part in ("top", "head")]
        layers = []
        for how, run in groupby(range(self.depth), key=lambda i: _told("", self.layers[i], names)):
            first, *more = run
            if how is not None:
                layers.append((f"layers {first}–{more[-1]}" if more else f"layer {first}") + how)
        beside = _told("masked-language-model head", self.auxiliary, names)
        return ", ".join(part for part in (*below, *layers, *above, beside) if part is not None)

    def frozen_depth(self, trainable: frozenset[str]) -> int:
        """Number of layers, from the input, that compute a fixed function while only ``trainable`` learns.

        The hidden states at this depth never change. 0 when the embeddings, or what feeds several layers, learn.
        """
        if trainable & {*self.embeddings, *self.shared}:
            return 0
        learning = (i for i, names in enumerate(self.layers) if trainable & set(names))
        return next(learning, self.depth)


def _told(part: str, members: tuple[str, ...], names: frozenset[str]) -> str | None:
    """A part, and whether only some of its members are among the names; None where none is."""
    found = names & set(members)
    return None if not found else part if len(found) == len(members) else f"{part} in part"
