"""The name of states on disk changes with everything that they follow from, and with nothing else."""

from dataclasses import fields, replace

import pytest
import torch

from runs import RUNTIME, make_features, make_model
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.engine import prefix_key
from unfreeze.engine.prefix_key import StateKeys, checksums
from unfreeze.engine.runtime import Runtime

FEATURES = make_features(8)


def keys_of(model, outline, *, features=FEATURES, runtime=RUNTIME, depth=2, names=None):
    known = checksums(model, outline, depth=depth, runtime=runtime)
    return (names or StateKeys(features)).of(model, outline, runtime=runtime, checksums=known)


def changed_weight(name_of):
    """Change the last bit of one number of a weight."""

    def change(model, outline, _):
        with torch.no_grad():
            dict(model.named_parameters())[name_of(outline)].view(-1)[-1:].view(torch.int32).bitwise_xor_(1)

    return change


def changed_buffer(model, outline, _):
    model.get_submodule(outline.base).register_buffer("table", torch.ones(1))


def configured(name, value):
    def change(model, outline, _):
        config = model.get_submodule(outline.base).config
        assert getattr(config, name) != value
        setattr(config, name, value)

    return change


def renamed(model, outline, _):
    base = model.get_submodule(outline.base)
    base.__class__ = type("OtherModel", (type(base),), {})


def patched(name, value):
    return lambda model, outline, patch: patch.setattr(prefix_key, name, value)


def library(name):
    version = prefix_key._version

    def change(model, outline, patch):
        patch.setattr(prefix_key, "_version", lambda other: "0" if other == name else version(other))

    return change


MODEL_CHANGES = {
    "weights: of the embeddings": changed_weight(lambda outline: outline.embeddings[0]),
    "weights: of the lowest layer": changed_weight(lambda outline: outline.layers[0][0]),
    "weights: of the highest layer below": changed_weight(lambda outline: outline.layers[1][-1]),
    "weights: a fixed table": changed_buffer,
    "configuration: activation": configured("hidden_act", "relu"),
    "configuration: epsilon": configured("layer_norm_eps", 1e-6),
    "configuration: heads": configured("num_attention_heads", 4),
    "configuration: attention": configured("_attn_implementation", "eager"),
    "encoder": renamed,
    "hidden": configured("hidden_size", 16),
    "processor": patched("processor", lambda device: "another"),
    "code: torch": library("torch"),
    "code: transformers": library("transformers"),
    "code: unfreeze": library("unfreeze"),
}
FIRST = FEATURES[0].inputs
DATA_CHANGES = {
    "data: one token": [replace(FEATURES[0], inputs=FIRST | {"input_ids": [9, *FIRST["input_ids"][1:]]})],
    "data: one mask": [replace(FEATURES[0], inputs=FIRST | {"attention_mask": [0, *FIRST["attention_mask"][1:]]})],
    "data: another input": [replace(FEATURES[0], inputs=FIRST | {"token_type_ids": [0] * FEATURES[0].length})],
    "data: another order": [FEATURES[1], FEATURES[0]],
    "data and tokens: one text more": [FEATURES[0], FEATURES[0]],
}
RUNTIME_CHANGES = {
    "device": Runtime("cuda", 1, "fp32"),
    "threads": Runtime("cpu", 2, "fp32"),
    "precision": Runtime("cpu", 1, "bf16-autocast"),
    "precision: the other bf16": Runtime("cpu", 1, "bf16-matmul"),
}


@pytest.fixture
def made(encoder_of):
    return make_model(encoder_of("bert"))


def without_caching(patch):
    patch.setattr(prefix_key, "code_version", prefix_key.code_version.__wrapped__)


@pytest.mark.parametrize("what", MODEL_CHANGES)
def test_the_key_changes_with_the_model_and_the_code(made, what, monkeypatch):
    without_caching(monkeypatch)
    before = keys_of(*made)[2]
    assert keys_of(*made)[2] == before, "and with nothing else"
    MODEL_CHANGES[what](*made, monkeypatch)
    after = keys_of(*made)[2]
    named = what.partition(":")[0]
    assert {name for name in before if before[name] != after[name]} in ({named}, {named, "configuration"})


@pytest.mark.parametrize("what", DATA_CHANGES)
def test_the_key_changes_with_what_the_model_reads(made, what):
    rest = FEATURES[len(DATA_CHANGES[what]) :] if "order" in what else FEATURES[1:]
    before, after = keys_of(*made)[2], keys_of(*made, features=[*DATA_CHANGES[what], *rest])[2]
    named = set(what.partition(":")[0].split(" and "))
    assert {name for name in before if before[name] != after[name]} == named


@pytest.mark.parametrize("what", RUNTIME_CHANGES)
def test_the_key_changes_with_how_it_is_computed(made, what, monkeypatch):
    monkeypatch.setattr(prefix_key, "processor", lambda device: "any")
    before, after = keys_of(*made)[2], keys_of(*made, runtime=RUNTIME_CHANGES[what])[2]
    assert {name for name in before if before[name] != after[name]} == {what.partition(":")[0]}


def test_no_ingredient_of_the_key_is_without_a_test(made):
    changes = [*MODEL_CHANGES, *DATA_CHANGES, *RUNTIME_CHANGES, "depth"]
    tried = {name for change in changes for name in change.partition(":")[0].split(" and ")}
    assert set(keys_of(*made)[1]) == tried >= {field.name for field in fields(Runtime)}
    assert set(prefix_key.code_version()) == {"sources", "unfreeze", "torch", "transformers"}


def test_the_key_changes_with_our_own_sources(tmp_path, monkeypatch):
    for package in ("engine", "encoders"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "a.py").write_text("1")
    monkeypatch.setattr(prefix_key, "__file__", str(tmp_path / "engine" / "prefix_key.py"))
    without_caching(monkeypatch)
    seen = {prefix_key.code_version()["sources"]}
    for package in ("engine", "encoders"):
        (tmp_path / package / "a.py").write_text("2")
        seen.add(prefix_key.code_version()["sources"])
    assert len(seen) == 3


def test_each_depth_has_its_own_key_which_weights_above_do_not_change(made):
    model, outline = made
    before = keys_of(*made, depth=3)
    assert set(before) == {1, 2, 3}
    assert len({key["weights"] for key in before.values()}) == 3
    changed_weight(lambda outline: outline.layers[2][0])(model, outline, None)
    after = keys_of(*made, depth=3)
    assert (before[1], before[2]) == (after[1], after[2])
    assert before[3]["weights"] != after[3]["weights"]
    assert keys_of(*made, depth=1) == {1: before[1]}


@pytest.mark.parametrize("family", ["bert", "modernbert", "deberta-v2", "distilbert"])
def test_the_head_its_labels_and_what_is_to_be_predicted_do_not_change_the_key(family, encoder_of):
    encoder = encoder_of(family)
    standard = keys_of(*make_model(encoder))
    others = [replace(feature, targets=(2,)) for feature in FEATURES]
    assert standard == keys_of(*make_model(encoder, seed=5), features=others)
    assert standard == keys_of(*make_model(encoder, head=HeadSettings("mean", 2)))
    assert standard == keys_of(*make_model(encoder, "token"))


def test_weights_are_digested_once_while_their_checksums_stay(made, monkeypatch):
    model, outline = made
    names, calls = StateKeys(FEATURES), []
    real = prefix_key._weights
    monkeypatch.setattr(prefix_key, "_weights", lambda *args: calls.append(args[2]) or real(*args))
    first = keys_of(model, outline, names=names, depth=3)
    assert keys_of(model, outline, names=names, depth=2) == {d: first[d] for d in (1, 2)}
    assert calls == [3]
    changed_weight(lambda outline: outline.layers[1][0])(model, outline, None)
    assert keys_of(model, outline, names=names, depth=3)[3] != first[3]
    assert calls == [3, 3]
