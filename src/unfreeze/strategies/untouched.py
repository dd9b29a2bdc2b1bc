"""Everything frozen: the pretrained encoder as it is, each text given to the nearest class mean. No gradient.

Source: the nearest-centroid baseline of few-shot learning (Snell, Swersky & Zemel 2017, "Prototypical Networks",
arXiv:1703.05175, section 2.4: with squared Euclidean distance it is a linear classifier in closed form), on frozen
features as in Devlin et al. 2019, arXiv:1810.04805, section 5.3.

Use it to learn what the encoder knows before anyone teaches it.
Do not use it as a way to a model: it is a floor, and never handed over.
"""

from dataclasses import dataclass

from unfreeze.encoders.outline import Outline
from unfreeze.plan import Plan, Stage
from unfreeze.strategies._base import Search, strategy


@strategy(
    "untouched",
    Search(
        learning_rate=None, num_train_epochs=0, min_steps=0, reads_layers=True, floor=True, priority=0, by_default=True
    ),
)
@dataclass(frozen=True, slots=True)
class Untouched:
    """Nothing learns by gradient; the head is computed from the class means."""

    def plan(self, outline: Outline) -> Plan:
        """One stage in which nothing is trainable."""
        return Plan((Stage(0.0, ()),), head_fit="class-means")
