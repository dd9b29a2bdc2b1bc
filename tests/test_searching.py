"""Comparisons whose settings are drawn or listed, from the rows to the record, with a tiny encoder."""

import json
from pathlib import Path
from typing import Any

import pytest

from commands import say
from rows import Listening, compare_opinions, findings, opinions, write_jsonl
from unfreeze.errors import Interrupted

SETTINGS = {"num_train_epochs": [2, 4], "learning_rate": 1e-2, "patience": 4}
SHORT: dict[str, Any] = {"strategies": ("full", "head-only"), "folds": 1, "seeds": 1, "settings": SETTINGS}


def test_a_drawn_search_that_was_stopped_goes_on_to_the_same_findings(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "opinions.jsonl", opinions(60))
    drawn = SHORT | {"search": "tpe", "trials": 6}
    whole = compare_opinions(file, tiny_encoder_dir, tmp_path / "whole", **drawn)
    with pytest.raises(Interrupted):
        compare_opinions(file, tiny_encoder_dir, tmp_path / "parts", watcher=Listening(5), **drawn)
    compare_opinions(file, tiny_encoder_dir, tmp_path / "parts", **drawn)
    assert findings(tmp_path / "parts") == findings(tmp_path / "whole")
    arms = [arm for arm in whole.record["arms"] if arm["tuning"]]
    assert [(arm["tuning_trials"], len(arm["tuning"])) for arm in arms] == [(6, 6), (6, 6)]
    assert {trial["num_train_epochs"] for arm in arms for trial in arm["tuning"]} == {2, 4}
    assert len({trial["per_device_train_batch_size"] for arm in arms for trial in arm["tuning"]}) > 1
    assert whole.record["settings"]["search"] == "tpe"
    page = (whole.folder / "report.html").read_text(encoding="utf-8")
    assert "had the same budget: 6 trials at the most, of settings drawn from its own ranges" in page
    assert '<th scope="col" class="number">Batch size</th>' in page


def test_a_listed_grid_is_tried_whole_and_the_plan_says_how_many_trials(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "opinions.jsonl", opinions(60))
    command: list[Any] = ["compare", file, "--model", tiny_encoder_dir, "--strategies", "full", "--folds", "1"]
    command += ["--set", "learning_rate=0.001,0.01", "--set", "num_train_epochs=1,2", "--output-dir", tmp_path / "out"]
    command += ["--threads", "1"]
    plan = json.loads(say(*command, "--dry-run", "--json").out)
    assert (plan["search"], [arm["tuning_trials"] for arm in plan["arms"]]) == ("grid", [5])
    said = say(*command, "--seeds", "1", "--quiet")
    assert said.code == 0, said.err
    record = json.loads((tmp_path / "out" / "record.json").read_text(encoding="utf-8"))
    tried = next(arm["tuning"] for arm in record["arms"] if arm["name"] == "full")
    points = [(trial["learning_rate"], trial["num_train_epochs"]) for trial in tried]
    assert sorted(points[1:]) == [(0.001, 1), (0.001, 2), (0.01, 1), (0.01, 2)]
    assert record["settings"]["learning_rate"] == [0.001, 0.01]


def test_a_dry_run_tells_how_settings_are_drawn(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "opinions.jsonl", opinions(60))
    said = say(
        "compare", file, "--model", tiny_encoder_dir, "--search", "tpe", "--trials", "7", "--threads", "1", "--dry-run"
    )
    words = " ".join(said.out.split())
    assert "Settings are drawn by TPE from each way's own ranges." in words
    assert "7 trials" in words
    assert "3e-5 to 0.0003" in words
