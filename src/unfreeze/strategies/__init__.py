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
    save_part,
    strategy,
)
from unfreeze.strategies._describing import Description, Setting, stage_rows
from unfreeze.strategies._naming import description_of, spelling_of, strategy_named

for _module in sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")):
    import_module(f"{__name__}.{_module}")

__all__ = [
    "ALL",
    "STRATEGIES",
    "Description",
    "Search",
    "Setting",
    "Strategy",
    "adds_modules",
    "description_of",
    "install",
    "merged",
    "save_part",
    "spelling_of",
    "stage_rows",
    "strategy",
    "strategy_named",
]
