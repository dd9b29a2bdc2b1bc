"""Records and digests of trials; whole trials are run in tests/test_conducting.py."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from unfreeze.compare.trials import Trial, tensor_digest, weights_digest
from unfreeze.encoders.building import build_model
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.encoders.loading import load_encoder
from unfreeze.engine.settings import TrainingSettings

TRIAL = Trial("last-k:k=4", HeadSettings(), TrainingSettings(), 0)


@pytest.mark.parametrize(
    "other",
    [
        replace(TRIAL, strategy="last-k"),
        replace(TRIAL, head=HeadSettings("mean")),
        replace(TRIAL, settings=TrainingSettings(seed=1)),
        replace(TRIAL, settings=TrainingSettings(learning_rate=1.0001e-4)),
        replace(TRIAL, fold=1),
        replace(TRIAL, fold=None),
        TRIAL.stopped_after(3),
        TRIAL.stopped_after(3, temperature=1.5),
    ],
)
def test_trials_that_differ_have_folders_of_their_own(other: Trial) -> None:
    assert other.key != TRIAL.key


def test_heads_of_another_make_have_folders_of_their_own() -> None:
    heads = (
        HeadSettings("mean", 2),
        HeadSettings("mean", 2, mixed=True),
        HeadSettings("mean", 2, network="mlp"),
        HeadSettings("mean", 2, mixed=True, network="mlp"),
    )
    assert len({replace(TRIAL, head=head).key for head in heads}) == len(heads)


def test_a_trials_folder_is_a_plain_name() -> None:
    assert TRIAL.key == replace(TRIAL).key
    assert TRIAL.key.startswith("last-k-k-4-seed0-fold0-")
    assert json.dumps(TRIAL.key).isascii()
    assert not set(TRIAL.key) & set('\\/:*?"<>|= ')


def test_the_digest_of_weights_sees_every_tensor_and_its_name() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    model.register_buffer("scale", torch.tensor(1.5))  # without dimensions, as some families have
    before = weights_digest(model)
    assert weights_digest(model) == before
    with torch.no_grad():
        model[0].weight[1, 1] += 1e-7
    changed = weights_digest(model)
    assert changed != before
    model.scale = torch.tensor(1.25)
    assert weights_digest(model) not in {before, changed}
    other = nn.Sequential(nn.LayerNorm(2), nn.Linear(2, 2))
    assert weights_digest(other) != before


def test_the_digest_changes_with_any_single_tensor_of_a_model(tiny_encoder_dir: Path) -> None:
    how: dict[str, Any] = {"kind": "sequence", "labels": ("a", "b"), "weights": "pretrained", "seed": 0}
    model = build_model(load_encoder(str(tiny_encoder_dir)), HeadSettings("mean", 2), **how)
    tensors, seen = model.state_dict(), {weights_digest(model)}
    for tensor in tensors.values():
        with torch.no_grad():
            tensor.reshape(-1)[-1] += 1
        seen.add(weights_digest(model))
    assert len(seen) == 1 + len(tensors)


def test_a_tensors_digest_that_is_given_is_not_computed_and_a_name_that_is_not_there_counts_for_nothing() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    before = weights_digest(model)
    known = {"1.weight": tensor_digest(model[1].weight), "2.weight": "0" * 64}
    assert weights_digest(model, known=known) == before
    with torch.no_grad():
        model[1].weight[0] += 1
    assert weights_digest(model, known=known) == before != weights_digest(model)
    with torch.no_grad():
        model[0].bias[0] += 1
    assert weights_digest(model, known=known) != before


def test_a_trial_without_a_temperature_has_the_name_from_before_there_was_one() -> None:
    known = replace(TRIAL, head=HeadSettings("mean", 2))
    assert known.key == "last-k-k-4-seed0-fold0-3c581ff445"
    assert replace(known, settings=TrainingSettings(temperature=2.0)).key != known.key
    assert replace(known, settings=TrainingSettings(weight_decay_towards="pretrained")).key != known.key
