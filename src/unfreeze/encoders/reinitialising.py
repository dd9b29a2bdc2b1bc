"""Draw some of an encoder's weights anew, as its family draws them before pretraining.

Source: Zhang et al. 2021, "Revisiting Few-sample BERT Fine-tuning", arXiv:2006.05987, section 5.
"""

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from torch import nn

from unfreeze.encoders.building import seeded
from unfreeze.errors import SettingsError

_DRAW = 0x1217
"""Sets these draws apart from others of the same seed: a head has the weights that it has without them."""


def reinitialise(model: nn.Module, names: Collection[str], *, seed: int) -> None:
    """Draw parameters of a model's encoder anew, in place; all others, and the global random state, stay.

    Args:
        model: as it was built.
        names: of the parameters, whole modules of them.
        seed: of the new weights.

    Raises:
        SettingsError: it is not known how to draw one of them: its module has others that shall stay.
    """
    if not names:
        return
    base: Any = model.base_model
    drawn: set[str] = set()
    with seeded(int(np.random.SeedSequence([seed, _DRAW]).generate_state(1)[0])):
        for module, owned in _modules(model, frozenset(names)):
            base._init_weights(module)
            drawn |= owned
    left = sorted(set(names) - drawn)
    if left:
        raise SettingsError(f"{left[0]!r} cannot be drawn anew without its neighbours ({len(left)} such names)")


def _modules(model: nn.Module, names: frozenset[str]) -> Iterator[tuple[nn.Module, frozenset[str]]]:
    """The modules all of whose parameters are among the names, inner ones first: an outer one has the last word."""
    for path, module in reversed(list(model.named_modules())):
        owned = frozenset(f"{path}.{name}" if path else name for name, _ in module.named_parameters())
        if owned and owned <= names:
            yield module, owned
