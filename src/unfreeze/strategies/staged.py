"""Start frozen; where that is good but not good enough, and data suffice, open the top layers, then more.

Source: Howard & Ruder 2018, arXiv:1801.06146, section 3.3, opens from the head down. When to open is advice that is
often given, taken at its word: freeze the encoder first; if that gives good but not optimal results and the data are
enough, unfreeze top layers. What changes most is the top: Merchant et al. 2020, arXiv:2004.14448; a fourth of
the layers gives about 90 % of the quality: Lee, Tang & Lin 2019, arXiv:1911.03090. What is good, optimal and enough the
advice does not say: the rule is ours, and so are its numbers.

Use it when a frozen encoder may be enough, and more shall be paid for only where it is not: name the score that is
enough for you, such as ``staged:target=0.9``.
Do not use it when a score decides: unless asked to (``most=1``) it leaves the lower half frozen, and where the frozen
encoder shows too little, which is where opening may help most, it calls the rest off.

Range: 3e-5 to 1e-3, that of ``last-k`` but for its upper end; the head learns at 30 times that in the first stage, 9e-4
to 3e-2, the range of a head alone. Reasoned, not searched: on 300 movie reviews (the embedded encoder, the mean, one
seed) 1.7e-4 gave 74 points on validation, a head alone 71, ``full`` 76.
"""

from dataclasses import dataclass
from itertools import chain
from math import ceil

from unfreeze.encoders.outline import Outline
from unfreeze.errors import SettingsError
from unfreeze.plan import Gate, Group, Plan, Stage
from unfreeze.strategies._base import Search, strategy

_FIRST = 0.25
"""Share of the layers that open first, from the top."""


@strategy("staged", Search(learning_rate=(3e-5, 1e-3), num_train_epochs=20, min_steps=500, priority=42))
@dataclass(frozen=True, slots=True)
class Staged:
    """The head alone learns; then the top quarter of the layers too, and then more, each time only if a rule says so.

    It is asked when training reaches a stage, of the best validation score so far and the training rows: the
    score must be good: a tenth (``good``) of the way from what always giving the most frequent class scores to perfect
    (55 points of accuracy on two balanced classes, 10 of entity F1); it must be below ``target``; and there
    must be ``examples`` training examples. If so the stage opens, else training ends there with its best epoch. What
    was decided, and why, is in the record and the report. Before the last stage no run is given up for want of a better
    epoch. The last training on all rows asks nothing: it is as long as the runs were that opened as much as most did.

    Attributes:
        target: validation score from which nothing more is opened; 0.95 is 95 points.
        good: share of the way from the most frequent class's score to 1 that makes a score good, below 1.
        examples: fewest training examples for anything to be opened.
        most: share of the layers that are open in the last stage, above 0 and at most 1; with 1 the embeddings, too.
        probe: fraction of training after which the first layers may open, in (0, 1).
        until: fraction of training after which the last ones may, above ``probe`` and below 1.
        head_rate: how many times the run's learning rate the head has while it learns alone, above 0.
    """

    target: float = 0.95
    good: float = 0.1
    examples: int = 100
    most: float = 0.5
    probe: float = 0.4
    until: float = 0.7
    head_rate: float = 30.0

    def plan(self, outline: Outline) -> Plan:
        """The head; the top quarter of the layers with the pretrained top; then as many as ``most`` says.

        Raises:
            SettingsError: a setting lies outside its range.
        """
        if not 0 < self.probe < self.until < 1:
            raise SettingsError(f"staged: 0 < probe < until < 1; got probe={self.probe}, until={self.until}")
        if not 0 < self.most <= 1:
            raise SettingsError(f"staged: most must be above 0 and at most 1; got {self.most}")
        if not 0 < self.head_rate < float("inf"):
            raise SettingsError(f"staged: head_rate must be above 0; got {self.head_rate}")
        gate = Gate(self.good, self.target, self.examples)
        last = self._open(outline, self.most)
        first = min((self._open(outline, _FIRST), last), key=len)
        opening = [Stage(self.probe, (Group(first),), gate=gate), Stage(self.until, (Group(last),), gate=gate)]
        stages = (Stage(0.0, (Group(outline.head, self.head_rate),)), *opening[: 1 + (first != last)])
        return Plan(stages)

    def _open(self, outline: Outline, share: float) -> tuple[str, ...]:
        """What learns with a share of the layers open."""
        if share == 1:
            return outline.names
        layers = outline.layers[outline.depth - ceil(share * outline.depth) :]
        return (*chain.from_iterable(layers), *outline.top, *outline.head)
