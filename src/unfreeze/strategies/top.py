"""Train only the encoder's last norm, what is pretrained above it, and the head.

Source: Qi et al. 2022, "Parameter-Efficient Tuning on Layer Normalization", arXiv:2211.08682: training the gain and
bias of norms alone, there of all of them, 0.03 % of the parameters. Which norm, here, comes from a claim that is often
read: that in fine-tuning the inner layers stay frozen and only the output layers are updated. It is no description of
the usual way (Devlin et al. 2019, arXiv:1810.04805, section 3.2: all parameters learn); here it is taken at its word.

Use it when the head alone is too little and next to nothing may be stored a task: it adds the pooler, where the
encoder has one that is read, and two numbers a hidden unit to the head.
Do not use it when a score decides: what it adds can rescale what the last layer gives, not make anything new of it;
one layer more (last-k with k=1) reaches farther at the same price.

Range: 1e-4 to 1e-2, ten times that of training layers: so few parameters move the output little. It is reasoned so,
not yet searched.
"""

from dataclasses import dataclass

from unfreeze.encoders.outline import Outline
from unfreeze.errors import SettingsError
from unfreeze.plan import Plan, one_stage
from unfreeze.strategies._base import Search, strategy


@strategy("top", Search(learning_rate=(1e-4, 1e-2), num_train_epochs=20, min_steps=400, priority=60))
@dataclass(frozen=True, slots=True)
class Top:
    """The norm that the hidden states pass last, the pretrained top and the head learn."""

    def plan(self, outline: Outline) -> Plan:
        """One stage in which the output norm, the top and the head are trainable.

        Where norms come first (ModernBERT), the last one lies in the top already.

        Raises:
            SettingsError: it is not understood which norm comes last.
        """
        if not outline.output_norm:
            raise SettingsError(
                "top: no norm was found that what the layers give passes last, so it is not known what to train; "
                "last-k:k=1 trains the whole last layer"
            )
        return one_stage(dict.fromkeys((*outline.output_norm, *outline.top, *outline.head)))
