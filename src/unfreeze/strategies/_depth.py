"""The parts of an encoder from the top down."""

from itertools import chain

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


def last_layers(outline: Outline, *, k: int, strategy: str) -> tuple[str, ...]:
    """Names of the last k layers' parameters.

    Args:
        outline: of the model.
        k: number of layers.
        strategy: whose setting ``k`` is, for the message.

    Raises:
        SettingsError: k is below 1 or above the number of layers.
    """
    if not 1 <= k <= outline.depth:
        raise SettingsError(f"{strategy}: k must lie between 1 and the encoder's {outline.depth} layers; got {k}")
    return tuple(chain.from_iterable(outline.layers[outline.depth - k :]))
