"""A trial is in the ledger whole, or it is not there."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from unfreeze.compare.ledger import Ledger, opened, stored_identity
from unfreeze.compare.recording import OUTPUTS, RESULT
from unfreeze.compare.trials import Trial
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.engine.settings import TrainingSettings
from unfreeze.errors import SettingsError, StorageError
from unfreeze.files import publish_folder, write_bytes, write_json

TRIAL = Trial("full", HeadSettings(), TrainingSettings(learning_rate=1.1e-4), 0)
IDENTITY = {"rows_and_splits": "a", "encoder": "b", "runtime": {"threads": 1, "precision": "fp32"}}


def store(ledger: Ledger, trial: Trial, **more: Any) -> dict[str, Any]:
    from dataclasses import asdict

    record = {"trial": asdict(trial), "state": "done"} | more

    def fill(into: Path) -> None:
        write_bytes(into / OUTPUTS, save({"validation/counts": np.arange(4.0)}))
        write_json(into / RESULT, record)

    publish_folder(ledger.folder_of(trial), fill)
    return record


def test_a_stored_trial_is_read_back(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "new", IDENTITY)
    assert ledger.record(TRIAL) is None
    record = store(ledger, TRIAL)
    again = Ledger(tmp_path / "new", IDENTITY)
    assert again.record(TRIAL) == json.loads(json.dumps(record))
    assert again.outputs(TRIAL)["validation/counts"].tolist() == [0, 1, 2, 3]
    assert not again.is_damaged(TRIAL)


@pytest.mark.parametrize("name", [RESULT, OUTPUTS, "manifest.json"])
@pytest.mark.parametrize("how", ["cut", "flipped", "gone"])
def test_damage_to_any_file_of_a_trial_is_seen(tmp_path: Path, name: str, how: str) -> None:
    ledger = Ledger(tmp_path, IDENTITY)
    store(ledger, TRIAL)
    path = ledger.folder_of(TRIAL) / name
    content = path.read_bytes()
    path.unlink()
    if how != "gone":
        place = content.index(b'"files"') if name == "manifest.json" else len(content) // 2
        flipped = bytes([*content[:place], content[place] ^ 1, *content[place + 1 :]])
        path.write_bytes(content[:place] if how == "cut" else flipped)
    assert ledger.record(TRIAL) is None
    assert ledger.is_damaged(TRIAL) == (ledger.folder_of(TRIAL) / RESULT).exists()


def test_a_record_under_another_trials_name_is_not_believed(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, IDENTITY)
    other = TRIAL.stopped_after(2)
    store(ledger, other)
    ledger.folder_of(other).rename(ledger.folder_of(TRIAL))
    assert ledger.record(TRIAL) is None


def test_decisions_last(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, IDENTITY)
    assert ledger.decision("plan") is None
    ledger.decide("plan", {"seeds": 3})
    ledger.decide("speed", 0.5)
    again = Ledger(tmp_path, IDENTITY)
    assert (again.decision("plan"), again.decision("speed")) == ({"seeds": 3}, 0.5)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"rows_and_splits": "z"}, "it differs in: rows and splits)"),
        ({"encoder": "z", "rows_and_splits": "z"}, "it differs in: encoder; rows and splits)"),
        ({"runtime": {"threads": 4, "precision": "fp32"}}, "runtime: threads was 1, is 4)"),
    ],
)
def test_another_identity_is_refused_and_nothing_is_written(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    Ledger(tmp_path, IDENTITY)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(SettingsError) as refused, opened(tmp_path, IDENTITY | changed):
        pass
    assert said in str(refused.value)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_what_killed_processes_left_is_swept_away(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, IDENTITY)
    store(ledger, TRIAL)
    (tmp_path / "trials" / f".{TRIAL.key}.77.part").mkdir()
    (tmp_path / "trials" / f".{TRIAL.key}.77.old").mkdir()
    (tmp_path / ".model.77.old").mkdir()
    (tmp_path / ".comparison.json.77.part").write_text("{", encoding="utf-8")
    swept = Ledger(tmp_path, IDENTITY)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["comparison.json", "trials"]
    assert [p.name for p in (tmp_path / "trials").iterdir()] == [TRIAL.key]
    assert swept.record(TRIAL) is not None
    swept.forget(TRIAL)
    assert list((tmp_path / "trials").iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    with pytest.raises(SettingsError, match="holds no comparison"), opened(tmp_path / "out", IDENTITY):
        pass


def test_a_torn_identity_is_told_plainly(tmp_path: Path) -> None:
    (tmp_path / "comparison.json").write_text('{"identity": {', encoding="utf-8")
    with pytest.raises(StorageError, match=r"comparison\.json: cannot be read"):
        stored_identity(tmp_path)
