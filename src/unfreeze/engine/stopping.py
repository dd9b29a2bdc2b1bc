"""Which epoch was the best, and when to stop waiting for a better one: one rule for everything that is trained."""

from collections.abc import Mapping
from typing import Any


def is_better(score: float, loss: float, *, than: Mapping[str, Any] | None) -> bool:
    """Higher score; at equal score, lower loss; so among equals the earlier epoch stays the best.

    Args:
        score: on validation.
        loss: on validation.
        than: the best epoch's row of the learning curve; None before there is one.
    """
    return than is None or bool((score, -loss) > (than["score"], -than["validation_loss"]))


def is_given_up(epoch: int, best_epoch: int, *, patience: int, opened: int = 0) -> bool:
    """Whether a run has waited long enough for a better epoch.

    Args:
        epoch: passes completed.
        best_epoch: the number of them after which the weights were best, 0 before the first validation.
        patience: epochs to wait.
        opened: the epoch in which the last stage begins, or warm-up ends, whichever is later; a stage that is yet to
            come, or a rate that still rises, is not given up (a BiLSTM names no entity until its rate is high).
    """
    return best_epoch > 0 and epoch - max(best_epoch, opened) >= patience
