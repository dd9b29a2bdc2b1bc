"""Train low-rank updates of the attention's queries and values, and the head; freeze everything else.

Source: Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models", arXiv:2106.09685, sections 4.1 and 4.2
(a weight learns the product of two thin matrices, the second zero at first) and table 2 (RoBERTa-base: r=8 on queries
and values, 0.3 M parameters, rates of 4e-4 to 5e-4). Computed by peft. The head learns whole, at the same rate. It is
handed over merged, as a plain model; what was learned is stored beside it, in peft's format (``model/adapter``), where
the head is one that plain transformers has.

Use it when many models of one encoder must be stored, or data are few.
Do not use it to save time: the updates of the first layer learn, so nothing is a frozen prefix and a step costs nearly
what full fine-tuning costs; nor when data are many, where it falls behind full (Chen et al. 2022, arXiv:2202.07962).

Range: 3e-4 to 1e-2, 10 to 30 times that of full fine-tuning: an update begins at zero and is a product of two factors.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unfreeze.encoders.outline import Outline
from unfreeze.plan import Plan, one_stage
from unfreeze.strategies._base import Search, strategy


@strategy("lora", Search(learning_rate=(3e-4, 1e-2), num_train_epochs=12, min_steps=400, priority=60))
@dataclass(frozen=True, slots=True)
class Lora:
    """Low-rank updates and the head learn. Settings as in peft.

    Attributes:
        r: rank of the updates.
        lora_alpha: an update counts ``lora_alpha / r`` times.
        lora_dropout: on what the updates read.
        target_modules: which linear layers are updated: their last names joined by "+", such as "query+value", or
            "all-linear"; empty for queries and values, whatever the family calls them.
    """

    r: int = 8
    lora_alpha: int = 16
    lora_dropout: float = 0.1
    target_modules: str = ""

    def install(self, model: Any, *, encoder: Any, seed: int) -> None:
        """Add the updates to a model.

        Args:
            model: as it was built; changed in place.
            encoder: not used.
            seed: of the new weights.

        Raises:
            MissingExtra: peft is not installed.
            SettingsError: the encoder has no such linear layers.
        """
        from unfreeze.encoders.low_rank import add_low_rank

        add_low_rank(
            model,
            r=self.r,
            lora_alpha=self.lora_alpha,
            lora_dropout=self.lora_dropout,
            target_modules=self.target_modules,
            seed=seed,
        )

    def merge(self, model: Any) -> Any:
        """Fold the updates into the weights.

        Args:
            model: a copy in float32; changed in place.
        """
        from unfreeze.encoders.low_rank import merge_low_rank

        return merge_low_rank(model)

    def save_part(self, model: Any, *, folder: Path, base: str) -> str | None:
        """Write the updates and the head alone, in peft's format.

        Args:
            model: trained, and not merged.
            folder: where to.
            base: the encoder's name or folder.

        Returns:
            The line that loads it; None for a head that plain transformers cannot make, and so has no place for.
        """
        from unfreeze.encoders.low_rank import save_low_rank

        if not type(model).__module__.startswith("transformers."):
            return None
        save_low_rank(model, folder, base=base)
        encoder = json.dumps(base, ensure_ascii=False)  # a folder of Windows has backslashes
        labels = json.dumps(list(model.config.id2label.values()), ensure_ascii=False)
        named = f"id2label=dict(enumerate({labels}))"
        made = f"transformers.{type(model).__name__}.from_pretrained({encoder}, {named})"
        return f'import peft; peft.PeftModel.from_pretrained({made}, "{folder.parent.name}/{folder.name}")'

    def plan(self, outline: Outline) -> Plan:
        """One stage in which the updates and the head are trainable."""
        updates = [name for name in outline.encoder if ".lora_" in name]
        return one_stage((*updates, *outline.head))
