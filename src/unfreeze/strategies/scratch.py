"""Train everything from random weights, ignoring what was pretrained. A floor, not advice.

Source: the "from scratch" rows of Howard & Ruder 2018, arXiv:1801.06146, section 5 (figure 3): 100 labels with
pretraining equal training from scratch on 100 times as many.

Use it to see what pretraining is worth on your data.
Do not use it as a way to a model: it is a floor, tried once and never handed over.

Range: 5e-5 to 2e-3, above that of fine-tuning, because nothing is there to be forgotten.
"""

from dataclasses import dataclass, replace

from unfreeze.encoders.outline import Outline
from unfreeze.plan import Plan, one_stage
from unfreeze.strategies._base import Search, strategy


@strategy("scratch", Search(learning_rate=(5e-5, 2e-3), num_train_epochs=3, floor=True, priority=90, by_default=True))
@dataclass(frozen=True, slots=True)
class Scratch:
    """Everything learns, and starts from random weights."""

    def plan(self, outline: Outline) -> Plan:
        """One stage in which everything is trainable, from random weights."""
        return replace(one_stage(outline.names), encoder_weights="random")
