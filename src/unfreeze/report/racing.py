"""What the report says of the race: who went on after each round, who left, and why."""

from collections.abc import Mapping, Sequence
from typing import Any

from unfreeze.compare.numerals import capitalised, counted, spelled

_STAGES = {"settings": "settings, round", "runs": "runs, round"}


def race_told(record: Mapping[str, Any]) -> str:
    """How the comparison was held, in a sentence or two."""
    plan = record["plan"]
    budget = plan.get("budget_seconds")
    held = "Ways that fall behind leave, and what they would have cost goes to the others."
    if not plan.get("race"):
        held = "Every way was searched and run to its end."
    if budget is None:
        return held
    return f"{held} The budget was {spelled(budget)}; all of it would take up to {spelled(plan['whole_seconds'])}."


def race_steps(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The decisions of the race that changed something, in the order made.

    Args:
        record: of the comparison.

    Returns:
        ``after`` (which round), ``on`` (who went on) and ``texts`` (who left and why, who was run again and why).
    """
    steps = []
    for decision in record.get("race", ()):
        texts = [f"{name} left: {why}." for name, why in decision["out"].items()]
        texts += [_run_again(decision)] if decision.get("runs") else []
        texts += [f"{capitalised(decision['why'])}."] if decision.get("why") else []
        most = decision.get("most") or {}
        texts += [f"The budget held {counted(number, 'more setting')} of {name}." for name, number in most.items()]
        if texts:
            steps.append({"after": _named(decision["stage"]), "on": ", ".join(decision["on"]), "texts": texts})
    return steps


def _run_again(decision: Mapping[str, Any]) -> str:
    """Who was run next, and how often."""
    runs: Mapping[str, Sequence[Any]] = decision["runs"]
    number = max(len(places) for places in runs.values())
    return f"{counted(number, 'more run')} of {', '.join(runs)}."


def _named(stage: str) -> str:
    name, _, number = stage.partition(" ")
    return f"{_STAGES[name]} {number}" if name in _STAGES else stage
