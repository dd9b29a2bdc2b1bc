"""The last training of a comparison: the chosen way once more, on all rows that are not test."""

import json
from pathlib import Path

import pytest

import unfreeze
from commands import only_head
from rows import QUICK, compare_opinions, last_trainings, opinions, write_jsonl
from unfreeze import finishing


def test_the_model_handed_over_stops_at_the_epoch_that_was_best_and_keeps_the_schedule(
    tiny_encoder_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = last_trainings(monkeypatch)
    monkeypatch.setattr(finishing, "epochs_for_all_rows", lambda records: 2)
    settings = {"num_train_epochs": 5, "patience": 5, "per_device_train_batch_size": 16, "learning_rate": 3e-3}
    file = write_jsonl(tmp_path / "opinions.jsonl", opinions(60))
    made = compare_opinions(file, tiny_encoder_dir, tmp_path / "out", strategies=("full",), folds=1, settings=settings)
    ((trial, final),) = trained
    (row,) = (arm for arm in made.record["arms"] if arm["name"] == "full")
    assert trial.fold is None
    assert final.state.epoch == made.record["handed_over"]["epochs"] == 2
    assert trial.settings.num_train_epochs == row["settings"]["num_train_epochs"] == 5
    assert trial.settings.learning_rate == row["settings"]["learning_rate"]


def test_what_was_handed_over_as_it_was_is_trained_once_more_when_there_is_time(
    tiny_encoder_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"num_train_epochs": 2, "per_device_train_batch_size": 16, "learning_rate": 3e-3}
    file = write_jsonl(tmp_path / "opinions.jsonl", opinions(60))
    found = []
    for late in (True, True, False):
        monkeypatch.setattr(finishing.Finisher, "_too_late", lambda *_, late=late: late)
        made = compare_opinions(
            file, tiny_encoder_dir, tmp_path / "out", strategies=("full",), folds=1, settings=settings
        )
        found.append(made.record["handed_over"])
        assert set(made.best.predict(["a good film"])) <= {"neg", "pos"}
    assert [about["as_it_is"] for about in found] == [True, True, False]
    assert found[0] == found[1], "while it is too late nothing is done again"
    assert found[0]["rows"] == made.record["data"]["rows"]["train"] < found[2]["rows"]


def test_what_lora_learned_is_also_handed_over_apart(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    settings = {"num_train_epochs": 1, "per_device_train_batch_size": 16, "learning_rate": 1e-3}
    with only_head("standard"):
        made = unfreeze.compare(
            write_jsonl(tmp_path / "opinions.jsonl", opinions(60)),
            strategies=("lora:r=2", "untouched"),
            model=str(tiny_encoder_dir),
            output_dir=tmp_path / "out",
            folds=1,
            tuning=1,
            settings=settings,
            **QUICK,
        )
    made.best.save_pretrained(tmp_path / "copy")
    for folder in (tmp_path / "out" / "model", tmp_path / "copy"):
        assert json.loads((folder / "adapter" / "adapter_config.json").read_bytes())["r"] == 2
        size = (folder / "adapter" / "adapter_model.safetensors").stat().st_size
        assert size < (folder / "model.safetensors").stat().st_size / 4
    assert f'from_pretrained("{tiny_encoder_dir}", id2label=dict(enumerate(["neg", "pos"]))), "model/adapter")' in (
        tmp_path / "copy" / "README.md"
    ).read_text(encoding="utf-8")
