"""What a record says of the commands that made it: their time added up, and where the encoder came from."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest

from rows import Listening, compare_opinions, opinions, write_jsonl
from unfreeze import conducting
from unfreeze.compare import budget
from unfreeze.encoders.loading import EMBEDDED_NAME, load_encoder
from unfreeze.errors import Interrupted, SettingsError

SETTINGS = {"num_train_epochs": 1, "per_device_train_batch_size": 16, "learning_rate": 1e-2}
SHORT = {"settings": SETTINGS, "folds": 1, "strategies": ("head-only", "untouched")}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Sixty opinions."""
    return write_jsonl(tmp_path / "opinions.jsonl", opinions(60))


def goes_of(folder: Path) -> list[float]:
    stored = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    seconds: list[float] = stored["decisions"]["seconds of each go"]
    return seconds


def test_the_time_of_every_go_is_added_up(
    file: Path, tiny_encoder_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()
    monkeypatch.setattr(budget.time, "perf_counter", lambda: float(next(clock)))
    with pytest.raises(Interrupted):
        compare_opinions(file, tiny_encoder_dir, tmp_path / "out", watcher=Listening(1), **SHORT)
    (first,) = goes_of(tmp_path / "out")
    again = compare_opinions(file, tiny_encoder_dir, tmp_path / "out", **SHORT)
    both = goes_of(tmp_path / "out")
    assert both[0] == first > 0
    assert (again.record["goes"], again.record["seconds"]) == (2, sum(both))
    assert sum(both) > first
    assert "Took: " in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert " in 2 goes." in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_killed_go_has_left_the_time_of_its_finished_arms(
    file: Path, tiny_encoder_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """Nothing runs after it, as after a kill."""

    def kill(*_: object, **__: object) -> None:
        left.extend(goes_of(tmp_path / "out"))
        raise Killed

    left: list[float] = []
    monkeypatch.setattr(conducting, "floors_of", kill)
    with pytest.raises(Killed):
        compare_opinions(file, tiny_encoder_dir, tmp_path / "out", **SHORT)
    assert len(left) == 1
    assert left[0] > 0


def test_one_go_is_one_and_a_command_that_was_refused_its_budget_is_none(
    file: Path, tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="too short"):
        compare_opinions(file, tiny_encoder_dir, tmp_path / "out", budget=0.001, **SHORT)
    once = compare_opinions(file, tiny_encoder_dir, tmp_path / "out", **SHORT)
    assert (once.record["goes"], once.record["seconds"]) == (1, goes_of(tmp_path / "out")[0])
    assert once.record["encoder"]["hub_id"] is None
    assert "base_model" not in (once.folder / "model" / "README.md").read_text(encoding="utf-8")


def test_an_encoder_has_its_name_on_the_hub_unless_it_is_a_local_folder(
    tiny_encoder_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load_encoder(str(tiny_encoder_dir))
    monkeypatch.chdir(tiny_encoder_dir.parent)
    for local in (str(tiny_encoder_dir), tiny_encoder_dir.name, f"./{tiny_encoder_dir.name}"):
        assert replace(encoder, name=local).hub_id is None
    monkeypatch.chdir(tmp_path)
    assert replace(encoder, name=tiny_encoder_dir.name).hub_id == tiny_encoder_dir.name
    assert replace(encoder, name="owner/name").hub_id == "owner/name"
    assert replace(encoder, name=EMBEDDED_NAME).hub_id == "sentence-transformers/all-MiniLM-L6-v2"
