"""Draw the top layers anew, then train everything.

Source: Zhang et al. 2021, "Revisiting Few-sample BERT Fine-tuning", arXiv:2006.05987, section 5: the top layers are
specialised for pretraining and a bad place to start from; with the pooler and the last 1 to 6 of BERT-large's 24 layers
drawn anew, fine-tuning on few rows is steadier and mostly better, and how many is best differs from task to task. New
weights are drawn as the family draws them before pretraining (BERT: deviation 0.02; biases 0, norms 1). With enough
steps and bias-corrected Adam, which all ways have here, the gain is smaller (section 7).

Use it when runs of ``full`` with other seeds differ by much, or stay at the most frequent class, and rows are few.
Do not use it when the encoder was made to be read at the top (sentence embeddings such as all-MiniLM): its last layer
is what was tuned for that; nor when it has few layers, of which even one is a large share.

Range: 3e-5 to 3e-4, that of ``full``: everything but the drawn layers is fine-tuned as there. On 300 movie reviews (the
embedded encoder, one seed, 9.5e-5) it came as far as ``full``, 76 points, in seven epochs instead of three.
"""

from dataclasses import dataclass, replace

from unfreeze.encoders.outline import Outline
from unfreeze.plan import Plan, one_stage
from unfreeze.strategies._base import Search, strategy
from unfreeze.strategies._depth import last_layers


@strategy("reinit", Search(learning_rate=(3e-5, 3e-4), num_train_epochs=8, priority=55))
@dataclass(frozen=True, slots=True)
class Reinit:
    """The last layers, and what is pretrained above them, forget; then everything learns.

    Attributes:
        k: number of layers, from the top, that are drawn anew, at least 1; a few of 24 in the paper.
    """

    k: int = 1

    def plan(self, outline: Outline) -> Plan:
        """One stage in which everything is trainable; the last k layers and the top start anew.

        Raises:
            SettingsError: k is below 1 or above the number of layers.
        """
        layers = last_layers(outline, k=self.k, strategy="reinit")
        return replace(one_stage(outline.names), reinitialised=(*layers, *outline.top))
