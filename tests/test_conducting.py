"""Whole comparisons in this process, with a tiny encoder: going on, judging again, refusing, failing in part."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from rows import (
    MARKER,
    QUICK,
    Listening,
    compare_opinions,
    compared_opinions,
    compared_sentences,
    findings,
    opinions,
    write_jsonl,
)
from unfreeze import conducting, finishing
from unfreeze.compare import head_trials, planning, trials
from unfreeze.compare.lock import held
from unfreeze.compare.material import Sources
from unfreeze.compare.options import Options
from unfreeze.compare.pricing import Speed, outline_of
from unfreeze.compare.trials import Trained
from unfreeze.engine.heads import HeadRun
from unfreeze.engine.training import State
from unfreeze.errors import EncoderError, Interrupted, SettingsError, StorageError
from unfreeze.files import is_whole
from unfreeze.front import Comparison

QUICKER = {"num_train_epochs": 2, "per_device_train_batch_size": 16, "learning_rate": 1e-2}


@pytest.fixture
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp() / "finished"


@pytest.fixture
def finished(tiny_encoder_dir: Path, base: Path) -> Comparison:
    """Finished, and for reading only."""
    return compared_opinions(tiny_encoder_dir, base)


@pytest.fixture
def entities(tiny_encoder_dir: Path, base: Path) -> Comparison:
    """Finished, and for reading only."""
    return compared_sentences(tiny_encoder_dir, base)


@pytest.fixture
def file(finished: Comparison) -> Path:
    return finished.folder.parent / "opinions.jsonl"


@pytest.fixture
def copied(finished: Comparison, tmp_path: Path) -> Path:
    """A copy of the finished comparison's folder, to go on with."""
    return Path(shutil.copytree(finished.folder, tmp_path / "copied"))


def refused_constant(name: str) -> Any:
    raise AssertionError(f"{name} is no JSON")


def test_the_same_command_again_trains_nothing_and_finds_the_same(
    finished: Comparison, file: Path, copied: Path, tiny_encoder_dir: Path
) -> None:
    watcher = Listening()
    compare_opinions(file, tiny_encoder_dir, copied, watcher=watcher)
    assert watcher.begun == []
    assert findings(copied) == findings(finished.folder)
    assert is_whole(copied / "model")


def test_another_margin_judges_again_without_training_and_renews_the_card(
    finished: Comparison, file: Path, copied: Path, tiny_encoder_dir: Path
) -> None:
    watcher = Listening()
    again = compare_opinions(file, tiny_encoder_dir, copied, watcher=watcher, margin=0.25)
    assert watcher.begun == []
    assert again.record["recommendation"]["margin"] == 0.25
    assert again.record["handed_over"] == finished.record["handed_over"]
    cards = [(folder / "model" / "README.md").read_text(encoding="utf-8") for folder in (finished.folder, copied)]
    assert [re.findall(r"margin of a tie of\s+([\d.]+)\s+points", card) for card in cards] == [["1.0"], ["25.0"]]
    assert is_whole(copied / "model")


def test_test_labels_choose_nothing(tiny_encoder_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Equal scores are told apart by measured seconds.
    monkeypatch.setattr(conducting, "seconds_of_a_run", lambda records: float(len(records[0]["curve"])))
    rows = opinions(80)
    parts = {"train": rows[:40], "validation": rows[40:60], "test": rows[60:]}
    shuffled = [row | {"label": "neg" if row["label"] == "pos" else "pos"} for row in parts["test"]]
    found = []
    for name, test in (("true", parts["test"]), ("shuffled", shuffled)):
        (tmp_path / name).mkdir()
        files = {k: write_jsonl(tmp_path / name / f"{k}.jsonl", v) for k, v in (parts | {"test": test}).items()}
        sources = {"train": files["train"], "validation": files["validation"], "test": files["test"]}
        compare_opinions(None, tiny_encoder_dir, tmp_path / name / "out", **sources, settings=QUICKER, folds=None)  # type: ignore[arg-type]
        found.append(findings(tmp_path / name / "out"))
    honest, tainted = found
    for what in ("recommendation", "weights", "curves"):  # other curves may happen to choose the same epochs
        assert tainted[what] == honest[what], what
    assert tainted["handed over"]["weights_sha256"] == honest["handed over"]["weights_sha256"]
    assert tainted["handed over"]["test"] != honest["handed over"]["test"]
    for one, other in zip(honest["arms"], tainted["arms"], strict=True):
        assert one["test"] != other["test"]
        assert {k: v for k, v in one.items() if k != "test"} == {k: v for k, v in other.items() if k != "test"}


def test_a_stopped_comparison_goes_on_to_the_same_findings(
    finished: Comparison, file: Path, tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    out, begun = tmp_path / "out", []
    for most in (1, 3, None):
        watcher = Listening(most)
        if most is None:
            compare_opinions(file, tiny_encoder_dir, out, watcher=watcher)
        else:
            with pytest.raises(Interrupted, match="goes on from here"):
                compare_opinions(file, tiny_encoder_dir, out, watcher=watcher)
        begun += watcher.begun
    assert findings(out) == findings(finished.folder)
    assert len(begun) > len(set(begun)), "a stopped trial is begun a second time"


def test_a_crash_after_the_model_was_saved_ends_with_the_same_model(
    finished: Comparison, file: Path, copied: Path, tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = json.loads((copied / "comparison.json").read_text(encoding="utf-8"))
    stored["decisions"] = {k: v for k, v in stored["decisions"].items() if not k.startswith("handed over")}
    (copied / "comparison.json").write_text(json.dumps(stored), encoding="utf-8")
    (copied / ".model.1.part").mkdir()
    (copied / ".record.json.1.part").write_text("half", encoding="utf-8")

    def crash(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(finishing, "_files_of", crash)
        with pytest.raises(KeyboardInterrupt):
            compare_opinions(file, tiny_encoder_dir, copied)
    watcher = Listening()
    compare_opinions(file, tiny_encoder_dir, copied, watcher=watcher)
    assert len(watcher.begun) == 1
    assert findings(copied) == findings(finished.folder)
    assert [p.name for p in copied.iterdir() if p.name.startswith(".")] == [".lock"]
    assert not list((copied / "trials").glob("*final*")), "the checkpoint of a saved model is deleted"


def test_two_comparisons_in_one_folder_at_once_are_refused(file: Path, copied: Path, tiny_encoder_dir: Path) -> None:
    with held(copied), pytest.raises(SettingsError, match=rf"under way in this folder \(process {os.getpid()}\)"):
        compare_opinions(file, tiny_encoder_dir, copied)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_the_lock_of_a_killed_process_holds_nobody_up(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from unfreeze.compare.lock import held\n"
        "with held(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    with holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(SettingsError, match=f"process {holder.pid}"), held(tmp_path):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with held(tmp_path):
        assert (tmp_path / ".lock").read_text(encoding="ascii").strip() == str(os.getpid())


def test_the_folder_of_another_comparison_is_refused_and_says_what_differs(
    copied: Path, tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    other = write_jsonl(tmp_path / "other.jsonl", opinions(60))
    before = sorted(copied.rglob("*"))
    with pytest.raises(SettingsError, match=r"another comparison .*rows and splits") as refused:
        compare_opinions(other, tiny_encoder_dir, copied)
    assert refused.value.exit_code == 2
    assert sorted(copied.rglob("*")) == before


def test_other_threads_or_versions_are_another_comparison(file: Path, copied: Path, tiny_encoder_dir: Path) -> None:
    stored = json.loads((copied / "comparison.json").read_text(encoding="utf-8"))
    stored["identity"]["versions"]["torch"] = "1.0"
    stored["identity"]["runtime"]["precision"] = "bf16-matmul"
    (copied / "comparison.json").write_text(json.dumps(stored), encoding="utf-8")
    with pytest.raises(SettingsError, match=r"precision was bf16-matmul, is fp32; versions: torch was 1\.0, is"):
        compare_opinions(file, tiny_encoder_dir, copied)


def test_a_folder_of_somebody_elses_is_left_as_it_is(file: Path, tiny_encoder_dir: Path, tmp_path: Path) -> None:
    mine = tmp_path / "thesis"
    mine.mkdir()
    (mine / "chapter.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(SettingsError, match="holds no comparison"):
        compare_opinions(file, tiny_encoder_dir, mine)
    assert [p.name for p in mine.iterdir()] == ["chapter.txt"]


def test_a_comparison_json_that_is_not_ours_is_refused(file: Path, tiny_encoder_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "comparison.json").write_text("[1, 2]", encoding="utf-8")
    with pytest.raises(SettingsError, match="is no comparison of ours"):
        compare_opinions(file, tiny_encoder_dir, tmp_path)


@pytest.mark.parametrize("damage", ["outputs.safetensors", "result.json"])
def test_a_damaged_trial_is_said_and_run_again(
    finished: Comparison, file: Path, copied: Path, tiny_encoder_dir: Path, damage: str
) -> None:
    path = next((copied / "trials").glob(f"head-only-seed0-fold1-*/{damage}"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    watcher = Listening()
    compare_opinions(file, tiny_encoder_dir, copied, watcher=watcher)
    assert [said for said in watcher.sentences if "damaged" in said and path.parent.name in said]
    assert len(watcher.begun) == 1
    assert findings(copied) == findings(finished.folder)


def test_a_way_that_cannot_be_trained_fails_alone_and_by_name(
    file: Path, tiny_encoder_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise EncoderError("it has no linear head with a bias")

    monkeypatch.setattr(trials, "fit_class_means", refuse)
    watcher = Listening()
    made = compare_opinions(file, tiny_encoder_dir, tmp_path / "out", watcher=watcher, settings=QUICKER)
    rows = {row["name"]: row for row in made.record["arms"]}
    assert (rows["untouched"]["state"], rows["untouched"]["score"]) == ("failed", None)
    assert rows["untouched"]["reason"] == "it has no linear head with a bias"
    assert rows["full"]["state"] == rows["head-only"]["state"] == "done"
    assert [said for said in watcher.sentences if said.startswith("untouched gives no result: it has no linear")]
    assert ["untouched", "it has no linear head with a bias"] in made.record["recommendation"]["dropped"]
    assert made.record["handed_over"] is not None


def test_short_memory_fails_one_way_and_a_bug_of_ours_is_not_hidden(
    file: Path, tiny_encoder_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = iter(["DefaultCPUAllocator: can't allocate memory: you tried", "shapes do not fit"])

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError(next(messages))

    monkeypatch.setattr(trials, "fit_class_means", fail)
    watcher = Listening()
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        compare_opinions(file, tiny_encoder_dir, tmp_path / "out", watcher=watcher, strategies=("untouched",))
    assert watcher.begun == ["untouched: setting 1 of 3", "untouched: setting 2 of 3"]


def test_a_strategy_that_does_not_fit_the_encoder_is_refused_before_anything_is_written(
    file: Path, tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="k must lie between 1 and the encoder's 3 layers; got 99"):
        compare_opinions(file, tiny_encoder_dir, tmp_path / "out", strategies=("full", "last-k:k=99"))
    assert not (tmp_path / "out").exists()


def test_a_model_that_diverges_on_all_rows_is_not_handed_over(
    file: Path, copied: Path, tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = finishing.HeadTrials.train

    def diverging(*args: Any, **kwargs: Any) -> Trained | None:
        trained = real(*args, **kwargs)
        return trained and replace(trained, state=State(diverged="the loss became nan at step 3 of 9"))

    shutil.rmtree(copied / "model")
    monkeypatch.setattr(finishing.HeadTrials, "train", diverging)
    made = compare_opinions(file, tiny_encoder_dir, copied)
    assert made.record["handed_over"] is None
    assert "the loss became nan" in made.record["not_handed_over"]
    assert (copied / "report.html").is_file()
    assert not (copied / "model").exists()
    with pytest.raises(SettingsError, match="handed no model over"):
        _ = made.best


def test_the_model_handed_over_learns_from_all_rows_that_are_not_test_and_from_no_other(
    finished: Comparison, file: Path, copied: Path, tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []

    def spied(settings: Any, weight: Any, bias: Any, train: Any, validation: Any, score: Any) -> HeadRun:
        seen.append(list(train))
        assert list(validation) == []
        return HeadRun(settings, weight, bias, train, validation, score)

    shutil.rmtree(copied / "model")
    monkeypatch.setattr(head_trials, "HeadRun", spied)
    compare_opinions(file, tiny_encoder_dir, copied)
    (rows,) = seen
    data = finished.record["data"]["rows"]
    outputs = trials_outputs(finished.folder)
    assert set(rows).isdisjoint(outputs["test/examples"].tolist())
    assert sorted(rows) == sorted(set(range(data["all"])) - set(outputs["test/examples"].tolist()))
    assert finished.record["handed_over"]["rows"] == len(rows)


def trials_outputs(folder: Path) -> dict[str, np.ndarray]:
    return load_file(next((folder / "trials").glob("full-seed0-fold0-*/outputs.safetensors")))


def test_the_record_is_plain_json_and_holds_no_text_of_the_users(finished: Comparison) -> None:
    for name in ("record.json", "recommendation.json"):
        text = (finished.folder / name).read_text(encoding="utf-8")
        assert json.loads(text, parse_constant=refused_constant)
        assert MARKER not in text
    texts = [p for p in finished.folder.rglob("*") if p.suffix in {".json", ".html", ".md"}]
    assert [p.name for p in texts if MARKER in p.read_text(encoding="utf-8")] == []


def test_every_way_but_floors_gets_the_same_number_of_settings_to_try(
    tiny_encoder_dir: Path, file: Path, tmp_path: Path
) -> None:
    for tuning in (1, 2, 3, 5):
        options = Options(model=str(tiny_encoder_dir), tuning=tuning, output_dir=tmp_path / "o", threads=1)
        arms = conducting.Conductor(Sources(file), options).arms
        assert len({arm.tuning_trials for arm in arms if not arm.strategy.search.floor}) == 1
        assert {arm.tuning_trials for arm in arms if arm.name == "scratch"} == {1}
        assert all(head.layers <= 3 for arm in arms for head in arm.heads), "the tiny encoder has three layers"


def test_a_budget_said_to_do_does(
    file: Path, tiny_encoder_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timings = iter([0.02, 99.0])

    def slow(material: Any, arm: Any, *, runtime: Any) -> Speed:
        step = next(timings)
        return Speed(step / 3, step, outline_of(material, arm, runtime=runtime))

    monkeypatch.setattr(planning, "measure_speed", slow)
    settings = QUICKER | {"num_train_epochs": 1}
    with pytest.raises(SettingsError, match="too short for two ways") as short:
        compare_opinions(file, tiny_encoder_dir, tmp_path / "out", budget="5s", settings=settings)
    budget = re.search(r"--budget (\d+m) would do", str(short.value))
    assert budget is not None
    made = compare_opinions(file, tiny_encoder_dir, tmp_path / "out", budget=budget[1], settings=settings)
    states = {row["name"]: (row["state"], row["reason"]) for row in made.record["arms"]}
    assert states["full"][0] == states["head-only"][0] == "done"
    assert made.record["plan"]["total_seconds"] <= 60 * int(budget[1][:-1])


def test_entities_with_given_splits_are_compared_over_seeds(entities: Comparison) -> None:
    made = entities
    rows = {row["name"]: row for row in made.record["arms"]}
    assert made.record["data"]["rows"] == {"all": 90, "train": 50, "validation": 20, "test": 20}
    assert np.shape(rows["full"]["scores"]) == (2, 1)
    assert rows["head-only"]["score"] == pytest.approx(np.mean(rows["head-only"]["scores"]))
    assert made.record["handed_over"]["rows"] == 70
    assert made.record["handed_over"]["reload_check"] == {"equal": True, "largest_difference": 0.0}
    assert MARKER not in json.dumps(made.record)


def test_a_reload_check_that_fails_leaves_no_model_behind(
    file: Path, copied: Path, tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stopped, error in ((False, StorageError), (True, Interrupted)):
        watcher = Listening()

        def fail(*_: Any, watcher: Listening = watcher, stopped: bool = stopped, **__: Any) -> None:
            watcher.most = 0 if stopped else None
            raise StorageError("the saved model gives other logits after loading")

        monkeypatch.setattr(finishing, "check_reload", fail)
        shutil.rmtree(copied / "model", ignore_errors=True)
        with pytest.raises(error):
            compare_opinions(file, tiny_encoder_dir, copied, watcher=watcher)
        assert not (copied / "model").exists()


def test_threads_are_those_that_the_comparison_began_with(file: Path, copied: Path, tiny_encoder_dir: Path) -> None:
    made = compare_opinions(file, tiny_encoder_dir, copied, **(QUICK | {"threads": None}))
    assert made.record["runtime"]["threads"] == 1
