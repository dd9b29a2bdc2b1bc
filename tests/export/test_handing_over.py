"""The model folder: it predicts what was recorded, and a tampered one is found out."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from rows import compared_opinions, compared_sentences
from unfreeze.compare.material import Material, Sources, prepare
from unfreeze.encoders.loading import load_encoder
from unfreeze.engine.runtime import Runtime
from unfreeze.errors import EncoderError, SettingsError, StorageError
from unfreeze.export import handing_over
from unfreeze.export.handing_over import CARD, FineTuned, check_reload, load_model, save_card
from unfreeze.export.reloading import main as reload_elsewhere
from unfreeze.files import is_whole
from unfreeze.front import Comparison
from unfreeze.tasks import Columns

RUNTIME = Runtime("cpu", 1, "fp32")


@pytest.fixture
def opinions_found(tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return compared_opinions(tiny_encoder_dir, tmp_path_factory.getbasetemp() / "finished")


@pytest.fixture
def entities_found(tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return compared_sentences(tiny_encoder_dir, tmp_path_factory.getbasetemp() / "finished")


@pytest.fixture
def material(opinions_found: Comparison, tiny_encoder_dir: Path) -> Material:
    file = opinions_found.folder.parent / "opinions.jsonl"
    return prepare(Sources(file), load_encoder(str(tiny_encoder_dir)), columns=Columns())


@pytest.fixture
def copied(opinions_found: Comparison, tmp_path: Path) -> Path:
    return Path(shutil.copytree(opinions_found.folder / "model", tmp_path / "model"))


def loaded(folder: Path) -> FineTuned:
    return load_model(folder, threads=1, precision="fp32")


def test_the_loaded_model_has_the_recorded_test_score(opinions_found: Comparison, material: Material) -> None:
    model = loaded(opinions_found.folder / "model")
    test = [material.examples[i] for i in material.splits.test]
    said = model.predict([example.text for example in test])
    share = sum(label == example.target for label, example in zip(said, test, strict=True)) / len(test)
    assert share == opinions_found.record["handed_over"]["test"]["accuracy"]
    sure = [prediction.probability for prediction in model.predictions(test)]
    turned = [prediction.probability for prediction in model.predictions(test[::-1])]
    assert len(set(sure)) > 10
    assert turned[::-1] == pytest.approx(sure, abs=1e-6), "predictions come in the order of the input"


def test_the_loaded_model_of_entities_has_the_recorded_test_score(entities_found: Comparison) -> None:
    model, base = loaded(entities_found.folder / "model"), entities_found.folder.parent
    files = Sources(train=base / "train.conll", validation=base / "validation.conll", test=base / "test.conll")
    same = prepare(files, model.encoder, columns=Columns())
    test = [same.examples[i] for i in same.splits.test]
    counts = same.task.counts(test, model.predictions(test))
    assert same.task.details(counts.sum(0)) == entities_found.record["handed_over"]["test"]
    assert counts[:, 0].sum() > 0
    words, text = list(test[0].words), test[0].text
    assert model.predict([words, text])[0] == model.predict([text])[0]


def test_nothing_to_predict_gives_nothing(opinions_found: Comparison) -> None:
    assert loaded(opinions_found.folder / "model").predict([]) == []


def test_the_card_says_how_the_model_loads_and_it_does(
    opinions_found: Comparison, entities_found: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    for found in (opinions_found, entities_found):
        line = found.record["handed_over"]["loads_with"]
        assert line.removeprefix("import unfreeze.encoders.pooled; ").startswith("transformers.AutoModelFor")
        assert ("import unfreeze" in line) == (_pooling(found) != "standard")
        monkeypatch.chdir(found.folder)
        scope: dict[str, Any] = {"transformers": transformers}
        exec(line.replace("transformers.Auto", "model = transformers.Auto"), scope)
        assert list(scope["model"].config.id2label.values()) == found.record["data"]["labels"]


def _pooling(found: Comparison) -> Any:
    name = found.record["handed_over"]["name"]
    return next(arm["settings"]["pooling"] for arm in found.record["arms"] if arm["name"] == name)


@pytest.mark.parametrize("value", [0.5, float("nan")])
def test_the_reload_check_finds_a_tampered_model(copied: Path, material: Material, value: float) -> None:
    model = loaded(copied).model
    weights = load_file(copied / "model.safetensors")
    name = next(name for name in weights if "classifier" in name and name.endswith("weight"))
    weights[name][0, 0] += value
    (copied / "model.safetensors").unlink()  # the model in memory still reads from it
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(StorageError, match="gives other logits after loading"):
        check_reload(model, material, folder=copied, runtime=RUNTIME)


def test_the_reload_check_starts_a_fresh_process_and_says_why_a_model_does_not_load(
    copied: Path, material: Material, monkeypatch: pytest.MonkeyPatch, fresh_process: Callable[..., str]
) -> None:
    monkeypatch.setattr(handing_over, "in_a_fresh_process", fresh_process)
    model = loaded(copied).model
    assert check_reload(model, material, folder=copied, runtime=RUNTIME)["equal"]
    (copied / "model.safetensors").unlink()  # the model in memory still reads from it
    (copied / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(StorageError, match=r"the saved model does not load again: .*Error"):
        check_reload(model, material, folder=copied, runtime=RUNTIME)


def test_the_other_process_writes_the_logits_of_the_saved_model(
    copied: Path, material: Material, tmp_path: Path
) -> None:
    model = loaded(copied).model
    ids = torch.tensor([material.features[0].inputs["input_ids"]])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    save_file(inputs, tmp_path / "probe")
    reload_elsewhere([str(copied), str(tmp_path / "probe"), str(tmp_path / "answer"), "sequence", "1"])
    with torch.inference_mode():
        assert torch.equal(load_file(tmp_path / "answer")["logits"], model(**inputs).logits)


def test_a_copy_is_whole_and_predicts_the_same(opinions_found: Comparison, tmp_path: Path) -> None:
    model = loaded(opinions_found.folder / "model")
    model.save_pretrained(tmp_path / "copy")
    model.save_pretrained(tmp_path / "copy")
    assert is_whole(tmp_path / "copy")
    texts = ["The film was good", "The seats were terrible"]
    assert loaded(tmp_path / "copy").predict(texts) == model.predict(texts)


def test_a_copy_never_replaces_somebody_elses_folder(opinions_found: Comparison, tmp_path: Path) -> None:
    mine = tmp_path / "thesis"
    mine.mkdir()
    (mine / "chapter.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(SettingsError, match="is no model that unfreeze saved"):
        loaded(opinions_found.folder / "model").save_pretrained(mine)
    assert (mine / "chapter.txt").read_text(encoding="utf-8") == "years of work"


def test_another_card_leaves_the_model_whole(copied: Path) -> None:
    before = (copied / "model.safetensors").read_bytes()
    save_card(copied, "# another\n")
    assert (copied / CARD).read_text(encoding="utf-8") == "# another\n"
    assert is_whole(copied)
    assert (copied / "model.safetensors").read_bytes() == before


def test_the_folder_of_a_comparison_is_no_model_but_near(opinions_found: Comparison, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"did you mean .*model"):
        load_model(opinions_found.folder)
    with pytest.raises(EncoderError, match="not a model that unfreeze saved"):
        load_model(tmp_path)


def test_labels_in_another_order_are_found_out(copied: Path) -> None:
    about = json.loads((copied / "unfreeze.json").read_text(encoding="utf-8"))
    (copied / "unfreeze.json").write_text(json.dumps(about | {"labels": about["labels"][::-1]}), encoding="utf-8")
    with pytest.raises(EncoderError, match="name other labels, or in another order"):
        loaded(copied)
    (copied / "unfreeze.json").write_text('{"task": "classification"}', encoding="utf-8")
    with pytest.raises(EncoderError, match="damaged; it should tell task, labels"):
        loaded(copied)


def test_weights_that_do_not_load_are_told_in_one_line(copied: Path) -> None:
    (copied / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match=r"the model does not load: .") as refused:
        loaded(copied)
    assert "\n" not in str(refused.value)
