"""What a comparison works on: the same for all arms, and told apart by its digest."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rows import MARKER, opinions, sentences, write_conll, write_jsonl
from tiny import tiny_encoder
from unfreeze.compare.material import Material, Sources, prepare
from unfreeze.data.splitting import text_key
from unfreeze.encoders.loading import Encoder, load_encoder
from unfreeze.encoders.outline import Outline
from unfreeze.errors import DataError, SettingsError
from unfreeze.plan import Group, Plan, Stage, one_stage
from unfreeze.tasks import Columns

Preparing = Callable[..., Material]


@pytest.fixture(scope="module")
def encoder(tiny_encoder_dir: Path) -> Encoder:
    return load_encoder(str(tiny_encoder_dir))


@pytest.fixture(scope="module")
def preparing(encoder: Encoder) -> Preparing:
    def made(rows: list[dict[str, str]], **more: Any) -> Material:
        return prepare(Sources(pd.DataFrame(rows)), more.get("encoder", encoder), columns=Columns())

    return made


def given_splits(number: int = 60) -> list[dict[str, str]]:
    names = ["train"] * 30 + ["validation"] * 15 + ["test"] * 15
    return [row | {"split": name} for row, name in zip(opinions(number), names, strict=True)]


def test_the_same_rows_have_the_same_digest(preparing: Preparing) -> None:
    assert preparing(given_splits()).digest == preparing(given_splits()).digest


@pytest.mark.parametrize(
    ("row", "changes"),
    [
        (3, {"text": "The film was good, they said so"}),
        (3, {"label": "neg"}),
        (59, {"label": "neg"}),
        (3, {"split": "validation"}),
        (59, {"split": "train"}),
    ],
)
def test_another_text_label_or_split_of_one_row_is_another_digest(
    preparing: Preparing, row: int, changes: dict[str, str]
) -> None:
    rows = given_splits()
    assert any(rows[row][key] != value for key, value in changes.items())
    changed = [r | changes if i == row else r for i, r in enumerate(rows)]
    assert preparing(changed).digest != preparing(rows).digest


def test_another_encoder_is_another_digest(preparing: Preparing, tmp_path: Path) -> None:
    other = load_encoder(str(tiny_encoder("bert", tmp_path / "other", seed=1)))
    assert preparing(given_splits(), encoder=other).digest != preparing(given_splits()).digest


def test_equal_texts_never_straddle_the_splits(preparing: Preparing) -> None:
    rows = opinions(60)
    twins = [{"text": f"  {row['text'].upper()} ", "label": row["label"]} for row in rows[::3]]
    material = preparing(rows + twins)
    parts = [set(material.splits.test)] + [set(fold.validation) for fold in material.splits.folds]
    keys = [{text_key(material.examples[i].text) for i in part} for part in parts]
    assert sum(len(k) for k in keys) == len(set().union(*keys)) == 60
    assert sum(len(part) for part in parts) == 80


def test_a_column_of_splits_is_read_of_the_rows_that_are_kept(preparing: Preparing) -> None:
    rows = given_splits()
    rows[3]["text"] = ""
    material = preparing(rows)
    (fold,) = material.splits.folds
    said = {row["text"]: row["split"] for row in rows}
    for name, places in (("train", fold.train), ("validation", fold.validation), ("test", material.splits.test)):
        assert {said[material.examples[i].text] for i in places} == {name}
    assert len(material.examples) == 59


def test_the_fold_of_the_final_model_is_all_that_is_not_test(preparing: Preparing) -> None:
    material = preparing(opinions(60))
    last = material.fold(None)
    assert last.validation == ()
    assert sorted([*last.train, *material.splits.test]) == list(range(60))


def test_predictions_come_in_the_order_asked_for(preparing: Preparing) -> None:
    material = preparing(opinions(60))
    asked = [7, 3, 50, 0]
    targets = [material.features[place].targets[0] for place in material.places(asked)]
    logits = [np.eye(2)[target] for target in targets]
    assert material.counts_of(asked, logits)[:, 0].tolist() == [1.0] * 4
    assert [p.value for p in material.predictions(asked, logits)] == [material.examples[i].target for i in asked]
    flipped = [np.eye(2)[1 - targets[0]], *logits[1:]]
    assert material.counts_of(asked, flipped)[:, 0].tolist() == [0.0, 1.0, 1.0, 1.0]


def test_a_small_file_of_entities_is_not_refused_for_a_rare_mixture_of_types(encoder: Encoder, tmp_path: Path) -> None:
    every = sentences(60)
    every[0] = [*every[0][:-1], ("Oslo", "B-LOC"), ("Anna", "B-PER"), (".", "O")]  # the only one with both
    every[1] = [*every[1][:-1], ("Lima", "B-LOC"), ("Silva", "B-PER"), (".", "O")]
    material = prepare(Sources(write_conll(tmp_path / "a.conll", every)), encoder, columns=Columns())
    assert len(material.splits.folds) == 5
    assert material.task.labels == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")


def test_a_class_with_too_few_texts_is_still_refused(preparing: Preparing) -> None:
    with pytest.raises(DataError, match="class 'odd' has 2 rows; 5 are needed"):
        preparing([*opinions(60), *({"text": f"strange thing {i}", "label": "odd"} for i in range(2))])


def test_a_label_of_test_that_training_never_shows_is_refused_with_its_place(encoder: Encoder, tmp_path: Path) -> None:
    rows = opinions(60)
    train = write_jsonl(tmp_path / "train.jsonl", rows[:40])
    test = write_jsonl(tmp_path / "test.jsonl", [*rows[40:], {"text": "strange", "label": "odd"}])
    with pytest.raises(DataError, match=r"test\.jsonl:21: the label 'odd' occurs in no training row"):
        prepare(Sources(train=train, test=test), encoder, columns=Columns())


def test_the_summary_holds_no_text(preparing: Preparing) -> None:
    summary = preparing(given_splits()).summary()
    assert summary["rows"] == {"all": 60, "train": 30, "validation": 15, "test": 15}
    assert MARKER not in str(summary)


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        (Sources(), "give either one FILE"),
        (Sources("a.csv", train="b.csv"), "give either one FILE"),
        (Sources("a.csv", test="b.csv"), "name the training rows with --train"),
    ],
)
def test_sources_that_do_not_fit_together_are_refused(encoder: Encoder, sources: Sources, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        prepare(sources, encoder, columns=Columns())


def test_the_output_folder_is_named_after_the_rows() -> None:
    assert Sources("data/reviews.csv.gz").stem == "reviews"
    assert Sources(train=Path("a/train.jsonl")).stem == "train"
    assert Sources(pd.DataFrame()).stem == "frame"


def test_a_material_expects_the_depths_that_its_plans_start_from_and_its_heads_read(preparing: Preparing) -> None:
    material = preparing(opinions(40))
    assert material.memory.expected is None, "nobody has said"
    layers = tuple((f"layer.{i}",) for i in range(6))
    names = ("words", *(name for layer in layers for name in layer), "head")
    outline = Outline(("words",), layers, (), ("head",), (), dict.fromkeys(names, 1), "layer", "")
    head, last, lower = one_stage(["head"]), one_stage(["head", "layer.5"]), one_stage(["head", "layer.1"])
    scratch = replace(lower, encoder_weights="random")
    material.expect([head, last, scratch], outline, layers=1)
    assert material.memory.expected == {5, 6}
    material.expect([head], outline, layers=4)
    assert material.memory.expected == {3, 4, 5, 6}
    alone = (Group(("head",)),)
    gradual = Plan((Stage(0.0, alone), Stage(0.5, (Group(("layer.4",)),)), Stage(0.9, alone)))
    material.expect([gradual], outline, layers=1)
    assert material.memory.expected == {4, 6}, "a layer that has learned is no longer the pretrained one"
