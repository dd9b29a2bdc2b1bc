"""What the report says of the search: the budget of trials, and what each arm tried."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from unfreeze.compare.numerals import counted, points
from unfreeze.report.formats import setting

_TITLES = {
    "layers": "Layers read",
    "num_train_epochs": "Epochs at most",
    "per_device_train_batch_size": "Batch size",
    "warmup_steps": "Warm-up",
    "optim": "Optimizer",
    "inner_fold": "Inner fold",
}
_METHODS = {
    "grid": "a grid",
    "random": "settings drawn at random from its own ranges",
    "tpe": "settings drawn from its own ranges, where a model of the scores so far expected most (TPE)",
}


def tuning_budget(record: Mapping[str, Any]) -> str:
    """How settings were searched, and whether every arm had the same number of tries."""
    arms = [arm for arm in record["arms"] if arm["tuning"] and not arm["floor"]]
    numbers = {arm["name"]: arm.get("tuning_trials", _of_a_search(arm["tuning"])) for arm in arms}
    if not numbers:
        return "No arm had settings to choose."
    method, of = _METHODS[record["settings"].get("search", "grid")], " a fold" if _is_nested(record) else ""
    if len(set(numbers.values())) == 1:
        number = f"{counted(next(iter(numbers.values())), 'trial')}{of}"
        return f"Every arm that is no floor had the same budget: {number} at the most, of {method}. {_rows(record)}"
    listed = ", ".join(f"{name} {number}" for name, number in numbers.items())
    return f"The arms had budgets of their own, of {method}; trials{of} at the most: {listed}. {_rows(record)}"


def _is_nested(record: Mapping[str, Any]) -> bool:
    return bool(record["settings"].get("nested"))


def _of_a_search(tuning: Sequence[Mapping[str, Any]]) -> int:
    """Trials of the longest search; where settings are chosen on inner folds, each has one of its own."""
    return max(Counter(trial.get("inner_fold") for trial in tuning).values())


def _rows(record: Mapping[str, Any]) -> str:
    """On which rows settings were chosen, and what that does to the scores."""
    folds = record["data"].get("folds", 1) > 1
    if _is_nested(record):
        where = (
            "on inner folds, each fold's on one of its training rows" if folds else "on a fifth of the training rows"
        )
        return (
            f"Settings and numbers of epochs were chosen {where}: no row scores a model whose settings it has helped "
            "to choose. The settings shown for an arm are those chosen most often."
        )
    where = "on the first fold, whose rows" if folds else "on the validation rows, which"
    return (
        f"Settings were chosen {where} also report: scores may be slightly too good, of all ways alike (--nested "
        "avoids it)."
    )


def tuning_table(arm: Mapping[str, Any]) -> dict[str, Any]:
    """What an arm tried: its learning rates, whatever else was not the same in all of its trials, and the scores.

    Args:
        arm: a row of the record with at least one trial under ``tuning``.

    Returns:
        ``name``, ``columns`` (titles, and whether a column holds numbers) and ``rows`` of texts.
    """
    trials: Sequence[Mapping[str, Any]] = arm["tuning"]
    names = [name for name in trials[0] if name != "score" and (name == "learning_rate" or _varies(trials, name))]
    columns = [(_title(name), all(not isinstance(trial.get(name), str) for trial in trials)) for name in names]
    rows = [[*(setting(trial.get(name)) for name in names), points(trial["score"])] for trial in trials]
    return {"name": arm["name"], "columns": [*columns, ("Score", True)], "rows": rows}


def _varies(trials: Sequence[Mapping[str, Any]], name: str) -> bool:
    return any(trial.get(name) != trials[0].get(name) for trial in trials)


def _title(name: str) -> str:
    return _TITLES.get(name, name.replace("_", " ").capitalize())
