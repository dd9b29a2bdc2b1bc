"""Hide named entities from the encoder and let it predict them, beside learning to tag them or before it.

Source: masking as in Devlin et al. 2019, arXiv:1810.04805, section 3.1, whole spans as in Joshi et al. 2020 (SpanBERT),
arXiv:1907.10529, section 3.1; masked prediction on the task's sentences as in Ma et al. 2022 (MANER), which found it
worth most below a few hundred sentences; before the task as further pretraining: Gururangan et al. 2020,
arXiv:2004.10964, section 4. It is the fourth way of the question this project grew from: "named entities in the
sentences are masked and the model is trained to predict them". Differs: only what the labels call an entity is masked,
and of the training rows alone.

An encoder without a masked-language-model head gets a new one, tied to its word embeddings and warmed up while the
encoder is frozen. That is a handicap: its gradients say less than those of a head that was pretrained.

Use it with a few hundred sentences at the most, and an encoder that brings its masked-language-model head.
Do not use it where time is short, for a step costs two; nor for classification, where there is no entity to hide.

Range: that of full, for the same parameters learn; half as many passes again, because the masked-language-model head is
warmed up first.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unfreeze.encoders.outline import Outline
from unfreeze.errors import SettingsError
from unfreeze.plan import Group, Masking, Objective, Plan, Stage
from unfreeze.strategies._base import Search, strategy

if TYPE_CHECKING:
    from unfreeze.encoders.loading import Encoder

HEAD_SCALE = 10.0
"""How much faster than the encoder the masked-language-model head learns: it is new, and warmed up in few steps."""


@strategy("entity-mask", Search(learning_rate=(3e-5, 3e-4), num_train_epochs=12, priority=45, kind="token"))
@dataclass(frozen=True, slots=True)
class EntityMask:
    """First the masked-language-model head alone, then everything.

    Attributes:
        when: "joint", masked entities are predicted beside the tagging; or "before", as further pretraining, until
            ``until``, and the tagging alone after it.
        weight: of the masked loss beside the tagging loss.
        share: of a sentence's entities that are hidden in one pass, in (0, 1].
        warm_up: fraction of training in which only the masked-language-model head learns, in (0, 1).
        until: fraction of training at which further pretraining ends, above ``warm_up`` and below 1.
    """

    when: str = "joint"
    weight: float = 0.1
    share: float = 0.5
    warm_up: float = 0.1
    until: float = 0.4

    def install(self, model: Any, *, encoder: "Encoder", seed: int) -> None:
        """Put a masked-language-model head beside the model's own."""
        from unfreeze.encoders.masked_head import attach_masked_head

        attach_masked_head(model, encoder, seed=seed)

    def plan(self, outline: Outline) -> Plan:
        """Two stages where both are learned together, three where one comes first.

        Raises:
            SettingsError: a setting lies outside its range.
        """
        if self.when not in ("joint", "before"):
            raise SettingsError(f'entity-mask: when is "joint" or "before"; got {self.when!r}')
        if not self.weight > 0:
            raise SettingsError(f"entity-mask: weight must lie above 0; got {self.weight}")
        if not 0 < self.warm_up < self.until < 1:
            raise SettingsError(f"entity-mask: 0 < warm_up < until < 1; got {self.warm_up} and {self.until}")
        masking = Masking("entity", self.share)
        alone = Objective(task=0.0, masked=1.0, masking=masking)
        beside, everything = Group(outline.auxiliary, HEAD_SCALE), (*outline.encoder, *outline.head)
        warming = Stage(0.0, (beside,), alone)
        if self.when == "joint":
            both = Objective(task=1.0, masked=self.weight, masking=masking)
            return Plan((warming, Stage(self.warm_up, (Group(everything), beside), both)))
        further = Stage(self.warm_up, (Group(outline.encoder), beside), alone)
        return Plan((warming, further, Stage(self.until, (Group(everything),))))
