"""Pretrained weights below, a new head above that is a function of the seed alone; saved models come back equal."""

import json
from dataclasses import replace

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from tiny import FAMILIES
from unfreeze.encoders.building import build_model
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.encoders.loading import load_encoder
from unfreeze.encoders.reading_outline import read_outline
from unfreeze.errors import EncoderError, SettingsError

LABELS = ("pos", "neg", "neutral")  # in no order of their own
HEADS = [
    ("sequence", HeadSettings()),
    ("token", HeadSettings()),
    ("sequence", HeadSettings("first")),
    ("sequence", HeadSettings("mean", 2)),
    ("token", HeadSettings("tokens", 3)),
]
TEXTS = ["Anna works for the river company.", "I love it", "The film was good, but the ending was bad!"]


def build(encoder, kind="sequence", head=None, **others):
    settings = {"labels": LABELS, "weights": "pretrained", "seed": 0, **others}
    return build_model(encoder, head or HeadSettings(), kind=kind, **settings)


def batch_of(encoder):
    return encoder.tokenizer(TEXTS, padding=True, return_tensors="pt")


def auto_class(kind):
    return {
        "sequence": transformers.AutoModelForSequenceClassification,
        "token": transformers.AutoModelForTokenClassification,
    }[kind]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("kind", "head"), HEADS, ids=lambda v: str(v) or "standard")
def test_a_saved_model_comes_back_with_equal_logits_and_labels(family, kind, head, encoder_of, tmp_path):
    encoder = encoder_of(family)
    model = build(encoder, kind, head)
    logits = model(**batch_of(encoder)).logits
    model.save_pretrained(tmp_path)
    encoder.tokenizer.save_pretrained(tmp_path)
    again = auto_class(kind).from_pretrained(tmp_path, local_files_only=True)

    assert type(again) is type(model)
    assert torch.equal(again(**batch_of(encoder)).logits, logits)
    assert logits.shape == ((3, 3) if kind == "sequence" else (*batch_of(encoder)["input_ids"].shape, 3))
    assert again.config.id2label == dict(enumerate(LABELS))
    assert again.config.label2id == {label: i for i, label in enumerate(LABELS)}
    assert str(encoder.folder) not in (tmp_path / "config.json").read_text()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert tokenizer(TEXTS)["input_ids"] == encoder.tokenizer(TEXTS)["input_ids"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("kind", "head"), HEADS, ids=lambda v: str(v) or "standard")
def test_the_encoder_inside_holds_the_pretrained_weights_in_float32(family, kind, head, encoder_of):
    encoder = encoder_of(family)
    model = build(encoder, kind, head)
    stored = load_file(encoder.folder / "model.safetensors")
    inside = model.base_model.state_dict()
    assert inside.keys() <= stored.keys()
    for name, value in inside.items():
        assert torch.equal(value, stored[name])
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert not model.training


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("weights", ["pretrained", "random"])
def test_new_parameters_are_a_function_of_the_seed_alone(family, weights, encoder_of):
    encoder = encoder_of(family)
    torch.manual_seed(1)
    first = build(encoder, weights=weights, seed=5).state_dict()
    torch.manual_seed(2)
    second = build(encoder, weights=weights, seed=5).state_dict()
    other = build(encoder, weights=weights, seed=6).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    last = next(name for name in ("classifier.weight", "classifier.out_proj.weight") if name in first)
    assert not torch.equal(first[last], other[last])


def test_building_leaves_the_global_random_state_alone(encoder_of):
    torch.manual_seed(3)
    state = torch.get_rng_state()
    build(encoder_of("bert"), seed=9)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("family", FAMILIES)
def test_random_weights_are_all_made_anew(family, encoder_of):
    encoder = encoder_of(family)
    pretrained, random = build(encoder), build(encoder, weights="random")
    layers = {name for names in read_outline(random).layers for name in names if name.endswith("weight")}
    values = dict(random.named_parameters())
    for name, parameter in pretrained.named_parameters():
        if name in layers:
            assert not torch.equal(parameter, values[name])


def test_a_classifier_in_the_folder_is_not_taken_over(encoder_of, tmp_path):
    encoder = encoder_of("bert")
    finished = build(encoder, seed=1)
    finished.save_pretrained(tmp_path)
    encoder.tokenizer.save_pretrained(tmp_path)
    again = build(load_encoder(str(tmp_path)), seed=2)
    fresh = build(encoder, seed=2)
    assert not torch.equal(again.classifier.weight, finished.classifier.weight)
    assert torch.equal(again.classifier.weight, fresh.classifier.weight)
    four = build(load_encoder(str(tmp_path)), labels=("a", "b", "c", "d"))
    assert four.classifier.out_features == 4


def test_weights_under_a_pretraining_head_are_found(encoder_of, tmp_path):
    encoder = encoder_of("bert")
    transformers.BertForMaskedLM(encoder.config).save_pretrained(tmp_path)  # has no pooler, but a head of its own
    encoder.tokenizer.save_pretrained(tmp_path)
    first, second = (build(load_encoder(str(tmp_path)), seed=4) for _ in range(2))
    stored = load_file(tmp_path / "model.safetensors")
    name = "bert.encoder.layer.2.output.dense.weight"
    assert torch.equal(first.state_dict()[name], stored[name])
    assert torch.equal(first.bert.pooler.dense.weight, second.bert.pooler.dense.weight)


@pytest.mark.parametrize("kind", ["sequence", "token"])
def test_modernbert_keeps_the_transformation_of_its_pretraining_head_as_its_own_class_does(kind, encoder_of, tmp_path):
    encoder = encoder_of("modernbert")
    transformers.ModernBertForMaskedLM(encoder.config).save_pretrained(tmp_path)
    encoder.tokenizer.save_pretrained(tmp_path)
    ours = build(load_encoder(str(tmp_path)), kind)
    theirs = auto_class(kind).from_pretrained(tmp_path, num_labels=3)
    assert torch.equal(ours.head.dense.weight, theirs.head.dense.weight)
    assert torch.equal(ours.head.norm.weight, theirs.head.norm.weight)


def test_a_half_precision_checkpoint_is_trained_in_float32(encoder_of, tmp_path):
    transformers.BertModel.from_pretrained(encoder_of("bert").folder).half().save_pretrained(tmp_path)
    encoder_of("bert").tokenizer.save_pretrained(tmp_path)
    encoder = load_encoder(str(tmp_path))
    for head in (HeadSettings(), HeadSettings("mean")):
        for weights in ("pretrained", "random"):
            assert {p.dtype for p in build(encoder, head=head, weights=weights).parameters()} == {torch.float32}


def changed(encoder, folder, config=None, weights=None):
    """A copy of an encoder's folder with another configuration or other weights."""
    encoder.tokenizer.save_pretrained(folder)
    settings = json.loads((encoder.folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, **(config or {})}))
    save_file((weights or (lambda w: w))(load_file(encoder.folder / "model.safetensors")), folder / "model.safetensors")
    return load_encoder(str(folder))


@pytest.mark.parametrize("head", [HeadSettings(), HeadSettings("mean")], ids=["standard", "pooled"])
def test_missing_weights_are_refused_by_name(head, encoder_of, tmp_path):
    lost = "encoder.layer.1.output.dense.weight"
    broken = changed(encoder_of("bert"), tmp_path, weights=lambda w: {k: v for k, v in w.items() if k != lost})
    with pytest.raises(EncoderError, match=f"lack 1 parameters of BertModel, such as '{lost}'"):
        build(broken, head=head)


def test_layers_that_the_configuration_does_not_count_are_refused(encoder_of, tmp_path):
    fewer = changed(encoder_of("bert"), tmp_path, {"num_hidden_layers": 2})
    with pytest.raises(EncoderError, match=r"layers that config.json does not count.*encoder\.layer\.2\."):
        build(fewer)


def test_weights_of_another_size_are_refused(encoder_of, tmp_path):
    wider = changed(encoder_of("bert"), tmp_path, {"intermediate_size": 64})
    with pytest.raises(EncoderError, match=r"do not fit config\.json"):
        build(wider)


def test_weights_that_are_no_numbers_are_refused(encoder_of, tmp_path):
    def spoil(weights):
        weights["encoder.layer.0.output.dense.bias"][3] = float("nan")
        return weights

    with pytest.raises(EncoderError, match=r"encoder\.layer\.0\.output\.dense\.bias.*not finite"):
        build(changed(encoder_of("bert"), tmp_path, weights=spoil))


@pytest.mark.parametrize(
    ("kind", "head"),
    [("token", HeadSettings("mean")), ("token", HeadSettings("first")), ("sequence", HeadSettings("tokens"))],
)
def test_a_pooling_that_does_not_suit_the_kind_is_refused(kind, head, encoder_of):
    with pytest.raises(SettingsError, match="choose one of: standard"):
        build(encoder_of("bert"), kind, head)


def test_more_layers_than_there_are_is_refused(encoder_of):
    with pytest.raises(SettingsError, match=r"read 4 layers, but .* has 3"):
        build(encoder_of("distilbert"), head=HeadSettings("mean", 4))


@pytest.mark.parametrize("labels", [(), ("one",), ("same", "same")])
def test_fewer_than_two_different_labels_are_refused(labels, encoder_of):
    with pytest.raises(SettingsError, match="at least two different labels"):
        build(encoder_of("bert"), labels=labels)


def test_a_family_without_a_standard_class_is_refused_with_another_way(encoder_of):
    other = replace(encoder_of("bert"), config=transformers.CLIPTextConfig())
    with pytest.raises(EncoderError, match="no standard sequence classifier"):
        build(other)
