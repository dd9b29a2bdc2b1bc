"""Word embeddings cost what the text shows of them, not what the vocabulary holds.

A batch touches a few hundred of some 30,000 rows, but autograd makes, zeroes and adds a whole table for each part of a
batch, and the optimizer goes through all of it at every step. Here a batch looks its rows up in a small table of their
own, and what the optimizer knows is a table of those rows alone that the training text shows. Their gradients and steps
are those of the whole table, with any optimizer that treats each element by itself. Rows that the training text never
shows have no gradient, so no momentum either: they keep their pretrained values, and only the weight decay that the
optimizer would have given them is left out. (Adam's decay would not have been little: of a row without a gradient the
decay is all there is to normalise, so every element would move towards 0 by the whole rate at every step.)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.functional import embedding


class EmbeddingRows:
    """The input embeddings of one model while it is trained.

    Attributes:
        instead: by the name of the table's weight, what the optimizer is to know in its place, (shown rows, hidden).
            Empty where the model has no plain ``nn.Embedding``, where something else shares its weight, or where it is
            not known which rows the text shows: then the table's own weight learns.

    Args:
        model: with ``get_input_embeddings``; None to leave all to autograd.
        shown: numbers of all tokens that will be trained on, the padding's included, int64; None if that is not known.
    """

    def __init__(self, model: nn.Module | None, *, shown: torch.Tensor | None = None) -> None:
        model = nn.Module() if model is None else model
        found: Any = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None  # type: ignore[operator]
        plain = type(found) is nn.Embedding and found.max_norm is None and not found.scale_grad_by_freq
        self._table: nn.Embedding | None = found if plain and not found.sparse else None
        self._buffer: torch.Tensor | None = None
        self._touched: torch.Tensor | None = None
        self.instead: dict[str, nn.Parameter] = {}
        self._shown: torch.Tensor | None = None
        names = [name for name, p in model.named_parameters(remove_duplicate=False) if self._is_weight(p)]
        if len(names) > 1:  # whatever shares it adds to its gradient, too: autograd knows
            self._table = None
        elif shown is not None and names:
            self._shown = shown.unique().to(found.weight.device)
            self.instead = {names[0]: nn.Parameter(found.weight.detach()[self._shown])}

    def _is_weight(self, parameter: nn.Parameter) -> bool:
        return self._table is not None and parameter is self._table.weight

    @property
    def learn(self) -> bool:
        """Whether the table learns at this moment."""
        return self._table is not None and self._table.weight.requires_grad

    def put_back(self) -> None:
        """After a step of the optimizer: give the model the rows that it changed."""
        if self._table is not None and self._shown is not None:
            with torch.no_grad():
                self._table.weight[self._shown] = self._target(self._table)

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
            self._write(self._target(table), touched, rows.grad)

    def _target(self, table: nn.Embedding) -> torch.Tensor:
        return next(iter(self.instead.values()), table.weight)

    def _write(self, target: torch.Tensor, touched: torch.Tensor, gradient: torch.Tensor) -> None:
        """Make the gradient of all rows: zero but for the touched ones, in one buffer that lives as long as the run."""
        if self._shown is not None:
            touched = torch.searchsorted(self._shown, touched)
        if self._buffer is None:
            self._buffer = torch.zeros_like(target)
        if target.grad is not None and self._touched is not None:  # of an earlier pass in the same step
            self._buffer[touched] += gradient
            self._touched = torch.cat([self._touched, touched]).unique()
        else:
            if self._touched is not None:
                self._buffer[self._touched] = 0.0
            self._buffer[touched] = gradient
            self._touched = touched
        target.grad = self._buffer
