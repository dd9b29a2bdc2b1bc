"""staged from its trials to the model handed over: each run decides, and what it decided is told."""

import json
from pathlib import Path
from typing import Any

import pytest

import unfreeze
from rows import QUICK, opinions, write_jsonl
from unfreeze.cli.showing import results

SETTINGS = {"num_train_epochs": 5, "patience": 4, "per_device_train_batch_size": 8, "learning_rate": 1e-3}
USUAL: dict[str, Any] = {"folds": 1, "seeds": 2, "tuning": 0, "settings": SETTINGS, **QUICK}


@pytest.mark.parametrize("target", [0.0, 9.0], ids=["reached at once", "never reached"])
def test_what_was_decided_is_in_the_record_the_report_and_the_table(
    target: float, tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    file, which = write_jsonl(tmp_path / "rows.jsonl", opinions(60)), f"staged:good=-9,examples=10,target={target}"
    strategies = (which, "untouched")
    made = unfreeze.compare(
        file, strategies=strategies, model=str(tiny_encoder_dir), output_dir=tmp_path / "o", **USUAL
    )
    opens = target > 1
    records = [json.loads(p.read_text()) for p in (made.folder / "trials").glob("staged-*/result.json")]
    assert len(records) == 2
    for record in records:
        assert [gate["opened"] for gate in record["gates"]] == ([True, True] if opens else [False])
        assert record["gates"][-1]["examples"] == 39
        assert record["epochs"] == (5 if opens else 2)
        assert (record["trainable_parameters"] < 0.1 * record["parameters"]) != opens, (
            "what did not open stays as it is"
        )
    arms = {arm["name"]: arm for arm in made.record["arms"]}
    (staged,) = (arm for name, arm in arms.items() if name.startswith("staged"))
    assert [gate["runs"] for gate in staged["gates"]] == [2] * len(records[0]["gates"])
    assert arms["untouched"]["gates"] == []
    did = "opened" if opens else "stayed frozen, and training ended there"
    assert f"{did} in 2 of 2 runs" in " ".join((made.folder / "report.html").read_text(encoding="utf-8").split())
    assert f"{'opened' if opens else 'not opened'} in 2 of 2 runs" in " ".join(results(made.record).split())
    assert made.record["handed_over"]["epochs"] <= (5 if opens else 2)
