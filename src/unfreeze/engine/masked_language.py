"""The second pass of a step: what is hidden of its texts is predicted by a masked-language-model head."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from unfreeze.encoders.masked_head import masked_head_of
from unfreeze.encoders.outline import Outline
from unfreeze.engine.batches import canonical_batches, collate, collate_targets
from unfreeze.engine.dropout import Dropout
from unfreeze.engine.embedding_rows import EmbeddingRows
from unfreeze.engine.gradients import BatchGradients
from unfreeze.engine.masking import masked, unigram_loss, units_of
from unfreeze.engine.runtime import Runtime
from unfreeze.errors import SettingsError
from unfreeze.plan import Masking
from unfreeze.tasks import IGNORED, Feature

_DRAW = 0x3A5C
"""Sets the draws of what is hidden apart from others of the same seed."""


class MaskedLanguage:
    """Predicts what is hidden of texts, and learns from it.

    Attributes:
        gradients: how its batches are computed.

    Args:
        model: with a masked-language-model head beside its own.
        outline: its parts.
        masking: what is hidden, unless ``add`` is told otherwise.
        runtime: how to compute.
        dropout: the run's.
        seed: of what is hidden in each step.
    """

    def __init__(
        self, model: nn.Module, outline: Outline, *, masking: Masking, runtime: Runtime, dropout: Dropout, seed: int
    ) -> None:
        head = masked_head_of(model)
        if head is None:
            raise SettingsError("a plan that masks needs a model with a masked-language-model head beside its own")
        self._model, self._head, self._masking, self._runtime = model, head, masking, runtime
        self._usable, self._seed = head.usable.numpy(), seed
        # The output layer is tied to the word embeddings, whose gradient is of the whole table then.
        self.gradients = BatchGradients(
            model, outline, runtime=runtime, dropout=dropout, rows=EmbeddingRows(None), logits=self._logits
        )

    def _logits(self, inputs: dict[str, torch.Tensor], targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of the hidden tokens alone: a vocabulary wide, they are what costs."""
        states = self._model.base_model(**inputs)[0].flatten(0, 1)  # type: ignore[operator]
        hidden = (targets != IGNORED).nonzero().flatten()
        return self._head(states[hidden]).float(), targets[hidden]

    def add(self, features: Sequence[Feature], *, step: int, weight: float, masking: Masking | None = None) -> float:
        """Add the gradient of a batch's mean loss, times a weight, to the parameters that learn.

        Args:
            features: of the batch; those in which nothing can be hidden add nothing.
            step: number of the step, which with the seed decides what is hidden.
            weight: of the loss.
            masking: what is hidden; None for the usual.

        Returns:
            The mean loss over the hidden tokens, in nats; 0 where there is none.
        """
        hidden = self._hidden(features, np.random.default_rng([self._seed, step, _DRAW]), masking)
        number = sum(target != IGNORED for feature in hidden for target in feature.targets)
        if not number:
            return 0.0
        return self.gradients.add(hidden, start=None, number=number / weight) / number

    def _hidden(
        self, features: Sequence[Feature], draw: np.random.Generator, masking: Masking | None = None
    ) -> list[Feature]:
        what, mask = masking or self._masking, self._head.mask_token_id
        return masked(features, what, mask_token_id=mask, usable=self._usable, draw=draw)

    def measured(self, known: Sequence[Feature], features: Sequence[Feature]) -> dict[str, Any]:
        """How well hidden tokens are predicted, beside who guesses by frequency. The same tokens whenever it is asked.

        Args:
            known: features that the frequencies are counted on.
            features: in which tokens are hidden.

        Returns:
            ``loss`` and ``unigram_loss``, means in nats over ``tokens`` hidden tokens (None where there are none); and
            ``new_head``, whether the head's weights were made anew.
        """
        hidden = self._hidden(features, np.random.default_rng(_DRAW))
        targets = [target for feature in hidden for target in feature.targets if target != IGNORED]
        found: dict[str, Any] = {"tokens": len(targets), "new_head": self._head.is_new}
        if not targets:
            return found | {"loss": None, "unigram_loss": None}
        vocabulary = int(self._model.get_input_embeddings().num_embeddings)  # type: ignore[operator]
        floor = unigram_loss(units_of(known, self._masking), targets, vocabulary=vocabulary)
        return found | {"loss": self._loss(hidden), "unigram_loss": floor}

    def _loss(self, hidden: Sequence[Feature]) -> float:
        """Mean loss in evaluation mode, in nats a hidden token."""
        losses: list[float] = []
        modes = [(module, module.training) for module in self._model.modules()]
        self._model.eval()
        pad = int(self._model.config.pad_token_id or 0)  # type: ignore[union-attr,arg-type]
        with torch.inference_mode(), self._runtime.computing():
            for batch in canonical_batches(hidden):
                members = [hidden[i] for i in batch]
                targets = collate_targets(members, self._runtime.device).flatten()
                inputs = collate(members, pad_token_id=pad, device=self._runtime.device)
                logits, targets = self._logits(inputs, targets)
                losses += cross_entropy(logits, targets, reduction="none").tolist()
        for module, mode in modes:
            module.training = mode
        return math.fsum(losses) / len(losses)
