"""Train the head first, then everything, then calibrate: linear probing, then fine-tuning.

Source: Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution",
arXiv:2202.10054, section 3.4: a head that fits before the encoder moves keeps the encoder's features, +1 % in and +10 %
out of distribution over fine-tuning on ten image sets. Tomihari & Sato 2024, arXiv:2405.16747: it works for language
models, too, but the head's norm grows in the first stage and probabilities come out too sure, which one temperature
repairs. Here both stages share one schedule, whose rate falls all the while; the temperature is fitted on validation
rows and divided into the last layer, so no label changes.

Use it when the texts that the model will meet differ from those it learns from, when labelled rows are few (some
hundreds), or when the probabilities are to be used.
Do not use it when the frozen encoder gives the head little to read (the standard head on a pooler that was never
trained: choose the mean), or when rows are plenty and like those to come: training everything is as good and simpler.

Range: 3e-5 to 5e-4, that of ``full``, up to twice as high, because the rate has fallen by a third when the second stage
begins. The head learns at 30 times that in the first stage, 1e-3 to 1.5e-2: the range of a head alone. It is reasoned
so, not yet searched.
"""

from dataclasses import dataclass

from unfreeze.encoders.outline import Outline
from unfreeze.errors import SettingsError
from unfreeze.plan import Group, Plan, Stage
from unfreeze.strategies._base import Search, strategy


@strategy("lp-ft", Search(learning_rate=(3e-5, 5e-4), num_train_epochs=12, min_steps=250, priority=50))
@dataclass(frozen=True, slots=True)
class ProbeThenTune:
    """The head learns at a head's rate on a frozen encoder, then everything learns, then logits are calibrated.

    Attributes:
        probe: fraction of training, in (0, 1), in which the head alone learns.
        head_rate: how many times the run's learning rate the head has in that stage, above 0.
    """

    probe: float = 0.4
    head_rate: float = 30.0

    def plan(self, outline: Outline) -> Plan:
        """Two stages: the head at its own rate, then everything at the run's; the logits are calibrated at the end.

        Raises:
            SettingsError: ``probe`` lies outside (0, 1), or ``head_rate`` is not above 0.
        """
        if not 0 < self.probe < 1:
            raise SettingsError(f"lp-ft: probe must lie between 0 and 1, both excluded; got {self.probe}")
        if not 0 < self.head_rate < float("inf"):
            raise SettingsError(f"lp-ft: head_rate must be above 0; got {self.head_rate}")
        first = Stage(0.0, (Group(outline.head, self.head_rate),))
        return Plan((first, Stage(self.probe, (Group(outline.names),))), calibrated=True)
