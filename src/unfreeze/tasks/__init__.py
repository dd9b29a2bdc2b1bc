"""What can be learned, one file a task. To add one, add a file here: nothing else names it."""

import pkgutil
from importlib import import_module

from unfreeze.tasks._base import (
    IGNORED,
    TASKS,
    Columns,
    Encoded,
    Feature,
    Prediction,
    Reading,
    Task,
    recognise_task,
    task,
    task_named,
)

for _module in sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")):
    import_module(f"{__name__}.{_module}")

__all__ = [
    "IGNORED",
    "TASKS",
    "Columns",
    "Encoded",
    "Feature",
    "Prediction",
    "Reading",
    "Task",
    "recognise_task",
    "task",
    "task_named",
]
