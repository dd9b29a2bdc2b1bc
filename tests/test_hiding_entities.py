"""entity-mask from its trials to the model handed over: what is told of it; nothing of its second head stays."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

import unfreeze
from rows import QUICK, sentences, write_conll
from unfreeze import finishing
from unfreeze.cli import main
from unfreeze.errors import Interrupted
from unfreeze.export.handing_over import load_model

SETTINGS = {"num_train_epochs": 4, "patience": 4, "per_device_train_batch_size": 8, "learning_rate": 2e-3}


def test_what_was_hidden_is_told_and_the_model_handed_over_has_no_second_head(
    tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    file = write_conll(tmp_path / "rows.conll", sentences(60))
    usual: dict[str, Any] = {"folds": 1, "seeds": 1, "tuning": 0, "settings": SETTINGS, **QUICK}
    which = ("entity-mask", "untouched")
    made = unfreeze.compare(file, strategies=which, model=str(tiny_encoder_dir), output_dir=tmp_path / "out", **usual)
    arms = {arm["name"]: arm for arm in made.record["arms"]}
    found = arms["entity-mask"]["masked"]
    assert found["new_head"]
    assert found["tokens"] > 5
    assert found["loss"] < found["loss_before"]
    assert arms["untouched"]["masked"] is None
    page = (made.folder / "report.html").read_text(encoding="utf-8")
    assert "hidden tokens of validation rows were predicted at a perplexity of" in page
    assert "brings no masked-language-model head" in page
    with safe_open(made.folder / "model" / "model.safetensors", framework="pt") as saved:
        names = set(saved.keys())
    assert names
    assert not [name for name in names if "masked" in name or "predictions" in name]
    (record,) = (json.loads(p.read_text()) for p in (made.folder / "trials").glob("entity-mask-*/result.json"))
    assert record["stored_bytes"] == 4 * record["parameters"]
    assert record["trainable_parameters"] > record["parameters"], "while it is trained there is a second head"
    assert made.best.predict(["Anna Berg works in Oslo"])


def test_stopped_in_its_last_training_the_best_model_so_far_has_no_second_head_either(
    tiny_encoder_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any, **__: Any) -> Any:
        raise Interrupted("stopped")

    monkeypatch.setattr(finishing, "train", stopped)
    file = write_conll(tmp_path / "rows.conll", sentences(60))
    usual: dict[str, Any] = {"folds": 1, "seeds": 1, "tuning": 0, "settings": SETTINGS, **QUICK}
    which, out = ("entity-mask", "untouched"), tmp_path / "out"
    with pytest.raises(Interrupted):
        unfreeze.compare(file, strategies=which, model=str(tiny_encoder_dir), output_dir=out, **usual)
    with safe_open(out / "model" / "model.safetensors", framework="pt") as saved:
        assert not [name for name in saved.keys() if "masked" in name or "predictions" in name]  # noqa: SIM118
    assert load_model(out / "model").predict(["Anna Berg works in Oslo"]) is not None


def test_a_plan_says_what_its_stages_minimise(
    tiny_encoder_dir: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "260")
    file = write_conll(tmp_path / "rows.conll", sentences(60))
    command = ["compare", str(file), "--strategies", "full,entity-mask", "--model", str(tiny_encoder_dir), "--dry-run"]
    assert main([*command, "--budget", "none", "--threads", "1"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "masked-language-model head; minimises" in said
    assert "0.1 ×" in said
