"""The contrastive pass of a step: texts of one class are drawn together, texts of two are pushed apart.

All pairs of a batch are compared, so a batch of 16 texts gives 120 pairs for the price of reading 16 texts. Each text
is what the last layer of the head reads of it, pooled as the head pools.

Source: Reimers & Gurevych 2019 (Sentence-BERT), arXiv:1908.10084, section 3, and Tunstall et al. 2022 (SetFit),
arXiv:2209.11055, section 3.1: the squared difference between the cosine of a pair and 1 or 0, as many pairs of one
class as of two. Differs: those draw pairs and read both texts of each anew; here pairs of one class and of two have
half of the weight each, whatever their numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import normalize

from unfreeze.encoders.outline import Outline
from unfreeze.engine.class_means import last_linear, reading
from unfreeze.engine.dropout import Dropout
from unfreeze.engine.embedding_rows import EmbeddingRows
from unfreeze.engine.gradients import BatchGradients
from unfreeze.engine.loss import Loss
from unfreeze.engine.prefix import Start
from unfreeze.engine.runtime import Runtime
from unfreeze.tasks import Feature


@dataclass(frozen=True, slots=True, eq=False)
class PairLoss(Loss):
    """Squared difference between the cosine of two texts and 1 (one class) or 0 (two), over all pairs."""

    def summed(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The mean over pairs, counted once for each text, a scalar.

        Pairs of one class and of two have half of the weight each; where a batch has only one sort, that has all of it.

        Args:
            logits: what was read of each text, (texts, features), float32.
            targets: class numbers, (texts,), int64.
        """
        cosine = normalize(logits, dim=-1) @ normalize(logits, dim=-1).T
        first, second = torch.triu_indices(len(targets), len(targets), offset=1, device=targets.device)
        alike = targets[first] == targets[second]
        errors = (cosine[first, second] - alike.to(cosine.dtype)).square()
        sorts = [errors[sort].mean() for sort in (alike, ~alike) if sort.any()]
        return len(targets) * torch.stack(sorts).mean() if sorts else 0.0 * logits.sum()


class Contrastive:
    """Compares the texts of a batch, and learns from it.

    Attributes:
        gradients: how its batches are computed.

    Args:
        model: for sequence classification.
        outline: its parts.
        runtime: how to compute.
        dropout: the run's.
        rows: of the word embeddings, of the run.
    """

    def __init__(
        self, model: nn.Module, outline: Outline, *, runtime: Runtime, dropout: Dropout, rows: EmbeddingRows
    ) -> None:
        self._model, self._outline = model, outline
        usual: Any = {"runtime": runtime, "dropout": dropout, "rows": rows}
        self.gradients = BatchGradients(model, outline, loss=PairLoss(), logits=self._read, **usual)

    def _read(self, inputs: dict[str, torch.Tensor], targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with reading(last_linear(self._model, self._outline)) as read:
            self._model(**inputs)
        return read.pop().float(), targets

    def add(self, features: Sequence[Feature], *, start: Start | None, weight: float) -> float:
        """Add the gradient of a batch's mean loss, times a weight, to the parameters that learn.

        A batch of more than 8,192 tokens is cut into parts; pairs are made within a part.

        Args:
            features: of the batch, each with one target.
            start: remembered hidden states of these features, to start from.
            weight: of the loss.

        Returns:
            The mean loss over the pairs, in [0, 4].
        """
        return self.gradients.add(features, start=start, number=len(features) / weight) / len(features)
