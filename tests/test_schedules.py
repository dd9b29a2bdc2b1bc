"""Stages that a user writes in a file."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

import unfreeze
from rows import QUICK, opinions, write_jsonl
from unfreeze.cli import main
from unfreeze.encoders.outline import Outline
from unfreeze.errors import SettingsError
from unfreeze.plan import Masking, Objective
from unfreeze.strategies import _schedules, adds_modules, description_of, spelling_of, strategy_named

MINE = """
summary = "The head, then the top layers slowly."
learning_rate = [1e-4, 1e-3]
num_train_epochs = 4
min_steps = 8

[[stage]]
learns = "head"
rate = 30

[[stage]]
start = 0.5
learns = ["everything", { part = "layers top 2", rate = 0.5 }, { part = "head", rate = 2 }]
rate = 0.1
"""


def outline(depth: int = 6) -> Outline:
    layers = tuple((f"layer.{i}",) for i in range(depth))
    return Outline(("embed",), layers, ("pooler",), ("head",), ("shared",), {}, "layer", "base")


def written(folder: Path, text: str = MINE, name: str = "mine.toml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_file_is_a_way_of_fine_tuning_and_the_last_rate_of_a_part_counts(tmp_path: Path) -> None:
    mine = strategy_named(written(tmp_path))
    first, second = mine.plan(outline()).stages
    assert (first.start, first.lr_scales) == (0.0, {"head": 30.0})
    slow = dict.fromkeys(("embed", "shared", *(f"layer.{i}" for i in range(4)), "pooler"), 0.1)
    assert (second.start, second.lr_scales) == (0.5, slow | {"layer.4": 0.5, "layer.5": 0.5, "head": 2.0})
    assert mine.plan(outline()) == mine.plan(outline())
    assert mine.search.learning_rate == (1e-4, 1e-3)
    assert (mine.search.num_train_epochs, mine.search.min_steps, mine.search.floor) == (4, 8, False)
    assert description_of(mine.name).summary == "The head, then the top layers slowly."


@pytest.mark.parametrize(
    ("part", "names"),
    [
        ("head", ["head"]),
        ("top", ["pooler"]),
        ("embeddings", ["embed", "shared"]),
        ("layer 0", ["layer.0"]),
        ("layers 4-5", ["layer.4", "layer.5"]),
        ("layers 4 – 5", ["layer.4", "layer.5"]),
        ("layers top 1", ["layer.5"]),
        ("layers bottom 2", ["layer.0", "layer.1"]),
        ("encoder", ["embed", "shared", *(f"layer.{i}" for i in range(6)), "pooler"]),
    ],
)
def test_every_part_has_a_name(part: str, names: list[str], tmp_path: Path) -> None:
    text = f'[[stage]]\nlearns = ["{part}"]\n[[stage]]\nstart = 0.5\nlearns = ["head"]'
    assert sorted(strategy_named(written(tmp_path, text)).plan(outline()).stages[0].trainable) == sorted(names)


@pytest.mark.parametrize("part", ["layer 6", "layers 4-6", "layers 5-4", "layers top 7", "layers top 0"])
def test_layers_that_are_not_there_are_refused_with_those_that_are(part: str, tmp_path: Path) -> None:
    mine = strategy_named(written(tmp_path, f'[[stage]]\nlearns = ["head", "{part}"]'))
    with pytest.raises(SettingsError, match=r"stage 1: learns: '.*this encoder has 6 layers, numbered from 0"):
        mine.plan(outline())


HEAD = '[[stage]]\nlearns = ["head"]\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stage = 3", "at least one [[stage]]"),
        ("[[stage]]\nlearns = [", "this is no TOML"),
        ("[[stages]]\nlearns = ['head']", "there is no key named 'stages'. Did you mean 'stage'?"),
        ("[[stage]]\nlearn = ['head']", "stage 1: there is no key named 'learn'. Did you mean 'learns'?"),
        ("[[stage]]\nlearns = ['haed']", "stage 1: learns: there is no part named 'haed'. Did you mean 'head'?"),
        (
            "[[stage]]\nlearns = ['layers 8 to 11']",
            "named 'layers 8 to 11'. Did you mean 'layers 8-11'",
        ),
        ("[[stage]]\nlearns = ['head', 3]", "learns takes parts such as"),
        ("[[stage]]\nlearns = [{part = 'head', rat = 1}]", "there is no key named 'rat'. Did you mean 'rate'?"),
        ("[[stage]]\nlearns = []", "stage 1: learns lists what is trained"),
        ("[[stage]]\nlearns = ['head']\nrate = 0", "stage 1: rate is a share of the learning rate above 0"),
        ("[[stage]]\nlearns = ['head']\nstart = 'soon'", "stage 1: start is a fraction"),
        (HEAD + HEAD, "rise from 0 and stay below 1; got [0.0, 0.0]"),
        (HEAD + "[[stage]]\nstart = 1\nlearns = ['top']", "rise from 0 and stay below 1"),
        ("[[stage]]\nlearns = ['encoder']", "the head never learns"),
        ("learning_rate = [1e-3, 1e-4]\n" + HEAD, "learning_rate is the lowest and the highest"),
        ("num_train_epochs = 0\n" + HEAD, "num_train_epochs is a whole number"),
        ("summary = 3\n" + HEAD, "summary is a line of text"),
        (HEAD + "objective = 'masked'", "stage 1: objective has weights, such as {task = 1, masked = 0.1}"),
        (HEAD + "objective = {maked = 1}", "objective: there is no key named 'maked'. Did you mean 'masked'?"),
        (HEAD + "objective = {task = -1}", "weights are numbers of 0 or more; got [-1]"),
        (HEAD + "objective = {task = 0}", "one of task, masked, contrastive has a weight above 0"),
        (HEAD + "objective = {masked = 1, unit = 'words'}", "there is no unit named 'words'. Did you mean 'word'?"),
        (HEAD + "objective = {masked = 1, share = 2}", "share is that of the units that are hidden"),
        (HEAD + "objective = {task = 1, share = 0.2}", "so masked needs a weight above 0"),
        (HEAD + "objective = {contrastive = 1}", "the head never learns"),
        (HEAD + "objective = {task = 1, masked = 1}", 'masked head" belongs into learns where masked has a weight'),
        (HEAD + "[[stage]]\nstart = 0.5\nlearns = ['masked head']", '"masked head" belongs into learns'),
        (
            "[[stage]]\nlearns = ['masked head']\nobjective = {masked = 1}\n"
            "[[stage]]\nstart = 0.5\nlearns = ['head', 'masked head']",
            '"masked head" belongs into learns',
        ),
        ("[[stage]]\nlearns = ['head']\nstart = nan", "stage 1: start is a fraction"),
        ("[[stage]]\nlearns = ['head', ['top']]", "learns takes parts such as"),
        ("[[stage]]\nlearns = ['head', {part = ['top']}]", "learns takes parts such as"),
        (
            "[[stage]]\nlearns = ['head', 'masked head']\nobjective = {task = 1, masked = 1, contrastive = 1, "
            "unit = 'entity'}",
            "not both",
        ),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_place_and_the_cure(text: str, said: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SettingsError) as refused:
        strategy_named(path)
    assert said in str(refused.value)
    assert all(line.startswith(path) for line in str(refused.value).splitlines() if "TOML" not in line)


def test_all_problems_of_a_file_come_at_once_and_a_missing_file_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, "rates = 1\n[[stage]]\nlearns = ['heads']\nrate = -1")
    with pytest.raises(SettingsError) as refused:
        strategy_named(path)
    assert len(str(refused.value).splitlines()) == 4
    with pytest.raises(SettingsError, match="cannot be read"):
        strategy_named(str(tmp_path / "none.toml"))


def test_another_content_is_another_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path)
    first = strategy_named(path)
    before = spelling_of(first)
    assert before.startswith(f"{path}@")
    assert strategy_named(before) == first
    written(tmp_path, MINE.replace("0.5\n", "0.6\n"))
    assert spelling_of(strategy_named(path)) != before
    assert strategy_named(before) == first, "a comparison under way goes on with what it has read"
    assert description_of(before).summary == "The head, then the top layers slowly."
    monkeypatch.setattr(_schedules, "_READ", {})  # as in a process that has not read it
    with pytest.raises(SettingsError, match="has changed since"):
        strategy_named(before)


def test_a_file_is_compared_shown_and_planned_like_any_other_way(
    tiny_encoder_dir: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    written(tmp_path)
    assert main(["strategies", "mine.toml", "--model", str(tiny_encoder_dir)]) == 0
    card = " ".join(capsys.readouterr().out.split())
    assert "The head, then the top layers slowly." in card
    assert "50 % head 66 0.132 % × 2 layers 1–2 15.0 K 30.1 % × 0.5 embeddings, layer 0, top" in card
    file = write_jsonl(tmp_path / "rows.jsonl", opinions(60))
    command = ["compare", str(file), "--strategies", "head-only,mine.toml", "--model", str(tiny_encoder_dir)]
    assert main([*command, "--dry-run", "--threads", "1", "--budget", "none"]) == 0
    assert "mine.toml@" in capsys.readouterr().out
    made = unfreeze.compare(
        file, strategies=("head-only", "mine.toml"), model=str(tiny_encoder_dir), folds=1, seeds=1, tuning=0, **QUICK
    )
    (record,) = (json.loads(p.read_text()) for p in (made.folder / "trials").glob("mine-toml-*/result.json"))
    assert record["state"] == "done"
    assert record["epochs"] == 4
    (arm,) = (arm for arm in made.record["arms"] if arm["name"].startswith("mine.toml@"))
    assert arm["summary"] == "The head, then the top layers slowly."
    assert arm["state"] == "done"


HIDING = """
learning_rate = [1e-3, 2e-3]
num_train_epochs = 5
min_steps = 8

[[stage]]
learns = "masked head"
rate = 10
objective = { masked = 1 }

[[stage]]
start = 0.2
learns = ["encoder", "masked head"]
objective = { masked = 0.5, contrastive = 1, unit = "span", share = 0.3 }

[[stage]]
start = 0.6
learns = "everything"
"""


def test_a_stage_may_say_what_is_minimised(tmp_path: Path) -> None:
    mine = strategy_named(written(tmp_path, HIDING))
    first, second, third = mine.plan(outline()).stages
    assert first.objective == Objective(0.0, 1.0, Masking("word", 0.15))
    assert second.objective == Objective(0.0, 0.5, Masking("span", 0.3), 1.0)
    assert third.objective == Objective()
    assert adds_modules(mine)
    assert mine.search.kind == "sequence"
    assert not adds_modules(strategy_named(written(tmp_path)))
    entities = (
        HEAD.replace('"head"', '"head", "masked head"') + 'objective = { task = 1, masked = 0.1, unit = "entity" }'
    )
    assert strategy_named(written(tmp_path, entities)).search.kind == "token"


def test_stages_that_hide_words_and_compare_texts_are_trained_from_a_file(
    tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    file, mine = write_jsonl(tmp_path / "rows.jsonl", opinions(60)), written(tmp_path, HIDING)
    usual: Any = {"folds": 1, "seeds": 1, "tuning": 0, **QUICK}
    ways = ("untouched", mine)
    made = unfreeze.compare(file, strategies=ways, model=str(tiny_encoder_dir), output_dir=tmp_path / "out", **usual)
    (path,) = (path for path in (made.folder / "trials").glob("*/result.json") if "untouched" not in path.parent.name)
    record = json.loads(path.read_text(encoding="utf-8"))
    assert [row["score"] is None for row in record["curve"]] == [True, True, True, False, False]
    assert record["best_epoch"] > 3
    assert record["masked"]["after"]["loss"] < record["masked"]["before"]["loss"]
    assert not any("masked_head" in name for name in load_file(made.folder / "model" / "model.safetensors"))
