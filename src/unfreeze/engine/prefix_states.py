"""Hidden states of all features at one depth: one packed array, in memory or mapped from a file of the cache."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch

from unfreeze.engine.prefix_file import Key, StatesFile
from unfreeze.engine.prefix_store import NotStored, PrefixStore
from unfreeze.engine.runtime import Runtime

Put = Callable[[int, Sequence[int], torch.Tensor], None]
"""Takes the states of one batch at one depth: the depth, the places of its features, (features, tokens, hidden)."""


def stored_type(runtime: Runtime) -> torch.dtype:
    """The type that states are kept in: what the run computes with, and no more bytes."""
    return torch.bfloat16 if runtime.precision == "bf16-autocast" else torch.float32


@dataclass(frozen=True, slots=True)
class States:
    """Hidden states of all features at one depth.

    Attributes:
        packed: (tokens, hidden), the features end to end.
        offsets: where each feature begins, and behind the last one the number of tokens.
        device: where they are used.
        file: the key of the file that they are mapped from, so that they take no memory that the system cannot take
            back; None where they are in memory alone.
    """

    packed: torch.Tensor
    offsets: Sequence[int]
    device: str = "cpu"
    file: Key | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, place: int) -> torch.Tensor:
        """A feature's states, (tokens, hidden), in the type that layers hand on to each other: float32."""
        return self.stored(place).to(self.device).float()

    def stored(self, place: int) -> torch.Tensor:
        """A feature's states, (tokens, hidden), as they are kept; a view."""
        return self.packed[self.offsets[place] : self.offsets[place + 1]]


class Shelf:
    """The files for the states of one encoder on one list of features, computed in one way.

    Args:
        store: where they are.
        keys: the file's key, by depth; none where nothing is kept.
        common: what the keys have in common.
        offsets: as ``States`` has them.
        hidden: numbers a token.
        runtime: how the states are computed.
    """

    def __init__(
        self,
        store: PrefixStore,
        keys: Mapping[int, Key],
        *,
        common: Key,
        offsets: Sequence[int],
        hidden: int,
        runtime: Runtime,
    ) -> None:
        self._store, self._keys, self._common = store, keys, common
        self._offsets, self._runtime, self._type = offsets, runtime, stored_type(runtime)
        self._width = hidden * self._type.itemsize

    @property
    def size(self) -> int:
        """Bytes of the states at one depth."""
        return self._offsets[-1] * self._width

    def holds(self, depth: int) -> bool:
        """Whether there is a file for a depth; only ``read`` tells whether it is undamaged."""
        return depth in self._keys and self._store.holds(self._keys[depth])

    def read(self, depth: int) -> States | None:
        """The states at a depth, None where they have to be computed."""
        data = self._store.read(self._keys[depth], size=self.size) if depth in self._keys else None
        return None if data is None else self._states(depth, data)

    def turn(self) -> AbstractContextManager[None]:
        """While it holds, no other process computes these states at any depth."""
        return self._store.turn(self._common)

    @contextmanager
    def writing(self, depths: Collection[int], *, into: dict[int, States]) -> Iterator[Put]:
        """What takes the states of each batch at some depths.

        Args:
            depths: which.
            into: states that are in use, the files of which are not deleted to make room; at the end, receives those of
                all features at these depths.

        Raises:
            NotStored: there is no room, or the disk refuses.
        """
        if not self._keys:
            raise NotStored
        ordered = sorted(depths)
        used = [states.file for states in into.values() if states.file is not None]
        with self._store.writing([self._keys[d] for d in ordered], size=self.size, keep=used) as opened:
            files = dict(zip(ordered, opened, strict=True))

            def put(depth: int, places: Sequence[int], states: torch.Tensor) -> None:
                self._write(files[depth], places, states)

            yield put
        into |= {depth: self._states(depth, file.states) for depth, file in files.items()}

    def _write(self, file: StatesFile, places: Sequence[int], states: torch.Tensor) -> None:
        rows = states.to(self._type).cpu().contiguous().view(torch.uint8).numpy()
        for row, place in zip(rows, places, strict=True):
            begin, end = self._offsets[place], self._offsets[place + 1]
            file.write(begin * self._width, row[: end - begin].data)

    def _states(self, depth: int, data: memoryview) -> States:
        packed = torch.frombuffer(data, dtype=self._type).view(self._offsets[-1], -1)
        return States(packed, self._offsets, self._runtime.device, self._keys[depth])
