"""Arms and floors as rows of the record: what the report, the table and the verdict read."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from unfreeze.compare.arms import Arm
from unfreeze.compare.budget import seconds_of
from unfreeze.compare.floors import Floor
from unfreeze.compare.outcomes import ArmOutcome
from unfreeze.compare.overrides import TUNABLE
from unfreeze.compare.statistics import RunScores, score_interval, selection_score
from unfreeze.compare.trials import Trial
from unfreeze.engine.settings import TrainingSettings
from unfreeze.strategies import description_of
from unfreeze.tasks import Task

_OF_LEARNING = ("optim", "label_smoothing_factor", "class_weights", "weight_decay_towards")
"""Settings that mean something only where something learns by gradient."""

_SIZES = ("learning_rate", "num_train_epochs", "per_device_train_batch_size", "weight_decay", "warmup_steps")
_USUAL = (*_SIZES, *_OF_LEARNING)
"""The training settings that the record of an arm always names."""


def arm_row(outcome: ArmOutcome, task: Task, *, steps_per_epoch: int) -> dict[str, Any]:
    """An arm that was run, as a row of the record."""
    arm, chosen, runs = outcome.arm, outcome.chosen, outcome.runs
    records = list(outcome.records.values())
    if outcome.left is not None:
        return absent_row(arm, "left", reason=outcome.left) | _search(outcome) | _best_setting(outcome)
    if chosen is None or runs is None or outcome.failed:
        return absent_row(arm, "failed", reason=outcome.failed or "it was not run") | _search(outcome)
    return {
        **described(arm),
        **_scored(runs, task),
        "state": "done",
        "reason": "",
        "starved": outcome.starved(steps_per_epoch),
        "settings": _chosen(arm, chosen) | {"batches": records[0].get("batches") or None},
        "test": _tested([r["scores"]["test"][task.metric] for r in records if "test" in r["scores"]]),
        "train_seconds": seconds_of_a_run(records),
        "calibration": _calibration(records),
        "trainable_parameters": max(record["trainable_parameters"] for record in records),
        "stored_bytes": max(record["stored_bytes"] for record in records),
        "predict_seconds_per_1000": 1000 * float(np.median([r["predict_seconds_per_example"] for r in records])),
        **_search(outcome),
        "curves": _curves(outcome),
        "collapsed_runs": sum(r["scores"].get("validation", {}).get("collapsed", False) for r in records),
        "diverged_runs": sum(r["state"] == "diverged" for r in records),
        "short_memory_runs": sum(r.get("short_memory", False) for r in records),
        "gates": _gates(outcome),
        "masked": _masked(records),
        "pulled_back": records[0].get("pulled_back", 0),
        "runs": len(records),
    }


def _masked(records: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """How well hidden tokens were predicted, the mean over runs; None where nothing was hidden."""
    found = [record["masked"] for record in records if record.get("masked", {}).get("after")]
    found = [masked for masked in found if masked["after"]["loss"] is not None]
    if not found:
        return None
    after = [masked["after"] for masked in found]
    losses = {
        "loss": float(np.mean([one["loss"] for one in after])),
        "loss_before": float(np.mean([masked["before"]["loss"] for masked in found])),
        "unigram_loss": float(np.mean([one["unigram_loss"] for one in after])),
    }
    return {
        **losses,
        **{name.replace("loss", "perplexity"): math.exp(loss) for name, loss in losses.items()},
        "tokens": sum(one["tokens"] for one in after),
        "unlabelled": max(one.get("unlabelled", 0) for one in after),
        "new_head": any(one["new_head"] for one in after),
    }


def _gates(outcome: ArmOutcome) -> list[dict[str, Any]]:
    """What runs decided at the gates of their plan: for each gate, and each reason, how many of how many, which scores.

    Where runs look at no validation rows, those decided that chose their settings, which may be fewer.
    """
    found: dict[tuple[int, bool, str], dict[str, Any]] = {}
    decided = _validated(outcome)
    for gate in (gate for record in decided.values() for gate in record.get("gates", ())):
        told = {key: gate[key] for key in ("start", "opens", "opened", "because")}
        line = found.setdefault(
            (gate["stage"], not gate["opened"], gate["because"]), told | {"runs": 0, "of": len(decided), "scores": []}
        )
        line["runs"] += 1
        line["scores"] += [] if gate["score"] is None else [gate["score"]]
    return [found[key] for key in sorted(found)]


def _curves(outcome: ArmOutcome) -> list[dict[str, Any]]:
    """How the runs learnt."""
    records = _validated(outcome)
    return [{"seed": s, "fold": f, "points": r["curve"]} for (s, f), r in records.items() if r["curve"]]


def _validated(outcome: ArmOutcome) -> dict[tuple[int, int], Mapping[str, Any]]:
    """The records of the runs; where these look at no validation rows, of the trials that chose their settings."""
    if outcome.chosen_on:
        return {(t.settings.seed, fold): outcome.tried[t] for fold, t in sorted(outcome.chosen_on.items())}
    return dict(outcome.records)


def _best_setting(outcome: ArmOutcome) -> dict[str, Any]:
    """The score of the best setting that an arm tried before it left; no interval, for it is of one run."""
    scores = [score for score in outcome.tuning.values() if np.isfinite(score)]
    return {"score": max(scores, default=None), "runs": 0}


def seconds_of_a_run(records: Sequence[Mapping[str, Any]]) -> float:
    """Training seconds of one run: the median, because one run also paid for what later ones only remember."""
    return float(np.median([record["train_seconds"] for record in records]))


def _calibration(records: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What calibrating the runs did, on their validation rows; None where they were not calibrated."""
    made = [record["calibration"] for record in records if record.get("calibration")]
    if not made:
        return None
    known = [one for one in made if one["error_before"] is not None]
    means = {name: float(np.mean([one[name] for one in known])) if known else None for name in _ERRORS}
    return {"temperature": float(np.median([one["temperature"] for one in made])), **means, "runs": len(made)}


_ERRORS = ("error_before", "error_after")


def _search(outcome: ArmOutcome) -> dict[str, Any]:
    """What an arm tried to find its settings, and what all of its trials took."""
    return {
        "tuning": [
            _settings(outcome.arm, trial) | _inner(outcome, fold) | {"score": _or_none(score)}
            for fold, search in enumerate(outcome.searches)
            for trial, score in search.items()
        ],
        "tuning_trials": outcome.arm.tuning_trials,
        "total_seconds": float(sum(seconds_of(record) for record in outcome.tried.values())),
        "diverged_runs": sum(record["state"] == "diverged" for record in outcome.tried.values()),
    }


def _inner(outcome: ArmOutcome, fold: int) -> dict[str, int]:
    """The number of the inner fold that a trial of a search is of, where settings are chosen on such."""
    return {"inner_fold": fold + 1} if outcome.chosen_on else {}


def _settings(arm: Arm, trial: Trial) -> dict[str, Any]:
    """All of a trial's settings that a user may choose, and what its head reads."""
    own = {name: getattr(trial.settings, name) for name in TUNABLE}
    if not arm.learns:
        own |= {"learning_rate": None, "num_train_epochs": 0, **dict.fromkeys(_OF_LEARNING)}
    first = {"learning_rate": own["learning_rate"], **asdict(trial.head)}
    return first | {"num_train_epochs": own["num_train_epochs"]} | own


def _chosen(arm: Arm, trial: Trial) -> dict[str, Any]:
    """The settings that an arm was run with: the usual ones, and others that are not as usual."""
    usual = asdict(TrainingSettings())
    return {
        name: value
        for name, value in _settings(arm, trial).items()
        if name in _USUAL or name not in usual or value != usual[name]
    }


def floor_row(floor: Floor, task: Task) -> dict[str, Any]:
    """A rival that needs no encoder, as a row of the record."""
    test = None if floor.test is None else _tested([float(task.score(floor.test.sum(0)))])
    empty = dict.fromkeys(
        (
            "settings",
            "calibration",
            "gates",
            "masked",
            "pulled_back",
            "trainable_parameters",
            "stored_bytes",
            "predict_seconds_per_1000",
            "starved",
        )
    )
    return {
        **empty,
        "name": floor.name,
        "number": None,
        "summary": "Needs no encoder.",
        "source": "",
        "floor": True,
        "state": "done",
        "reason": "",
        **_scored(floor.runs, task),
        "test": test,
        "train_seconds": floor.seconds,
        "total_seconds": floor.seconds,
        "tuning": [],
        "tuning_trials": 0,
        "curves": [],
        "collapsed_runs": 0,
        "diverged_runs": 0,
        "short_memory_runs": 0,
        "runs": floor.runs.scores.size,
    }


def absent_row(arm: Arm, state: str, *, reason: str) -> dict[str, Any]:
    """An arm without a result: "dropped" by the budget, "left" behind in the race, or "failed"."""
    empty = ("settings", "score", "interval", "test", "train_seconds", "total_seconds", "predict_seconds_per_1000")
    more = ("trainable_parameters", "stored_bytes", "starved", "gates", "masked", "pulled_back", "calibration")
    lists: dict[str, Any] = {"scores": [], "details": {}, "tuning": [], "curves": []}
    none = dict.fromkeys((*empty, *more))
    zeros = {
        "tuning_trials": 0,
        "collapsed_runs": 0,
        "diverged_runs": 0,
        "short_memory_runs": 0,
        "runs": 0,
        "interval_basis": "",
    }
    return {**none, **lists, **zeros, **described(arm), "state": state, "reason": reason}


def described(arm: Arm) -> dict[str, Any]:
    """What the strategy's own file says of it: its summary and its source, beside its name."""
    said = description_of(arm.strategy.name)
    return {
        "name": arm.name,
        "number": None,
        "summary": said.summary,
        "source": said.source,
        "floor": arm.strategy.search.floor,
    }


def _scored(runs: RunScores, task: Task) -> dict[str, Any]:
    scored = np.asarray(np.isfinite(runs.counts).all(axis=2))
    sums = np.where(scored[..., None], runs.counts, 0.0).sum(axis=0)
    means = sums / np.maximum(scored.sum(axis=0), 1)[:, None]
    interval = score_interval(runs, task.score)
    return {
        "score": _or_none(selection_score(runs, task.score)),
        "interval": [interval.low, interval.high],
        "interval_basis": interval.basis,
        "scores": [[_or_none(value) for value in row] for row in runs.scores.tolist()],
        "details": task.details(means.sum(axis=0)),
    }


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _tested(scores: Sequence[float]) -> dict[str, Any] | None:
    return {"mean": float(np.mean(scores)), "runs": list(scores)} if scores else None
