"""Ways of fine-tuning, one file each. To add one, add a file here: nothing else names it."""

import pkgutil
from importlib import import_module

from unfreeze.strategies._base import (
    ALL,
    STRATEGIES,
    Search,
    Strategy,
    adds_modules,
    install,
    merged,
    spelling_of,
    strategy,
    strategy_named,
)

for _module in sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")):
    import_module(f"{__name__}.{_module}")

__all__ = [
    "ALL",
    "STRATEGIES",
    "Search",
    "Strategy",
    "adds_modules",
    "install",
    "merged",
    "spelling_of",
    "strategy",
    "strategy_named",
]
