"""Dropout that costs one multiplication, and whose masks follow from (seed, step, part, module) alone.

On a CPU torch draws its random numbers one by one: 6 ns an element, and a training step of MiniLM has millions. Here
masks are read from a pool that is drawn once, at an offset hashed from the place in training. No
generator moves: a resumed run, and a forward pass that gradient checkpointing repeats, see the masks they saw before.
"""

import hashlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import torch
from torch import nn

POOL = 1_048_583
"""Elements of a pool. A longer mask repeats it; a prime, so that rows of a tensor do not fall in step with it."""


class Dropout:
    """The dropout of one run of one model.

    Attributes:
        step: optimizer steps done; set by the loop.
        part: number of the part of the batch that is computed; set by the loop.

    Args:
        model: whose ``nn.Dropout`` modules are meant.
        seed: of the run.
    """

    def __init__(self, model: nn.Module, *, seed: int) -> None:
        self.step, self.part = 0, 0
        self._seed = seed
        self._numbers = {module: number for number, module in enumerate(model.modules())}
        self._dropouts = [module for module in self._numbers if type(module) is nn.Dropout and 0 < module.p < 1]

    def mask(self, module: nn.Module, like: torch.Tensor, *, p: float, again: int = 0) -> torch.Tensor:
        """What to multiply with: 0, or a little more than 1 where the element is kept.

        Args:
            module: where in the model; one of the model's own.
            like: gives shape, dtype and device.
            p: probability of 0, in (0, 1).
            again: number of the call, where a module drops several times in one forward pass.
        """
        key = (self._seed, self.step, self.part, self._numbers[module], again)
        return pooled_mask(like.numel(), key=key, p=p, dtype=like.dtype, device=like.device.type).view(like.shape)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """While it holds, the model's dropout modules read their masks from the pool where they are training."""
        for module in self._dropouts:
            module.forward = self._forward_of(module)  # type: ignore[method-assign]
        try:
            yield
        finally:
            for module in self._dropouts:
                del module.__dict__["forward"]

    def _forward_of(self, module: nn.Dropout):  # type: ignore[no-untyped-def]  # noqa: ANN202 - a bound forward
        def forward(input: torch.Tensor) -> torch.Tensor:
            return input * self.mask(module, input, p=module.p) if module.training else input

        return forward


def pooled_mask(number: int, *, key: tuple[int, ...], p: float, dtype: torch.dtype, device: str) -> torch.Tensor:
    """A flat mask of so many elements: a pure function of its arguments.

    Args:
        number: of elements.
        key: where in training; equal keys give equal masks.
        p: probability of 0, in (0, 1).
        dtype: of the mask.
        device: "cpu" or "cuda".
    """
    digest = hashlib.blake2b(struct.pack(f"<{len(key)}q", *key), digest_size=8).digest()
    offset = int.from_bytes(digest, "little") % POOL
    pool = _pool(p, dtype, device)
    if offset + number <= 2 * POOL:
        return pool[offset : offset + number]
    tiles = -(-number // POOL)
    return pool[offset : offset + POOL].repeat(tiles)[:number]


@cache
def _pool(p: float, dtype: torch.dtype, device: str) -> torch.Tensor:
    """Twice the same ``POOL`` random elements, so that a slice may begin at any of them.

    What is kept is scaled by a number that the type holds exactly, and kept just as often as makes the mean 1: bfloat16
    rounds 1 / 0.9 by 0.15 %, and that in every layer would be another model.
    """
    scale = torch.tensor(1 / (1 - p), dtype=dtype)
    kept = np.random.default_rng(0x0D120).random(POOL, dtype=np.float32) < 1 / float(scale)
    once = torch.from_numpy(kept).to(dtype) * scale
    return once.repeat(2).to(device)
