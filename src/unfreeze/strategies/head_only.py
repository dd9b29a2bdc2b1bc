"""Freeze the encoder, train the head: the feature-based way.

Source: Devlin et al. 2019, arXiv:1810.04805, section 5.3 and table 7. A frozen encoder is at its honest best when the
head may read several layers (concatenating the last four loses 0.3 F1 against fine-tuning there; the last layer alone
is a straw man), and when the rate suits a head: 10 to 100 times that of fine-tuning. Which heads are tried the task
says: beside linear ones there are a learned mix of layers, a hidden layer and the paper's BiLSTM (``HeadSettings``).

Use it when data or time are scarce, or when one encoder serves many tasks. It reaches its limit where the task differs
from what the encoder was pretrained for.
Do not use it when a score decides and a run of the last layers is affordable; nor for named entities beyond a first
look, where on 300 sentences it gave 46 points of F1 and training everything 60.

Range: 3e-4 to 3e-2, 10 to 100 times that of fine-tuning: a head starts from nothing, and nothing can be forgotten.
"""

from dataclasses import dataclass

from unfreeze.encoders.outline import Outline
from unfreeze.plan import Plan, one_stage
from unfreeze.strategies._base import Search, strategy


@strategy(
    "head-only",
    Search(
        learning_rate=(3e-4, 3e-2), num_train_epochs=40, min_steps=600, reads_layers=True, priority=20, by_default=True
    ),
)
@dataclass(frozen=True, slots=True)
class HeadOnly:
    """Only the head learns; the whole encoder is a fixed function."""

    def plan(self, outline: Outline) -> Plan:
        """One stage in which the head is trainable."""
        return one_stage(outline.head)
