"""Train the biases and the head; freeze every weight matrix and every norm's scale.

Source: Ben Zaken, Goldberg & Ravfogel 2022, "BitFit", arXiv:2106.10199, section 3: all bias terms of the encoder learn,
0.08 % of BERT-large, 0.09 % of BERT-base; on small to medium data close to full fine-tuning, behind it on large data
(table 2 and figure 3).

Use it when many models of one encoder must be stored, or data are few.
Do not use it to save time: the biases of the first layer learn, so nothing is a frozen prefix and a step costs nearly
what full fine-tuning costs; nor for families without biases (ModernBERT), where there is nothing for it to train.

Range: 3e-4 to 1e-2, 10 to 30 times that of full fine-tuning: what learns adds to what is there and multiplies nothing.
"""

from dataclasses import dataclass

from unfreeze.encoders.outline import Outline
from unfreeze.errors import SettingsError
from unfreeze.plan import Plan, one_stage
from unfreeze.strategies._base import Search, strategy


@strategy("bitfit", Search(learning_rate=(3e-4, 1e-2), num_train_epochs=12, min_steps=400, priority=70))
@dataclass(frozen=True, slots=True)
class BitFit:
    """All biases of the encoder learn, those of norms too, and the head."""

    def plan(self, outline: Outline) -> Plan:
        """One stage in which every bias and the head are trainable.

        Raises:
            SettingsError: the encoder's layers have no biases.
        """
        biases = [name for name in outline.encoder if name.endswith(".bias")]
        if not any(name in biases for layer in outline.layers for name in layer):
            raise SettingsError(
                "bitfit trains biases, and the layers of this encoder have none. Choose lora, adapters, last-k or full"
            )
        return one_stage((*biases, *outline.head))
