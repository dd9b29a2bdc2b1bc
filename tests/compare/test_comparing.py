"""How runs become scores: hand-made records in a real ledger, nothing trained."""

from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from rows import Listening
from unfreeze.compare import jobs
from unfreeze.compare.arms import Arm
from unfreeze.compare.comparing import Comparing, epochs_for_all_rows, tables_of
from unfreeze.compare.floors import floors_of
from unfreeze.compare.jobs import watch_for
from unfreeze.compare.ledger import Ledger
from unfreeze.compare.outcomes import ArmOutcome, score_of
from unfreeze.compare.recording import OUTPUTS, RESULT
from unfreeze.compare.standing import Purse
from unfreeze.compare.steward import Terms
from unfreeze.compare.trials import Trial
from unfreeze.data.example import Example
from unfreeze.data.splitting import Fold, Splits
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.engine.runtime import Runtime
from unfreeze.engine.settings import TrainingSettings
from unfreeze.errors import EncoderError, Interrupted, SettingsError
from unfreeze.files import publish_folder, write_bytes, write_json
from unfreeze.strategies import strategy_named
from unfreeze.tasks.classification import Classification

FOLDS = (Fold((1, 2, 4, 5, 6), (3, 0)), Fold((0, 2, 3, 5, 6), (1, 4)), Fold((0, 1, 3, 4), (2, 5, 6)))
TEXTS = [Example(f"text {i}", "ab"[i % 2]) for i in range(9)]
MATERIAL: Any = SimpleNamespace(
    task=Classification(("a", "b")), examples=TEXTS, splits=Splits(FOLDS, (7, 8), "by hand", ())
)
ARM = Arm("full", strategy_named("full"), (HeadSettings(),), (1e-4, 1e-3), TrainingSettings())


class Scripted:
    """Stands for training: each trial gets what ``states`` says, and is right on rows below ``known``."""

    def __init__(self, states: dict[tuple[float, int, int], Any]) -> None:
        self.states = states
        self.ran: list[Trial] = []

    def __call__(self, material: Any, trial: Trial, *, folder: Path, **_: Any) -> dict[str, Any]:
        self.ran.append(trial)
        fold = int(trial.fold or 0)
        state = self.states.get((trial.settings.learning_rate, trial.settings.seed, fold), "done")
        if isinstance(state, Exception):
            raise state
        rows = FOLDS[fold].validation
        counts = np.zeros((len(rows), 8))
        counts[:, 1] = 1
        counts[:, 0] = [row + trial.settings.seed < 4 for row in rows]
        score = float(counts[:, 0].mean())
        record = {"trial": asdict(trial), "state": state, "scores": {"validation": {"accuracy": score}}, "seconds": 2.0}

        def fill(into: Path) -> None:
            write_bytes(into / OUTPUTS, save({"validation/examples": np.array(rows), "validation/counts": counts}))
            write_json(into / RESULT, record)

        publish_folder(folder, fill)
        return record


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    scripted = Scripted({})
    monkeypatch.setattr(jobs, "run_trial", scripted)
    monkeypatch.setattr(jobs, "HeadTrials", lambda *_, **__: SimpleNamespace(run=lambda *_, **__: {}))
    return scripted


def made(tmp_path: Path, watcher: Listening | None = None) -> Comparing:
    ledger = Ledger(tmp_path / "out", {"a": 1})
    watcher = watcher or Listening()
    executor = jobs.InProcess(MATERIAL, ledger.trials, runtime=Runtime("cpu", 1, "fp32"), watcher=watcher)
    return Comparing(MATERIAL, ledger, executor=executor, watcher=watcher, seed=0)


def run(comparison: Comparing, arm: Arm, *, seeds: int = 1, folds: int = 1) -> ArmOutcome:
    terms = Terms(0, seeds, seeds, folds, steps_per_epoch=100, cuts=False)
    return comparison.race([arm], terms, margin=0.01).outcomes[arm.name]


def test_runs_are_put_together_by_example_seed_and_fold(script: Scripted, tmp_path: Path) -> None:
    comparison = made(tmp_path)
    outcome = run(comparison, ARM, seeds=2, folds=3)
    assert outcome.runs is not None
    assert tables_of(MATERIAL, Ledger(tmp_path / "out", {"a": 1})).rows(3) == [0, 1, 2, 3, 4, 5, 6]
    assert outcome.runs.counts[:, :, 0].tolist() == [[1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0, 0]]
    assert outcome.runs.scores.tolist() == [[1.0, 0.5, pytest.approx(1 / 3)], [0.5, 0.5, pytest.approx(1 / 3)]]
    assert outcome.runs.validation_share == 2 / 5
    assert sorted(outcome.records) == [(seed, fold) for seed in (0, 1) for fold in (0, 1, 2)]
    assert len(script.ran) == len(outcome.tried) == 2 + 5, "the search's best trial is the first run, and not run twice"


def test_seeds_and_folds_reach_the_trials(script: Scripted, tmp_path: Path) -> None:
    comparison = made(tmp_path)
    run(comparison, ARM, seeds=2, folds=2)
    given = {(t.settings.seed, t.fold) for t in script.ran}
    assert given == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert {t.settings.learning_rate for t in script.ran[2:]} == {1e-4}


def test_a_floor_is_run_with_one_seed(script: Scripted, tmp_path: Path) -> None:
    arm = replace(ARM, name="scratch", strategy=strategy_named("scratch"), rates=(1e-4,))
    comparison = made(tmp_path)
    outcome = run(comparison, arm, seeds=3, folds=2)
    assert {t.settings.seed for t in script.ran} == {0}
    assert outcome.runs is not None
    assert outcome.runs.scores.shape == (1, 2)


def test_a_run_that_diverged_is_nan_and_stays_on_record(script: Scripted, tmp_path: Path) -> None:
    script.states[1e-4, 1, 1] = "diverged"
    comparison = made(tmp_path)
    outcome = run(comparison, ARM, seeds=2, folds=2)
    assert outcome.runs is not None
    assert np.isnan(outcome.runs.scores).tolist() == [[False, False], [False, True]]
    lost = np.isnan(outcome.runs.counts).all(axis=2)
    assert lost.tolist() == [[False] * 4, [False, True, False, True]], "rows 1 and 4 are the second fold"
    assert np.isnan(outcome.runs.counts).any(axis=2).tolist() == lost.tolist()
    assert outcome.runs.failed_runs == 1
    assert outcome.failed is None


def test_settings_that_diverge_lose_the_search(script: Scripted, tmp_path: Path) -> None:
    script.states[1e-4, 0, 0] = "diverged"
    outcome = run(made(tmp_path), ARM)
    assert outcome.chosen is not None
    assert outcome.chosen.settings.learning_rate == 1e-3
    assert outcome.failed is None


def test_an_arm_that_always_diverges_fails_and_keeps_its_records(script: Scripted, tmp_path: Path) -> None:
    script.states |= {(rate, 0, 0): "diverged" for rate in ARM.rates}
    watcher = Listening()
    comparison = made(tmp_path, watcher)
    outcome = run(comparison, ARM, seeds=2, folds=2)
    assert outcome.failed == "its loss became infinite under every setting tried"
    assert outcome.runs is None
    assert len(outcome.tried) == len(script.ran) == 2
    assert watcher.sentences == ["full gives no result: its loss became infinite under every setting tried"]


def test_settings_that_cannot_be_trained_lose_to_those_that_can(script: Scripted, tmp_path: Path) -> None:
    script.states[1e-4, 0, 0] = EncoderError("no")
    outcome = run(made(tmp_path), ARM)
    assert outcome.failed is None
    assert outcome.chosen is not None
    assert outcome.chosen.settings.learning_rate == 1e-3
    script.states[1e-3, 0, 0] = EncoderError("nor this")
    assert run(made(tmp_path / "other"), ARM).failed == "no"


def test_an_error_in_a_later_run_fails_the_arm(script: Scripted, tmp_path: Path) -> None:
    script.states[1e-4, 1, 0] = MemoryError()
    comparison = made(tmp_path)
    outcome = run(comparison, ARM, seeds=2, folds=1)
    assert outcome.failed == "it needs more memory than this machine has free"
    assert outcome.runs is None


def test_interruption_is_no_failure(script: Scripted, tmp_path: Path) -> None:
    script.states[1e-4, 0, 0] = Interrupted("stopped")
    with pytest.raises(Interrupted):
        run(made(tmp_path), ARM)
    with pytest.raises(Interrupted, match="goes on from here"):
        run(made(tmp_path, Listening(-1)), ARM)


def test_decisions_that_rest_on_what_was_left_are_remembered(script: Scripted, tmp_path: Path) -> None:
    terms = Terms(0, 1, 1, 1, steps_per_epoch=100)
    short = made(tmp_path).race([ARM], terms, margin=0.01, purse=lambda _: Purse(0.0, {"full": 1.0}))
    again = made(tmp_path).race([ARM], terms, margin=0.01)
    assert again.story == short.story
    assert len(again.outcomes["full"].tuning) == len(script.ran) == 1


def test_floors_are_scored_on_the_same_folds() -> None:
    floors = {floor.name: floor for floor in floors_of(MATERIAL, folds=3, seed=0)}
    majority = floors["majority class"]
    assert majority.runs.counts.shape == (1, 7, 8)
    assert majority.runs.scores.shape == (1, 3)
    by_hand = []
    for fold in FOLDS:
        labels = [TEXTS[i].target for i in fold.train]
        often = max(sorted(set(labels)), key=labels.count)
        by_hand.append([(row, TEXTS[row].target == often) for row in fold.validation])
    expected = dict(pair for fold in by_hand for pair in fold)
    assert majority.runs.counts[0, :, 0].tolist() == [float(expected[row]) for row in range(7)]
    assert majority.runs.scores[0].tolist() == [np.mean([right for _, right in fold]) for fold in by_hand]
    assert majority.test is not None
    assert len(majority.test) == 2
    assert len(floors_of(MATERIAL, folds=1, seed=0)[0].runs.counts[0]) == 2


def test_floors_never_learn_from_the_rows_that_they_are_scored_on(monkeypatch: pytest.MonkeyPatch) -> None:
    real, learned = Classification.floors, []

    def spied(self: Classification, train: Any, examples: Any, *, seed: int) -> Any:
        learned.append(([e.text for e in train], [e.text for e in examples]))
        return real(self, train, examples, seed=seed)

    monkeypatch.setattr(Classification, "floors", spied)
    floors_of(MATERIAL, folds=3, seed=0)
    texts = [[[f"text {i}" for i in rows] for rows in (fold.train, fold.validation)] for fold in FOLDS]
    assert [[*pair] for pair in learned] == [*texts, [[f"text {i}" for i in range(7)], ["text 7", "text 8"]]]


def test_a_score_is_read_only_from_a_run_that_ended_well() -> None:
    good = {"state": "done", "scores": {"validation": {"accuracy": 0.75}, "test": {"accuracy": 0.1}}}
    assert score_of(good, "accuracy") == 0.75
    assert np.isnan(score_of(good | {"state": "diverged"}, "accuracy"))
    assert np.isnan(score_of(good | {"scores": {"test": {"accuracy": 0.1}}}, "accuracy"))


@pytest.mark.parametrize(
    ("best", "epochs"),
    [([3], 3), ([1, 2], 2), ([2, 2, 3], 2), ([2, 3, 3], 3), ([0, 0], 1), ([4, None, 6], 5), ([None], 1)],
)
def test_the_final_epochs_are_the_mean_of_the_runs_that_ended_well(best: list[int | None], epochs: int) -> None:
    records = [{"state": "diverged" if b is None else "done", "best_epoch": b or 0} for b in best]
    assert epochs_for_all_rows(records) == epochs


def test_the_seconds_between_checkpoints_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNFREEZE_CHECKPOINT_SECONDS", raising=False)
    assert watch_for(Listening(), "full").checkpoint_seconds == 60
    monkeypatch.setenv("UNFREEZE_CHECKPOINT_SECONDS", "0.5")
    assert watch_for(Listening(), "full").checkpoint_seconds == 0.5
    monkeypatch.setenv("UNFREEZE_CHECKPOINT_SECONDS", "soon")
    with pytest.raises(SettingsError, match="UNFREEZE_CHECKPOINT_SECONDS is a number of seconds; got 'soon'"):
        watch_for(Listening(), "full")


def test_the_last_training_is_as_long_as_the_runs_that_came_as_far_through_their_gates_as_most() -> None:
    def record(best: int, *opened: bool) -> dict[str, Any]:
        return {"state": "done", "best_epoch": best, "gates": [{"opened": one} for one in opened]}

    shut, half, whole = record(4, False), record(9, True, False), record(15, True, True)
    assert epochs_for_all_rows([shut, record(5, False), whole]) == 5
    assert epochs_for_all_rows([shut, half, whole, record(16, True, True)]) == 16
    assert epochs_for_all_rows([shut, whole]) == 4, "of two equally many the one that opened less"
    assert epochs_for_all_rows([{"state": "diverged", "best_epoch": 1}, half]) == 9
