"""A calibrated way from its trials to the model handed over: temperatures are fitted, carried on, and told."""

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unfreeze
from rows import QUICK, compare_opinions, last_trainings, opinions, sentences, write_conll, write_jsonl
from unfreeze.compare.comparing import temperature_for_all_rows
from unfreeze.compare.trials import Trial
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.engine.calibration import HIGHEST, LOWEST
from unfreeze.engine.settings import TrainingSettings
from unfreeze.errors import SettingsError

SETTINGS = {"num_train_epochs": 4, "patience": 4, "per_device_train_batch_size": 8, "learning_rate": 2e-3}


def records_of(folder: Path, name: str) -> list[dict[str, Any]]:
    found = sorted((folder / "trials").glob(f"{name}-*/result.json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in found]


def arm_of(made: unfreeze.Comparison, name: str) -> dict[str, Any]:
    return next(arm for arm in made.record["arms"] if arm["name"] == name)


def test_runs_tell_what_calibrating_did_and_the_model_handed_over_has_their_median_temperature(
    tiny_encoder_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = last_trainings(monkeypatch)
    file = write_jsonl(tmp_path / "opinions.jsonl", opinions(90, hard=0.4))
    usual: dict[str, Any] = {"strategies": ("lp-ft", "untouched"), "tuning": 0, "settings": SETTINGS}
    made = compare_opinions(file, tiny_encoder_dir, tmp_path / "out", **usual)
    ((trial, final),) = trained
    records = records_of(made.folder, "lp-ft")
    assert len(records) == 2
    for record in records:
        found = record["calibration"]
        assert found["fitted"]
        assert LOWEST <= found["temperature"] <= HIGHEST
        assert found["targets"] > 10
        assert 0 <= found["error_after"] <= 1
        assert 0 <= found["error_before"] <= 1
    assert [record["calibration"] for record in records_of(made.folder, "untouched")] == [None, None]
    assert arm_of(made, "lp-ft")["calibration"]["runs"] == 2
    assert arm_of(made, "untouched")["calibration"] is None
    expected = statistics.median(record["calibration"]["temperature"] for record in records)
    assert trial.settings.temperature == expected == arm_of(made, "lp-ft")["calibration"]["temperature"]
    assert (final.calibration.temperature, final.calibration.fitted) == (expected, False)
    about = made.record["handed_over"]
    assert about["calibration"]["temperature"] == expected
    assert about["reload_check"]["equal"], "it is a standard class, saved as it is"
    assert 0 <= about["calibration"]["error_after"] <= 1
    said = f"logits divided by {expected:.3g}; expected calibration error on"
    assert f"Its probabilities were calibrated: {said} test rows" in (made.folder / "model" / "README.md").read_text()
    assert f"{said} validation rows" in (made.folder / "report.html").read_text(encoding="utf-8")
    assert set(made.best.predict(["a good film"])) <= {"neg", "pos"}


def test_nested_runs_take_the_temperature_of_their_own_search(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "opinions.jsonl", opinions(60, hard=0.4))
    usual: dict[str, Any] = {"strategies": ("lp-ft",), "tuning": 0, "nested": True, "settings": SETTINGS}
    made = compare_opinions(file, tiny_encoder_dir, tmp_path / "out", **usual)
    records = records_of(made.folder, "lp-ft")
    searched = {r["calibration"]["temperature"] for r in records if r["trial"]["settings"]["stop_after"] is None}
    runs = [r for r in records if r["trial"]["settings"]["stop_after"] is not None]
    assert len(runs) == 2
    for record in runs:
        assert record["calibration"]["temperature"] == record["trial"]["settings"]["temperature"]
        assert record["calibration"]["temperature"] in searched
        assert not record["calibration"]["fitted"]
        assert record["calibration"]["error_before"] is not None, "counted on rows that fitted nothing"


def test_entities_are_calibrated_over_the_first_tokens_of_words(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    every = sentences(48)
    parts = {"train": every[:32], "validation": every[32:]}
    files = {name: write_conll(tmp_path / f"{name}.conll", rows) for name, rows in parts.items()}
    usual: dict[str, Any] = {"strategies": ("lp-ft",), "seeds": 1, "tuning": 0, "settings": SETTINGS}
    made = unfreeze.compare(**files, model=str(tiny_encoder_dir), output_dir=tmp_path / "out", **usual, **QUICK)
    words = sum(len(sentence) for sentence in parts["validation"])
    assert {record["calibration"]["targets"] for record in records_of(made.folder, "lp-ft")} == {words}


def test_the_temperature_for_all_rows_is_the_median_of_those_there_are() -> None:
    def record(temperature: float | None) -> dict[str, Any]:
        return {"calibration": None if temperature is None else {"temperature": temperature}}

    assert temperature_for_all_rows([record(1.0), record(9.0), record(None), record(2.0)]) == 2.0
    assert temperature_for_all_rows([record(1.0), record(2.0)]) == 1.5
    assert temperature_for_all_rows([record(None), {}]) is None


def test_a_temperature_is_no_setting_that_users_choose(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="temperature must be above 0"):
        TrainingSettings(temperature=0.0)
    trial = Trial("lp-ft", HeadSettings(), TrainingSettings(temperature=2.0), 0)
    assert np.isclose(trial.stopped_after(3, temperature=1.5).settings.temperature or 0, 1.5)
    assert trial.stopped_after(3).settings.temperature is None
    file = write_jsonl(tmp_path / "opinions.jsonl", opinions(40))
    with pytest.raises(unfreeze.UnfreezeError, match="no training setting named 'temperature'"):
        compare_opinions(file, tiny_encoder_dir, tmp_path / "out", settings={"temperature": 2.0})
