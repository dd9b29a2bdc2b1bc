"""The last training of a comparison: the chosen way once more, on all rows that are not test."""

from pathlib import Path
from typing import Any

import pytest

from rows import compare_opinions, opinions, write_jsonl
from unfreeze import finishing


def test_the_model_handed_over_stops_at_the_epoch_that_was_best_and_keeps_the_schedule(
    tiny_encoder_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, trained = finishing.train, []

    def spied(material: Any, trial: Any, **more: Any) -> Any:
        trained.append((trial, real(material, trial, **more)))
        return trained[-1][1]

    monkeypatch.setattr(finishing, "train", spied)
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
