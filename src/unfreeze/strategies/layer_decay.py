"""Train everything, each layer at a lower rate than the one above: layer-wise learning-rate decay.

Source: Clark et al. 2020, ELECTRA, arXiv:2003.10555, appendix B and table 7 (decay 0.8 for small and base, 0.9 for
large); Sun et al. 2019, "How to Fine-Tune BERT for Text Classification?", arXiv:1905.05583, section 5.3.4 (0.95);
the idea is that of Howard & Ruder 2018, arXiv:1801.06146, section 3.1. Here head and pretrained top learn at the full
rate, the last layer at one decay of it, each layer below at one more, the embeddings and what feeds several layers at
the lowest. Sun has the last layer at the full rate, ELECTRA at two decays of it: the range of rates makes up for that.
Zhang et al. 2021, arXiv:2006.05987: where Adam is bias-corrected and steps are enough, its edge is small.

Use it when everything shall learn but the lower layers shall keep what they know: some hundred to some thousand rows.
Do not use it when the texts are unlike those of pretraining (other characters, codes, a trade's own words): there the
lowest layers have the most to learn.

Range: 5e-5 to 6e-4. With 0.9 over six layers the layers' mean rate is 0.7 of the head's, so it lies above that of
``full`` by as much and a little more: the parts that forget most learn at half. It is reasoned so, not yet searched.
"""

from dataclasses import dataclass

from unfreeze.encoders.outline import Outline
from unfreeze.plan import Plan, Stage
from unfreeze.strategies._base import Search, strategy
from unfreeze.strategies._depth import groups_from_the_top


@strategy("layer-decay", Search(learning_rate=(5e-5, 6e-4), num_train_epochs=8, priority=45))
@dataclass(frozen=True, slots=True)
class LayerDecay:
    """Every parameter learns from the first step, the lower the slower.

    Attributes:
        decay: share of a layer's rate at which the layer below it learns, in (0, 1].
    """

    decay: float = 0.9

    def plan(self, outline: Outline) -> Plan:
        """One stage in which everything is trainable, at rates that fall from the head to the embeddings.

        Raises:
            SettingsError: ``decay`` lies outside (0, 1].
        """
        return Plan((Stage(0.0, groups_from_the_top(outline, decay=self.decay, strategy="layer-decay")),))
