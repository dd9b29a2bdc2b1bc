"""Go on with pretraining on the task's own text, by predicting hidden words, then fine-tune in any other way.

Source: Gururangan et al. 2020, "Don't Stop Pretraining", arXiv:2004.10964, section 4 (task-adaptive pretraining, on
eight tasks of four domains, at a rate of 1e-4). Whole words as in the later release of Devlin et al. 2019,
arXiv:1810.04805; spans as in Joshi et al. 2020 (SpanBERT), arXiv:1907.10529, section 3.1. Differs: both share one
schedule and one optimizer, and further pretraining has as many passes as the task, not 100.

An encoder without a masked-language-model head gets a new one, tied to its word embeddings and warmed up while the
encoder is frozen. That is a handicap: its gradients say less than those of a head that was pretrained.

Use it when the texts are unlike those that the encoder was pretrained on, when there are many of them (``--unlabeled``
adds some without labels), and when the encoder brings its masked-language-model head.
Do not use it where time is short, for it takes more than twice as long; nor with some hundreds of texts and an encoder
that brings no such head. On 300 movie reviews (the embedded encoder, one seed, one rate) 73.4 % of 500 test texts were
right, with 3,000 further texts 72.6 %, and with full alone 75.6 %, all within chance; perplexity fell from 47,000 to
265, with the further texts to 202 (who guesses by frequency: 2,570 and 1,010).

Range: that of the way that follows, at whose rates it learns; further pretraining learns at 1e-4 where that range is in
its middle. The passes are so many more that the way that follows has as many as alone.
"""

from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from unfreeze.encoders.outline import Outline
from unfreeze.errors import SettingsError
from unfreeze.plan import Group, Masking, Objective, Plan, Stage
from unfreeze.strategies._base import Search, Strategy, adds_modules, install, merged, strategy, strategy_named

if TYPE_CHECKING:
    from unfreeze.encoders.loading import Encoder

RATE = 1e-4
"""At which further pretraining learns where the run's learning rate is in the middle of its range."""

HEAD_SCALE = 10.0
"""How much faster than the encoder the masked-language-model head learns: it is new, and warmed up in few steps."""


@strategy("tapt", Search(learning_rate=(3e-5, 3e-4), num_train_epochs=16, min_steps=400, priority=55))
@dataclass(frozen=True)
class Tapt:
    """The masked-language-model head alone, then it and the encoder, then another way on what that gave.

    Attributes:
        then: the way that follows, such as "last-k"; its settings as in "last-k:k=4", several joined by "/".
        unit: what is hidden: whole words ("word"), or some of them in a row ("span").
        share: of a text's words that are hidden in one pass, in (0, 1].
        warm_up: fraction of training in which only the masked-language-model head learns, in (0, 1).
        until: fraction of training at which further pretraining ends, above ``warm_up`` and below 1.
    """

    then: str = "full"
    unit: str = "word"
    share: float = 0.15
    warm_up: float = 0.1
    until: float = 0.5
    search: ClassVar[Search]

    def __post_init__(self) -> None:
        """Find the search range, which is that of the way that follows with as many more passes.

        Raises:
            UnknownName: there is no such way, or it has no such setting.
            SettingsError: it cannot follow, or a setting lies outside its range.
        """
        if not 0 < self.warm_up < self.until < 1:
            raise SettingsError(f"tapt: 0 < warm_up < until < 1; got {self.warm_up} and {self.until}")
        search = self._following.search
        if search.floor or search.learning_rate is None or isinstance(self._following, Tapt):
            raise SettingsError(f"tapt: then names a way that can follow, such as full or last-k; got {self.then!r}")
        epochs, steps = (ceil(number / (1 - self.until)) for number in (search.num_train_epochs, search.min_steps))
        own = replace(search, num_train_epochs=epochs, min_steps=steps, priority=self.search.priority, by_default=False)
        object.__setattr__(self, "search", own)

    @property
    def _following(self) -> Strategy:
        return strategy_named(self.then.replace("/", ","))

    def install(self, model: Any, *, encoder: "Encoder", seed: int) -> None:
        """Add what the way that follows adds, and put a masked-language-model head beside the model's own."""
        from unfreeze.encoders.masked_head import attach_masked_head

        install(self._following, model, encoder=encoder, seed=seed)
        attach_masked_head(model, encoder, seed=seed)

    def merge(self, model: Any) -> Any:
        """As the way that follows."""
        return merged(self._following, model)

    def plan(self, outline: Outline) -> Plan:
        """Two stages of further pretraining, then those of the way that follows in what is left of training.

        What it adds to the encoder, and what else of the encoder learns with that, waits for it.

        Raises:
            SettingsError: a setting lies outside its range, or the way that follows hides tokens itself.
        """
        following = self._following.plan(outline)
        if following.masking is not None or following.encoder_weights != "pretrained":
            raise SettingsError(f"tapt: {self.then} cannot follow: it hides tokens itself, or starts from nothing")
        if following.reinitialised:
            raise SettingsError(f"tapt: {self.then} cannot follow: what it draws anew would forget the pretraining")
        masking = Masking(cast(Literal["word", "span"], self.unit), self.share)
        if masking.unit == "entity":
            raise SettingsError('tapt: unit is "word" or "span"; entities are what entity-mask hides')
        alone = Objective(task=0.0, masked=1.0, masking=masking)
        low, high = self._following.search.learning_rate or (RATE, RATE)
        scale = float(f"{RATE / (low * high) ** 0.5:.3g}")
        waiting = {*outline.top} - {*outline.output_norm}  # hidden words tell a pooler nothing
        waiting |= following.ever_trainable if adds_modules(self._following) else set()
        encoder = Group(tuple(name for name in outline.encoder if name not in waiting), scale)
        beside = Group(outline.auxiliary, scale * HEAD_SCALE)
        further = (Stage(0.0, (beside,), alone), Stage(self.warm_up, (encoder, beside), alone))
        later = tuple(self._later(stage, without=frozenset(outline.auxiliary)) for stage in following.stages)
        return replace(following, stages=(*further, *later))

    def _later(self, stage: Stage, *, without: frozenset[str]) -> Stage:
        """A stage of the way that follows, in what is left; its rates are what they were, though the schedule fell."""
        left = 1 - self.until
        kept = ((tuple(name for name in group.names if name not in without), group.lr_scale) for group in stage.groups)
        groups = tuple(Group(names, scale / left) for names, scale in kept if names)
        return Stage(self.until + left * stage.start, groups, stage.objective, stage.gate)
