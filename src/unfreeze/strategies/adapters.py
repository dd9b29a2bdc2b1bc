"""Train small bottlenecks between the frozen layers, and the head.

Source: Houlsby et al. 2019, "Parameter-Efficient Transfer Learning for NLP", arXiv:1902.00751, section 2.1: two in each
layer, behind attention's projection and behind the feed-forward's, before what they are added to; the norms learn, too.
Within 0.4 points of full fine-tuning of BERT-large on GLUE with 3.6 % of its parameters (sizes from 8 to 256; 2.1 % at
64: table 1), at rates of 3e-5 to 3e-3. Pfeiffer et al. 2021, "AdapterFusion", arXiv:2005.00247: the second of the two
alone, and norms stay frozen. We put them before dropout, and leave out the norm that Pfeiffer et al. put behind.

Use it when many models of one encoder must be stored, or data are few.
Do not use it to save time: the bottlenecks of the first layer learn, so nothing is a frozen prefix and a step costs
nearly what full fine-tuning costs; nor when plain transformers shall load the model: the bottlenecks are inside, so it
takes ``import unfreeze.encoders.bottlenecks``, where lora gives a plain model.

Range: 3e-4 to 1e-2, 10 to 30 times that of full fine-tuning: new weights begin next to zero and have a way to go.
"""

from dataclasses import dataclass
from typing import Any

from unfreeze.encoders.outline import Outline
from unfreeze.errors import SettingsError, UnknownName
from unfreeze.plan import Plan, one_stage
from unfreeze.strategies._base import Search, strategy

PLACEMENTS = ("houlsby", "pfeiffer")


@strategy("adapters", Search(learning_rate=(3e-4, 1e-2), num_train_epochs=12, min_steps=400, priority=65))
@dataclass(frozen=True, slots=True)
class Adapters:
    """Bottlenecks in every layer and the head learn; with the placement "houlsby" the layers' norms, too.

    Attributes:
        size: of a bottleneck, numbers a token.
        placement: "houlsby", two in each layer, or "pfeiffer", one.
    """

    size: int = 64
    placement: str = "houlsby"

    def install(self, model: Any, *, encoder: Any, seed: int) -> None:
        """Add the bottlenecks to a model.

        Args:
            model: as it was built; changed in place.
            encoder: not used.
            seed: of the new weights.

        Raises:
            SettingsError: it is not understood where they belong in this encoder, or the size is below 1.
            UnknownName: there is no such placement.
        """
        from unfreeze.encoders.bottlenecks import add_adapters

        if self.placement not in PLACEMENTS:
            raise UnknownName("placement", self.placement, PLACEMENTS)
        add_adapters(model, size=self.size, after_attention=self.placement == "houlsby", seed=seed)

    def merge(self, model: Any) -> Any:
        """The model in a class that can be saved with its bottlenecks.

        Args:
            model: a copy in float32.
        """
        from unfreeze.encoders.bottlenecks import as_adapted

        return as_adapted(model)

    def plan(self, outline: Outline) -> Plan:
        """One stage in which the bottlenecks, the norms if they are to, and the head are trainable.

        Raises:
            SettingsError: the norms are to learn, and a layer has none.
        """
        adapters = [name for name in outline.encoder if ".adapter_" in name]
        norms: list[str] = []
        if self.placement == "houlsby":
            of_layers = [[name for name in layer if _is_of_a_norm(name)] for layer in outline.layers]
            if not all(of_layers):
                raise SettingsError("adapters: no norm is found in some layer; choose adapters:placement=pfeiffer")
            norms = [name for names in of_layers for name in names]
        return one_stage((*adapters, *norms, *outline.head))


def _is_of_a_norm(name: str) -> bool:
    """Whether a parameter belongs to a norm, by the name of its module: "LayerNorm", "sa_layer_norm", "mlp_norm"."""
    return "norm" in name.split(".")[-2].lower()
