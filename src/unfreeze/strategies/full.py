"""Train everything from the start.

Source: Devlin et al. 2019, arXiv:1810.04805, sections 3.2 and A.3 (rates 2e-5 to 5e-5 for BERT-base and -large), with
the three repairs of Zhang et al. 2021, arXiv:2006.05987: bias-corrected Adam, warm-up, enough steps. Smaller encoders
bear higher rates: Clark et al. 2020, arXiv:2003.10555, table 7, take 5e-5 for large, 1e-4 for base, 3e-4 for small.

Use it when there are about a thousand labelled examples or more. It is the default that others must beat.
Do not use it when one encoder shall serve many tasks (it stores all of it for each), or when a run of the whole
encoder's backward pass is too dear.

Range: 3e-5 to 3e-4, from the 2e-5 to 5e-5 of large and base encoders, one step lower than small ones bear, to the 3e-4
of ELECTRA-small. With 2e-5 to 5e-4 a choice among three rates on a thousand rows lost a point to noise.
"""

from dataclasses import dataclass

from unfreeze.encoders.outline import Outline
from unfreeze.plan import Plan, one_stage
from unfreeze.strategies._base import Search, strategy


@strategy("full", Search(learning_rate=(3e-5, 3e-4), num_train_epochs=8, priority=10, by_default=True))
@dataclass(frozen=True, slots=True)
class Full:
    """Every parameter learns, at one rate, from the first step."""

    def plan(self, outline: Outline) -> Plan:
        """One stage in which everything is trainable."""
        return one_stage(outline.names)
