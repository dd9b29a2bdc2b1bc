"""Unfreeze one layer at a time, from the head down to the input.

Source: Howard & Ruder 2018, "Universal Language Model Fine-tuning", arXiv:1801.06146, section 3.3. There one layer
opens an epoch; here the stages are spread evenly over the first part of training, so that the schedule fits any number
of layers. Decayed rates (discriminative fine-tuning) are those of section 3.1, where each layer learns at 1/2.6 of the
rate of the one above; they are off unless asked for, because 2.6 was found for an LSTM of three layers: over six it
leaves the embeddings a thousandth of the rate.
Raffel et al. 2020, arXiv:1910.10683, table 10: at high resource it costs a little against training everything.

Use it when data are few or forgetting is feared.
Do not use it when labelled rows are plenty (training everything is as good or better), or when a run has so few steps
that the lowest layers open and stop again at once.

Range: 2e-5 to 5e-4. On 300 rows (the embedded encoder, two seeds) movie and product reviews were best at 3e-5, the end
of the range before, and lost 15 points at 1e-5; named entities were best at 1.7e-4; 1e-3, the other end before, lost 2
to 6 points everywhere.
"""

from dataclasses import dataclass

from unfreeze.encoders.outline import Outline
from unfreeze.errors import SettingsError
from unfreeze.plan import Plan, Stage
from unfreeze.strategies._base import Search, strategy
from unfreeze.strategies._depth import groups_from_the_top


@strategy("gradual", Search(learning_rate=(2e-5, 5e-4), num_train_epochs=10, priority=40, by_default=True))
@dataclass(frozen=True, slots=True)
class Gradual:
    """Head first, then the layers from the top, then the embeddings.

    Attributes:
        until: fraction of training, in (0, 1), by which everything is trainable.
        decay: share of a layer's rate at which the layer below it learns, in (0, 1]; 1 for one rate for all,
            0.385 (1/2.6) for that of Howard & Ruder.
    """

    until: float = 0.5
    decay: float = 1.0

    def plan(self, outline: Outline) -> Plan:
        """One stage a part, from the top; the head and the pretrained top begin, the embeddings come last.

        Raises:
            SettingsError: ``until`` lies outside (0, 1), or ``decay`` outside (0, 1].
        """
        if not 0 < self.until < 1:
            raise SettingsError(f"gradual: until must lie between 0 and 1, both excluded; got {self.until}")
        groups = groups_from_the_top(outline, decay=self.decay, strategy="gradual")
        last = len(groups) - 1
        return Plan(tuple(Stage(self.until * (i / last), groups[: i + 1]) for i in range(len(groups))))
