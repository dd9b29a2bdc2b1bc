"""Unfreeze one layer at a time, from the head down to the input.

Source: Howard & Ruder 2018, "Universal Language Model Fine-tuning", arXiv:1801.06146, section 3.3. There one layer
opens an epoch; here the stages are spread evenly over the first part of training, so that the schedule fits any number
of layers.
Raffel et al. 2020, arXiv:1910.10683, table 10: at high resource it costs a little against training everything.

Use it when data are few or forgetting is feared.
"""

from dataclasses import dataclass

from unfreeze.encoders.outline import Outline
from unfreeze.errors import SettingsError
from unfreeze.plan import Group, Plan, Stage
from unfreeze.strategies._base import Search, strategy


@strategy("gradual", Search(learning_rate=(3e-5, 1e-3), num_train_epochs=10, priority=40, by_default=True))
@dataclass(frozen=True, slots=True)
class Gradual:
    """Head first, then the layers from the top, then the embeddings.

    Attributes:
        until: fraction of training, in (0, 1), by which everything is trainable.
    """

    until: float = 0.5

    def plan(self, outline: Outline) -> Plan:
        """One stage a part, from the top; the head and the pretrained top begin, the embeddings come last.

        Raises:
            SettingsError: ``until`` lies outside (0, 1).
        """
        if not 0 < self.until < 1:
            raise SettingsError(f"gradual: until must lie between 0 and 1, both excluded; got {self.until}")
        parts = ((*outline.top, *outline.head), *reversed(outline.layers), (*outline.shared, *outline.embeddings))
        groups = tuple(Group(names) for names in parts)
        last = len(groups) - 1
        return Plan(tuple(Stage(self.until * (i / last), groups[: i + 1]) for i in range(len(groups))))
