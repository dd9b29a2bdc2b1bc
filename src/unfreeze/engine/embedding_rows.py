"""Gradients of the word embeddings without a dense table for every part of a batch.

A batch touches a few hundred of some 30,000 rows, but autograd makes, zeroes and adds a whole table for each part: a
quarter of a training step of MiniLM on one core. Here the touched rows are looked up from a small table of their own,
and its gradient is written into one dense buffer that lives as long as the run. The gradient is the same dense one, so
the optimizer is too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.functional import embedding


class EmbeddingRows:
    """The input embeddings of one model, looked up by touched rows while a batch is accumulated.

    Args:
        model: with ``get_input_embeddings``; where that gives no plain ``nn.Embedding``, nothing is changed.
    """

    def __init__(self, model: nn.Module) -> None:
        found: Any = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None  # type: ignore[operator]
        plain = type(found) is nn.Embedding and found.max_norm is None and not found.scale_grad_by_freq
        self._table: nn.Embedding | None = found if plain and not found.sparse else None
        self._buffer: torch.Tensor | None = None
        self._touched: torch.Tensor | None = None

    @contextmanager
    def accumulating(self, ids: torch.Tensor) -> Iterator[None]:
        """While it holds, the model may be run forward and backward on parts of one batch; then the gradient is there.

        Args:
            ids: all token numbers of the batch, the padding's included, in any shape, int64.
        """
        table = self._table
        if table is None or not table.weight.requires_grad:
            yield
            return
        touched = ids.unique()
        rows = table.weight.detach()[touched].requires_grad_()
        place = torch.zeros(table.num_embeddings, dtype=torch.long, device=ids.device)
        place[touched] = torch.arange(len(touched), device=ids.device)
        padding = None if table.padding_idx is None else int(place[table.padding_idx])
        if padding is not None and touched[padding] != table.padding_idx:
            padding = None  # no padding in this batch
        table.forward = lambda input: embedding(place[input], rows, padding)  # type: ignore[method-assign]
        try:
            yield
        finally:
            del table.__dict__["forward"]
        if rows.grad is not None:
            self._write(table, touched, rows.grad)

    def _write(self, table: nn.Embedding, touched: torch.Tensor, gradient: torch.Tensor) -> None:
        """Make the dense gradient: zero but for the touched rows."""
        if self._buffer is None:
            self._buffer = torch.zeros_like(table.weight)
        elif self._touched is not None:
            self._buffer[self._touched] = 0.0
        self._buffer[touched] = gradient
        self._touched = touched
        table.weight.grad = self._buffer
