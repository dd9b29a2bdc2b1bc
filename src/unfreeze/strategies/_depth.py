"""The parts of an encoder from the top down, each with its share of the learning rate."""

from unfreeze.encoders.outline import Outline
from unfreeze.errors import SettingsError
from unfreeze.plan import Group


def groups_from_the_top(outline: Outline, *, decay: float, strategy: str) -> tuple[Group, ...]:
    """The head with the pretrained top, each layer from the last to the first, then the embeddings with what is shared.

    Args:
        outline: of the model.
        decay: share of a part's rate at which the part below it learns, in (0, 1]; the head has the full rate.
        strategy: whose setting ``decay`` is, for the message.

    Raises:
        SettingsError: ``decay`` lies outside (0, 1].
    """
    if not 0 < decay <= 1:
        raise SettingsError(f"{strategy}: decay must be above 0 and at most 1 (no decay); got {decay}")
    parts = ((*outline.top, *outline.head), *reversed(outline.layers), (*outline.shared, *outline.embeddings))
    return tuple(Group(names, decay**distance) for distance, names in enumerate(parts))
