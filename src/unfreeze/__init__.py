"""unfreeze: which way of fine-tuning should I use here, how sure can I be, and where is the model?

Nothing heavy is imported until it is used, so that ``unfreeze --help`` answers at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from unfreeze.describing import list_strategies, strategy_card
from unfreeze.errors import UnfreezeError

# The function takes the place of the package ``unfreeze.compare``, which front.py has loaded by then: a package takes
# the name in its parent only when it is first imported.
from unfreeze.front import Comparison, compare, fit, load_comparison
from unfreeze.plan import Plan
from unfreeze.strategies import STRATEGIES

if TYPE_CHECKING:
    from unfreeze.export.handing_over import FineTuned, load_model

__version__ = "0.1.0"

__all__ = [
    "STRATEGIES",
    "Comparison",
    "FineTuned",
    "Plan",
    "UnfreezeError",
    "compare",
    "fit",
    "list_strategies",
    "load_comparison",
    "load_model",
    "strategy_card",
]

_BRINGS_TORCH = {"FineTuned": "unfreeze.export.handing_over", "load_model": "unfreeze.export.handing_over"}


def __getattr__(name: str) -> Any:
    if name not in _BRINGS_TORCH:
        raise AttributeError(f"module 'unfreeze' has no attribute {name!r}")
    return getattr(import_module(_BRINGS_TORCH[name]), name)
