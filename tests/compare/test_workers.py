"""Trials in processes of their own: the same results, and a lost process costs its trial only."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import unfreeze
from rows import Listening, findings, opinions
from unfreeze.compare import side_by_side, worker, workers
from unfreeze.compare.arms import Arm
from unfreeze.compare.jobs import InProcess, Job
from unfreeze.compare.material import Sources, prepare
from unfreeze.compare.memory import Peaks, Room
from unfreeze.compare.pricing import Speed
from unfreeze.compare.side_by_side import combined, most_workers
from unfreeze.compare.trials import Trial
from unfreeze.compare.worker import Payload
from unfreeze.compare.workers import Workers
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.encoders.loading import load_encoder
from unfreeze.encoders.outline import Outline
from unfreeze.engine.runtime import Runtime
from unfreeze.engine.settings import TrainingSettings
from unfreeze.errors import Interrupted, SettingsError
from unfreeze.strategies import strategy_named
from unfreeze.tasks import Columns

SETTINGS = TrainingSettings(num_train_epochs=2, per_device_train_batch_size=8, learning_rate=1e-3)
RUNTIME = Runtime("cpu", 1, "fp32")
ARM = Arm("full", strategy_named("full"), (HeadSettings(),), (1e-3,), SETTINGS)


@pytest.fixture(scope="module")
def material(tiny_encoder_dir: Path) -> Any:
    return prepare(Sources(pd.DataFrame(opinions(40))), load_encoder(str(tiny_encoder_dir)), columns=Columns())


def trial(strategy: str = "full", seed: int = 0, *, epochs: int = 2, layers: int = 1) -> Trial:
    head = HeadSettings() if layers == 1 else HeadSettings("mean", layers)
    return Trial(strategy, head, replace(SETTINGS, seed=seed, num_train_epochs=epochs, patience=epochs), 0)


def job(*trials: Trial) -> Job:
    return Job(trials[0].strategy, trials, "")


def test_trials_side_by_side_give_what_they_give_alone(material: Any, tmp_path: Path) -> None:
    jobs = [job(trial("full", 0)), job(trial("full", 1)), job(trial("head-only", 0), trial("head-only", 1))]
    jobs.append(job(trial(layers=99)))  # more layers than there are
    watcher = Listening()
    with Workers(2, Payload(material, tmp_path / "beside", RUNTIME, 60.0), watcher=watcher) as beside:
        answers: dict[Trial, Any] = {}
        waiting = list(jobs)
        while waiting or beside.busy:
            while waiting and beside.busy < beside.capacity:
                beside.submit(waiting.pop(0))
            answers |= beside.wait()[1]
    alone = InProcess(material, tmp_path / "alone", runtime=RUNTIME, watcher=Listening())
    for one in jobs:
        alone.submit(one)
        for asked, answer in alone.wait()[1].items():
            if isinstance(answer, str):
                assert answers[asked] == answer
                assert "layers" in answer
                continue
            for key in ("weights_sha256", "scores", "curve", "best_epoch"):
                assert answers[asked][key] == answer[key], key
            assert (tmp_path / "beside" / asked.key / "result.json").exists()
    assert len(answers) == 5


class Killing(Listening):
    """Kills the process that reports progress, so many times."""

    def __init__(self, executor: list[Workers], times: int) -> None:
        super().__init__()
        self.executor, self.times = executor, times

    def progressed(self, arm: str, fraction: float) -> None:
        if self.times:
            self.times -= 1
            busy = next(w for w in self.executor[0]._state.workers.values() if w.job is not None)
            os.kill(busy.process.pid, signal.SIGKILL)


@pytest.mark.skipif(os.name != "posix", reason="kills a process by a signal")
@pytest.mark.parametrize("times", [1, 2])
def test_a_killed_process_costs_its_trial_once_and_then_for_good(
    times: int, material: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor: list[Workers] = []
    watcher = Killing(executor, times)
    long = trial(epochs=60)
    with Workers(1, Payload(material, tmp_path, RUNTIME, 60.0), watcher=watcher) as beside:
        executor.append(beside)
        beside.submit(job(long))
        answer = beside.wait()[1][long]
        assert watcher.sentences == ["a process that trained full was ended from outside; its trial is run once more"]
        if times == 1:
            assert answer["state"] == "done"
        else:
            assert answer == workers.LOST
            short = trial(epochs=1)
            beside.submit(job(short))  # what comes after goes on
            assert beside.wait()[1][short]["state"] == "done"


def test_processes_that_cannot_be_had_are_done_without(
    material: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers.sys, "executable", "false")  # ends at once
    watcher, alone = Listening(), speed(1.0)
    made = side_by_side.calibrated(
        Payload(material, tmp_path, RUNTIME, 60.0), ARM, alone=alone, number=2, watcher=watcher
    )
    assert (made.workers, made.speed) == (1, alone)
    assert "ended at once (exit code 1)" in watcher.sentences[0]
    assert watcher.sentences[0].endswith("It goes on in this process alone.")
    assert list(tmp_path.iterdir()) == [], "nothing of the user's stays"


@pytest.mark.skipif(os.name != "posix", reason="kills a process by a signal")
def test_a_process_that_is_killed_while_it_waits_costs_nothing(material: Any, tmp_path: Path) -> None:
    watcher, long = Listening(), trial(epochs=30)
    with Workers(2, Payload(material, tmp_path, RUNTIME, 60.0), watcher=watcher) as beside:
        beside.submit(job(long))
        while not all(one.ready for one in beside._state.workers.values()):
            assert beside._listen_once() is None
        idle = next(one for one in beside._state.workers.values() if one.job is None)
        os.kill(idle.process.pid, signal.SIGKILL)
        assert beside.wait()[1][long]["state"] == "done"
        while beside.capacity > 1:
            beside._listen_once()
    assert watcher.sentences == ["a process that waited was ended from outside; it goes on with 1"]


class Odd(Exception):
    """As other packages have them: built from other arguments than its text."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


def test_an_error_that_cannot_be_built_again_arrives_in_words() -> None:
    kept = worker._sendable(ValueError("a value"))
    assert (type(kept), str(kept)) == (ValueError, "a value")
    told = worker._sendable(Odd("two", "words"))
    assert (type(told), "two words" in str(told)) == (RuntimeError, True)


def room(processes: int, *, given: bool) -> Room:
    return Room(1000 + 100 * processes, given, 1000, {"full": 100})


def test_more_processes_than_the_memory_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "usable_cores", lambda: 2)
    for given, word in ((True, "given"), (False, "free")):
        side_by_side.check_workers(3, room(3, given=given))
        with pytest.raises(SettingsError, match=f"--workers 4: the {word} memory holds 3 processes"):
            side_by_side.check_workers(4, room(3, given=given))
    with pytest.raises(SettingsError, match="holds 1 process that train"):
        side_by_side.check_workers(2, room(1, given=True))
    side_by_side.check_workers(2, room(1, given=False))  # as many as there are cores may always be tried
    side_by_side.check_workers(1, room(1, given=True))
    side_by_side.check_workers(99, Room(None, False, 0, {}))


class Stopping(Listening):
    def __init__(self) -> None:
        super().__init__()
        self.now = False

    def progressed(self, arm: str, fraction: float) -> None:
        self.now = True

    def stop(self) -> bool:
        return self.now


def test_an_end_asked_for_leaves_a_checkpoint(material: Any, tmp_path: Path) -> None:
    long = trial(epochs=200)
    with Workers(1, Payload(material, tmp_path, RUNTIME, 60.0), watcher=Stopping()) as beside:
        beside.submit(job(long))
        with pytest.raises(Interrupted, match="goes on from here"):
            beside.wait()
    assert not (tmp_path / long.key / "result.json").exists()
    assert any((tmp_path / long.key).iterdir())


def test_a_whole_comparison_runs_in_two_processes_also_when_it_is_gone_on_with(
    tiny_encoder_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"strategies": ("full", "head-only"), "folds": 1, "seeds": 2, "tuning": 0}
    options |= {"settings": {"num_train_epochs": 1}, "model": str(tiny_encoder_dir), "output_dir": tmp_path / "out"}
    options |= {"workers": 2, "precision": "fp32", "budget": None}
    made = unfreeze.compare(pd.DataFrame(opinions(60)), **options)
    assert len(findings(made.folder)["weights"]) == 4
    records = [json.loads(p.read_text(encoding="utf-8")) for p in made.folder.glob("trials/*/result.json")]
    assert {record["runtime"]["threads"] for record in records} == {1}
    assert (made.folder / "model" / "config.json").is_file()
    monkeypatch.setattr("unfreeze.conducting.InProcess", lambda *_, **__: pytest.fail("it forgot its processes"))
    again = unfreeze.compare(pd.DataFrame(opinions(60)), **options | {"workers": None})
    assert again.verdict == made.verdict


def speed(step: float) -> Speed:
    return Speed(step / 4, step, Outline((), (), (), (), (), {}, "", ""))


def test_processes_are_as_fast_together_as_their_sum() -> None:
    together = combined([speed(2.0), speed(2.0)])
    assert together.step == pytest.approx(side_by_side.UNEVEN)
    assert together.forward == pytest.approx(side_by_side.UNEVEN / 4)


def test_processes_take_as_much_memory_as_the_largest_of_them() -> None:
    some = [replace(speed(2.0), peaks=peaks) for peaks in (Peaks(1, 5, 3, 9), None, Peaks(2, 4, 6, 8))]
    assert combined(some).peaks == Peaks(2, 5, 6, 9)
    assert combined([speed(2.0)]).peaks is None


def test_no_more_processes_are_started_than_memory_and_cores_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "usable_cores", lambda: 8)
    assert most_workers(Room(None, False, 0, {})) == 8
    assert [most_workers(room(number, given=True)) for number in (0, 4, 50)] == [1, 4, 8]
