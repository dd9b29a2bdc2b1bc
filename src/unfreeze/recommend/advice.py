"""The recommendation as data: what ``recommendation.json`` holds, for programs that act on it."""

from collections.abc import Mapping
from typing import Any

_ABOUT = ("unfreeze", "created", "command", "task", "metric")
_COSTS = ("train_seconds", "total_seconds", "stored_bytes", "predict_seconds_per_1000")
_ARM = ("name", "floor", "state", "score", "interval", "train_seconds", "total_seconds", "stored_bytes", "starved")


def advice_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """The recommendation of a comparison as plain data.

    Args:
        record: of the comparison.

    Returns:
        ``verdict``, ``chosen`` and ``in_short`` (three sentences); ``effect`` (how far the best lies above its nearest
        rival, with the interval; None where there is none); ``costs`` of each way that was run; ``left_out`` (ways that
        were not run to their end, with the reason), ``starved``; ``would_settle`` (scored examples now and wanted, and
        the runs so far, where the verdict is open; None where it is not); ``recommendation`` (all that was judged),
        ``arms``, and ``handed_over``.
    """
    made, arms = record["recommendation"], record["arms"]
    return {
        **{key: record[key] for key in _ABOUT},
        "verdict": made["verdict"],
        "chosen": made["chosen"],
        "in_short": made["in_short"],
        "effect": _effect(made),
        "costs": {arm["name"]: {key: arm[key] for key in _COSTS} for arm in arms if arm["state"] == "done"},
        "left_out": {arm["name"]: arm["reason"] for arm in arms if arm["state"] != "done"},
        "starved": {arm["name"]: arm["starved"] for arm in arms if arm["starved"]},
        "would_settle": _would_settle(made),
        "recommendation": made,
        "arms": [{key: arm[key] for key in _ARM} for arm in arms],
        "handed_over": record["handed_over"],
    }


def _effect(made: Mapping[str, Any]) -> dict[str, Any] | None:
    """The best against its nearest rival."""
    if not made["rivals"]:
        return None
    nearest = min(made["rivals"], key=lambda pair: (pair["interval"]["low"], pair["rival"]))
    interval = {key: nearest["interval"][key] for key in ("low", "high", "level")}
    return {"best": made["best"], "rival": nearest["rival"], "difference": nearest["difference"]} | interval


def _would_settle(made: Mapping[str, Any]) -> dict[str, Any] | None:
    if made["verdict"] != "not settled" or made["rests_on"] is None:
        return None
    rests = made["rests_on"]
    runs = {"seeds": rests["seeds"], "folds": rests["folds"]}
    return {"examples": made["examples_needed"], "examples_now": rests["examples"], **runs}
