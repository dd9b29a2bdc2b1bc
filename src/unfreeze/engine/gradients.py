"""The gradients of one batch, however it has to be cut to be computed.

A batch is packed where the model packs; elsewhere it goes through in parts of similar length. Both ways the gradient
is that of the whole batch: each part's loss is summed and divided by the batch's own number of targets.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from unfreeze.encoders.outline import Outline
from unfreeze.engine.batches import MOST_TOKENS, collate, collate_targets, cut_by_tokens, grouped_by_length
from unfreeze.engine.dropout import Dropout
from unfreeze.engine.embedding_rows import EmbeddingRows
from unfreeze.engine.loss import PLAIN, Loss
from unfreeze.engine.packing import Packing, packed
from unfreeze.engine.packing_check import way_of_batching
from unfreeze.engine.prefix import Start
from unfreeze.engine.runtime import Runtime
from unfreeze.tasks import Feature

PACKS = ("narrowed", "packed")
"""Ways of batching in which texts lie end to end."""

FURTHER = 1 << 20
"""Parts of a second pass over a batch are counted from here: they have dropout masks of their own."""

Logits = Callable[[dict[str, torch.Tensor], torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


class BatchGradients:
    """Forward and backward passes of one run.

    Attributes:
        way: how the model's batches are computed, see ``way_of_batching``.
        rows: of the word embeddings.
        most_tokens: of one call of the model; halved whenever memory is short, which changes no gradient.

    Args:
        model: whose gradients are added to.
        outline: its parts.
        runtime: how to compute.
        dropout: the run's; its ``part`` is set here.
        rows: of the word embeddings, of the run.
        loss: what a batch is given the gradients of.
        logits: what a batch is given the loss of: from the model's inputs and the targets, flat, to float32 logits
            (targets, classes) and the targets they belong to; None for the model's own logits.
    """

    def __init__(
        self,
        model: nn.Module,
        outline: Outline,
        *,
        runtime: Runtime,
        dropout: Dropout,
        rows: EmbeddingRows | None = None,
        loss: Loss = PLAIN,
        logits: Logits | None = None,
    ) -> None:
        self._model, self._outline, self._runtime, self._dropout = model, outline, runtime, dropout
        self._loss, self._logits = loss, logits or self._own_logits
        self._first = FURTHER if logits else 0
        self._pad = int(model.config.pad_token_id or 0)  # type: ignore[union-attr,arg-type]
        self.rows = rows or EmbeddingRows(model)
        self.way = way_of_batching(model, outline)
        if self.way == "narrowed" and logits:
            self.way = "packed"  # a first token is all that the model's own logits need
        self.most_tokens = MOST_TOKENS

    def add(self, features: Sequence[Feature], *, start: Start | None, number: float) -> float:
        """Add the gradient of a batch's mean loss to the parameters that learn.

        Args:
            features: of the batch.
            start: remembered hidden states of these features, to start from.
            number: of the batch's targets, by which the summed loss is divided, see ``Loss.number``.

        Returns:
            The loss summed over the targets, in nats.

        Raises:
            RuntimeError: memory does not even suffice for one feature at a time, or the batch cannot be cut.
        """
        while True:
            parts = self._parts([feature.length for feature in features])
            try:
                return self._add(features, parts, start, number)
            except RuntimeError as error:
                if not is_out_of_memory(error) or len(parts) == len(features) or self.way == "padded":
                    raise
            self._model.zero_grad()
            self.most_tokens = max(1, min(self.most_tokens, sum(feature.length for feature in features)) // 2)

    def _parts(self, lengths: Sequence[int]) -> list[list[int]]:
        if self.way in PACKS:
            return cut_by_tokens(lengths, most=self.most_tokens)
        if self.way == "padded":
            return [list(range(len(lengths)))]
        return grouped_by_length(lengths, most=self.most_tokens)

    def _add(self, features: Sequence[Feature], parts: list[list[int]], start: Start | None, number: float) -> float:
        total = 0.0
        with self.rows.accumulating(self._ids(features)):
            for number_of_part, part in enumerate(parts):
                self._dropout.part = self._first + number_of_part
                total += self._add_part([features[i] for i in part], part, start, number)
        return total

    def _own_logits(self, inputs: dict[str, torch.Tensor], targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self._model(**inputs).logits.float().flatten(0, -2), targets

    def _ids(self, features: Sequence[Feature]) -> torch.Tensor:
        return token_ids(features, pad=self._pad, device=self._runtime.device)

    def _add_part(self, members: Sequence[Feature], part: Sequence[int], start: Start | None, number: float) -> float:
        inputs = collate(members, pad_token_id=self._pad, device=self._runtime.device)
        targets = collate_targets(members, self._runtime.device).flatten()
        with self._how(members, part, start):
            with self._runtime.computing():
                logits, targets = self._logits(inputs, targets)
            loss = self._loss.summed(logits, targets)
            with self._runtime.computing(backward=True):
                (loss / (number or 1)).backward()
        return float(loss.detach())

    def _how(
        self, members: Sequence[Feature], part: Sequence[int], start: Start | None
    ) -> AbstractContextManager[None]:
        """How the model computes while it is called: packed or padded, from the text or from remembered states."""
        whole = start is not None and start.depth == self._outline.depth  # nothing is left to pack for
        if self.way not in PACKS or whole:
            return start.at(self._model, part) if start else nullcontext()
        lengths = [member.length for member in members]
        narrows = self.way == "narrowed"
        packing = Packing(lengths, device=self._runtime.device, dropout=self._dropout, narrows=narrows)
        if start is not None:
            return start.packed_at(self._model, part, packing=packing)
        return packed(self._model, self._outline, packing=packing)


def token_ids(features: Sequence[Feature], *, pad: int, device: str) -> torch.Tensor:
    """All tokens of some features, and the padding, int64."""
    return torch.tensor([pad, *(i for feature in features for i in feature.inputs["input_ids"])], device=device)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch failed for want of memory; on the CPU it says so in words only."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
