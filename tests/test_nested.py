"""Whole comparisons with nested choices: no row scores a model whose settings it has helped to choose."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rows import QUICK, Listening, compare_opinions, findings, opinions, sentences, write_conll, write_jsonl
from unfreeze.cli.main import main
from unfreeze.compare.head_trials import HeadTrials
from unfreeze.compare.material import Material, Sources, prepare
from unfreeze.compare.options import Options
from unfreeze.compare.trials import Trial, run_trial
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.encoders.loading import load_encoder
from unfreeze.engine.runtime import Runtime
from unfreeze.engine.settings import TrainingSettings
from unfreeze.engine.training import Watch
from unfreeze.errors import Interrupted
from unfreeze.tasks import Columns

RUNTIME = Runtime("cpu", 1, "fp32")
SHORT = {"num_train_epochs": 3, "per_device_train_batch_size": 16, "learning_rate": [1e-2, 1e-3]}


def nested_opinions(file: Any, encoder: Path, folder: Path, **more: Any) -> Any:
    usual = {"nested": True, "settings": SHORT, "folds": 3, "strategies": ("full", "head-only")}
    return compare_opinions(file, encoder, folder, **(usual | more))


def trials_in(folder: Path) -> list[dict[str, Any]]:
    """The trials of a comparison with their weights."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("trials/*/result.json"))]
    return [record["trial"] | {"weights": record["weights_sha256"], "scores": record["scores"]} for record in records]


def test_three_folds_are_compared_interrupted_and_gone_on_with(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "opinions.jsonl", opinions(70))
    whole = nested_opinions(file, tiny_encoder_dir, tmp_path / "whole")
    record = whole.record
    assert record["settings"]["nested"]
    for arm in record["arms"]:
        if not arm["floor"]:
            assert len(arm["scores"][0]) == 3
            assert {trial["inner_fold"] for trial in arm["tuning"]} == {1, 2, 3}
    trials = trials_in(tmp_path / "whole")
    outer = [trial for trial in trials if trial["fold"] < 5]
    assert {trial["fold"] for trial in trials} == {0, 1, 2, 5, 6, 7}
    assert all(trial["settings"]["stop_after"] for trial in outer)
    assert record["handed_over"]["rows"] == record["data"]["rows"]["all"] - record["data"]["rows"]["test"]
    report = (whole.folder / "report.html").read_text(encoding="utf-8")
    assert "no row scores a model whose settings it has helped to choose" in report
    for most in (2, 9):
        with pytest.raises(Interrupted):
            nested_opinions(file, tiny_encoder_dir, tmp_path / "parts", watcher=Listening(most))
    nested_opinions(file, tiny_encoder_dir, tmp_path / "parts")
    assert findings(tmp_path / "parts") == findings(tmp_path / "whole")


def test_on_a_given_validation_split_its_labels_choose_no_setting_and_change_no_weight(
    tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    rows = opinions(80)
    parts = {"train": rows[:50], "validation": rows[50:70], "test": rows[70:]}
    shuffled = [row | {"label": "neg" if row["label"] == "pos" else "pos"} for row in parts["validation"]]
    found = []
    for name, validation in (("true", parts["validation"]), ("shuffled", shuffled)):
        (tmp_path / name).mkdir()
        rows_of = parts | {"validation": validation}
        sources = {part: write_jsonl(tmp_path / name / f"{part}.jsonl", some) for part, some in rows_of.items()}
        nested_opinions(None, tiny_encoder_dir, tmp_path / name / "out", **sources, folds=None, seeds=2)
        found.append(trials_in(tmp_path / name / "out"))
    honest, tainted = found
    assert {trial["fold"] for trial in honest} >= {0, 1}
    without = [
        [{k: v for k, v in trial.items() if k != "scores"} for trial in trials if trial["fold"] is not None]
        for trials in found
    ]
    assert without[0] == without[1], "the same settings on the same folds give the same weights"
    scores = [[t["scores"]["validation"]["accuracy"] for t in trials if t["fold"] == 0] for trials in (honest, tainted)]
    assert scores[0] != scores[1]
    inner = [[t["scores"]["validation"] for t in trials if t["fold"] == 1] for trials in (honest, tainted)]
    assert inner[0] == inner[1]


def test_entities_are_compared_on_inner_folds(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    import unfreeze

    every = sentences(70)
    names = {"train": every[:40], "validation": every[40:55], "test": every[55:]}
    sources = {name: write_conll(tmp_path / f"{name}.conll", some) for name, some in names.items()}
    made = unfreeze.compare(
        **sources,
        strategies=("head-only",),
        seeds=1,
        nested=True,
        settings={"num_train_epochs": 2, "learning_rate": 1e-2},
        model=str(tiny_encoder_dir),
        output_dir=tmp_path / "out",
        **QUICK,
    )
    assert {trial["fold"] for trial in trials_in(made.folder)} == {0, 1}
    assert "on a fifth of the training rows" in (made.folder / "report.html").read_text(encoding="utf-8")


def material_of(encoder: Path, rows: list[dict[str, str]]) -> Material:
    return prepare(Sources(pd.DataFrame(rows)), load_encoder(str(encoder)), columns=Columns(), nested=True)


@pytest.mark.parametrize("strategy", ["full", "head-only", "untouched"])
def test_a_run_whose_last_epoch_is_given_learns_nothing_from_the_labels_that_it_is_scored_on(
    strategy: str, tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    rows = opinions(60)
    honest = material_of(tiny_encoder_dir, rows)
    validated = set(honest.splits.folds[1].validation)
    examples = tuple(replace(e, target="neg") if i in validated else e for i, e in enumerate(honest.examples))
    tainted = replace(honest, examples=examples, features=honest.task.encode(examples, honest.encoder).features)
    settings = TrainingSettings(learning_rate=1e-2, num_train_epochs=4)
    inner = Trial(strategy, HeadSettings(), settings, len(honest.splits.folds) + 1)
    for trial, same_score in ((inner, True), (inner.again(seed=0, fold=1).stopped_after(2), False)):
        records = []
        for name, material in (("honest", honest), ("tainted", tainted)):
            folder = tmp_path / name / trial.key
            how: dict[str, Any] = {"runtime": RUNTIME, "watch": Watch()}
            heads = HeadTrials(material, runtime=RUNTIME)
            found = heads.run([trial], folder_of=lambda _, at=folder: at, watch=Watch())  # type: ignore[misc]
            records.append(found.get(trial) or run_trial(material, trial, folder=folder, **how))
        assert records[0]["weights_sha256"] == records[1]["weights_sha256"]
        assert records[0]["best_epoch"] == records[1]["best_epoch"]
        validation = [record["scores"]["validation"]["accuracy"] for record in records]
        assert (validation[0] == validation[1]) == same_score
        if not same_score and strategy != "untouched":
            assert records[0]["best_epoch"] == 2


def test_trials_on_inner_folds_validate_on_their_rows_alone(tiny_encoder_dir: Path) -> None:
    material = material_of(tiny_encoder_dir, opinions(60))
    splits = material.splits
    assert [material.fold(5 + k) for k in range(5)] == list(splits.inner)
    assert [material.fold(k) for k in range(5)] == list(splits.folds)
    plain = prepare(Sources(pd.DataFrame(opinions(60))), material.encoder, columns=Columns())
    assert plain.digest != material.digest, "the rows that choose are part of what a comparison is"


def test_a_dry_run_prices_a_search_for_each_fold(
    tiny_encoder_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_jsonl(tmp_path / "opinions.jsonl", opinions(60))
    command: list[Any] = ["compare", file, "--model", tiny_encoder_dir, "--strategies", "full,last-k", "--folds", "3"]
    command += ["--seeds", "1", "--threads", "1", "--no-race", "--budget", "none", "--dry-run"]
    plans = []
    for more in ([], ["--nested"]):
        assert main([str(word) for word in (*command, *more, "--json")]) == 0
        plans.append(json.loads(capsys.readouterr().out))
    assert [plan["nested"] for plan in plans] == [False, True]
    for plan, searches in zip(plans, (1, 3), strict=True):
        for arm in plan["arms"]:
            trials = searches * arm["tuning_trials"] + 3 - (searches == 1)
            assert arm["price_seconds"] == pytest.approx(trials * arm["trial_seconds"])
    assert main([str(word) for word in (*command, "--nested")]) == 0
    assert "Each fold's settings are searched on training rows of its own." in " ".join(capsys.readouterr().out.split())


def test_without_nesting_the_report_says_that_the_rows_that_chose_also_report(finished_report: str) -> None:
    assert "Settings were chosen on the first fold, whose rows also report" in finished_report
    assert not Options().nested


@pytest.fixture
def finished_report(tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    from rows import compared_opinions

    folder = compared_opinions(tiny_encoder_dir, tmp_path_factory.getbasetemp() / "finished").folder
    return (folder / "report.html").read_text(encoding="utf-8")
