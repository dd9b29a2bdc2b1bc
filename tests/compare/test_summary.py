"""Rows of the record, from hand-made outcomes."""

import json
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from unfreeze.compare.arms import Arm
from unfreeze.compare.floors import Floor
from unfreeze.compare.outcomes import ArmOutcome
from unfreeze.compare.statistics import RunScores
from unfreeze.compare.summary import absent_row, arm_row, floor_row
from unfreeze.conducting import _candidate
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.engine.settings import TrainingSettings
from unfreeze.strategies import strategy_named
from unfreeze.tasks.classification import Classification

TASK = Classification(("a", "b"))
ARM = Arm("full", strategy_named("full"), (HeadSettings(),), (1e-4, 2e-5, 5e-4), TrainingSettings())
NAN = float("nan")


def counts(right: list[float]) -> np.ndarray:
    """One seed's counts; NaN where a run failed."""
    out = np.zeros((len(right), 8))
    for row, hit in zip(out, right, strict=True):
        row[:] = NAN if np.isnan(hit) else [hit, 1, hit, 1, 1, 0, 1 - hit, 0]
    return out


def an_outcome(right: list[list[float]], seconds: tuple[float, ...] = (1.0, 2.0)) -> ArmOutcome:
    scores = np.array([[float(np.mean(row))] for row in right])
    trials = [ARM.trial(HeadSettings(), 1e-4, seed=seed, fold=0) for seed in range(len(right))]
    records: list[dict[str, Any]] = [
        {
            "state": "diverged" if np.isnan(score).any() else "done",
            "scores": {"validation": {"accuracy": 0.5, "collapsed": True}, "test": {"accuracy": 0.25 * (1 + seed)}},
            "train_seconds": seconds[seed],
            "seconds": 10.0,
            "predict_seconds_per_example": 0.001 * (1 + seed),
            "trainable_parameters": 7,
            "stored_bytes": 28,
            "curve": [],
        }
        for seed, score in enumerate(scores)
    ]
    searched = ARM.trial(HeadSettings(), 5e-4, seed=0, fold=0)
    return ArmOutcome(
        ARM,
        tuning={trials[0]: 0.5, searched: NAN},
        chosen=trials[0],
        records={(seed, 0): record for seed, record in enumerate(records)},
        runs=RunScores(scores, np.stack([counts(row) for row in right]), 0.25),
        tried={searched: records[0] | {"state": "diverged"}} | dict(zip(trials, records, strict=True)),
    )


def test_a_row_says_scores_costs_and_what_was_tried() -> None:
    row = arm_row(an_outcome([[1, 1, 0, 1], [1, 0, 0, 1]]), TASK, steps_per_epoch=100)
    assert row["score"] == 0.625
    assert row["scores"] == [[0.75], [0.5]]
    assert row["interval"][0] <= 0.625 <= row["interval"][1]
    assert row["test"] == {"mean": 0.375, "runs": [0.25, 0.5]}
    assert row["train_seconds"] == 1.5
    assert row["total_seconds"] == 30.0, "the search costs too"
    assert row["predict_seconds_per_1000"] == 1.5
    assert [one["score"] for one in row["tuning"]] == [0.5, None]
    assert (row["runs"], row["collapsed_runs"], row["diverged_runs"]) == (2, 2, 0)
    assert row["source"].startswith("Devlin et al. 2019")
    assert json.dumps(row, allow_nan=False)


def test_a_trial_that_was_gone_on_with_costs_what_all_its_commands_took() -> None:
    outcome = an_outcome([[1, 1]] * 2, (1.0, 99.0))  # the second trained for 99 s, 10 s of them in the last command
    assert arm_row(outcome, TASK, steps_per_epoch=100)["total_seconds"] == 10.0 + 99.0 + 10.0


def test_a_row_tells_optimizer_and_loss_where_something_learns() -> None:
    row = arm_row(an_outcome([[1, 1]]), TASK, steps_per_epoch=100)
    told = {name: row["settings"][name] for name in ("optim", "label_smoothing_factor", "class_weights")}
    assert told == {"optim": "adamw", "label_smoothing_factor": 0.0, "class_weights": "none"}
    outcome = an_outcome([[1, 1]])
    outcome.arm = replace(ARM, strategy=strategy_named("untouched"))
    row = arm_row(outcome, TASK, steps_per_epoch=100)
    assert {row["settings"][name] for name in told} == {None}


def test_one_slow_run_does_not_make_an_arm_dear() -> None:
    outcome = an_outcome([[1, 1]] * 3, (1.0, 9.0, 1.2))
    assert arm_row(outcome, TASK, steps_per_epoch=100)["train_seconds"] == 1.2


def test_a_run_that_diverged_counts_and_is_counted() -> None:
    row = arm_row(an_outcome([[1, 1, 1, 1], [NAN] * 4]), TASK, steps_per_epoch=100)
    assert row["score"] == 0.5
    assert row["interval"][0] <= 0.5 <= row["interval"][1] + 1e-9
    assert row["scores"] == [[1.0], [None]]
    assert (row["runs"], row["diverged_runs"]) == (2, 1)
    assert json.dumps(row, allow_nan=False)


def test_a_row_without_any_whole_run_is_still_json() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row = arm_row(an_outcome([[NAN, NAN], [NAN, NAN]]), TASK, steps_per_epoch=100)
    assert row["score"] is None
    assert json.dumps(row, allow_nan=False)


def test_a_failed_arm_says_why_and_what_it_tried() -> None:
    outcome = an_outcome([[1, 1]])
    outcome.failed = "its loss became infinite under every setting tried"
    row = arm_row(outcome, TASK, steps_per_epoch=100)
    assert (row["state"], row["reason"], row["score"]) == ("failed", outcome.failed, None)
    assert len(row["tuning"]) == 2
    assert row["diverged_runs"] == 1
    assert row["total_seconds"] == 20.0


@pytest.mark.parametrize("kind", ["done", "failed", "dropped", "floor"])
def test_every_row_has_the_same_keys(kind: str) -> None:
    done = arm_row(an_outcome([[1, 0]]), TASK, steps_per_epoch=100)
    runs = RunScores(np.array([[0.5]]), counts([1, 0])[None], 0.25)
    outcome = ArmOutcome(ARM, failed="why")
    rows = {
        "done": done,
        "failed": arm_row(outcome, TASK, steps_per_epoch=1),
        "dropped": absent_row(ARM, "dropped", reason="does not fit"),
        "floor": floor_row(Floor("majority class", runs, None, 0.1), TASK),
    }
    assert rows[kind].keys() == done.keys()
    assert json.dumps(rows[kind], allow_nan=False)


def test_a_floors_test_score_is_shown_where_there_is_a_test_split() -> None:
    runs = RunScores(np.array([[0.5]]), counts([1, 0])[None], 0.25)
    row = floor_row(Floor("majority class", runs, counts([1, 1, 0, 0]), 0.1), TASK)
    assert row["test"] == {"mean": 0.5, "runs": [0.5]}
    assert row["score"] == 0.5
    assert row["floor"] is True


@pytest.mark.parametrize("name", ["scratch", "untouched", "full"])
def test_the_verdict_is_told_which_arms_are_floors(name: str) -> None:
    outcome = an_outcome([[1, 0]])
    outcome.arm = replace(ARM, name=name, strategy=strategy_named(name))
    for failed in (None, "why"):
        outcome.failed = failed
        assert _candidate(outcome, 100).floor is (name != "full")


def test_what_gates_decided_is_counted_over_runs() -> None:
    outcome = an_outcome([[1, 1, 0, 1], [1, 0, 0, 1], [1, 0, 1, 1]], (1.0, 1.0, 1.0))
    asked = {"start": 0.3, "opens": "layer 5", "stage": 1}
    for score, record in zip((0.7, 0.96, 0.8), outcome.records.values(), strict=True):
        opened = score < 0.95
        record["gates"] = [asked | {"opened": opened, "score": score, "because": "low" if opened else "reached"}]
        record["stored_bytes"] = 40 if opened else 4
    row = arm_row(outcome, TASK, steps_per_epoch=100)
    told = {"start": 0.3, "opens": "layer 5"}
    assert row["gates"] == [
        told | {"opened": True, "because": "low", "runs": 2, "of": 3, "scores": [0.7, 0.8]},
        told | {"opened": False, "because": "reached", "runs": 1, "of": 3, "scores": [0.96]},
    ]
    assert row["stored_bytes"] == 40, "what the run needs that opened the most"
    assert arm_row(an_outcome([[1, 1]]), TASK, steps_per_epoch=100)["gates"] == []
