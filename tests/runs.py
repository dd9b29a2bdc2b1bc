"""What the tests of training stand on: features without a tokenizer, tiny models, and runs of a few steps."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from unfreeze.encoders.building import build_model
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.encoders.loading import Encoder
from unfreeze.encoders.outline import Outline
from unfreeze.encoders.reading_outline import read_outline
from unfreeze.engine.dropout import Dropout
from unfreeze.engine.gradients import BatchGradients
from unfreeze.engine.prefix import PrefixMemory
from unfreeze.engine.runtime import Runtime
from unfreeze.engine.settings import TrainingSettings
from unfreeze.engine.stages import enter_stage
from unfreeze.engine.training import TrainingData
from unfreeze.plan import one_stage
from unfreeze.tasks import IGNORED, Feature

RUNTIME = Runtime("cpu", 1, "fp32")
LABELS = ("a", "b", "c")
SETTINGS = TrainingSettings(
    learning_rate=5e-3, num_train_epochs=4, per_device_train_batch_size=6, patience=9, adam_epsilon=1e-4
)
"""A large epsilon: gradients that are zero but for rounding (a key's bias) would else move weights at full rate."""


def make_features(number: int, kind: str = "sequence", *, seed: int = 0, longest: int = 20) -> list[Feature]:
    """Features whose class can be read off their second token; for tokens, off every second token.

    Their words are of two tokens, the last of one where the length is even; the first token is none.
    """
    generator = np.random.default_rng(seed)
    features = []
    for example in range(number):
        length = int(generator.integers(3, longest + 1))
        ids = [int(i) for i in generator.integers(5, 200, length)]
        inputs = {"input_ids": ids, "attention_mask": [1] * length}
        whole = tuple((i, min(i + 2, length)) for i in range(1, length, 2))
        if kind == "sequence":
            features.append(Feature(example, inputs, (ids[1] % len(LABELS),), whole_words=whole))
            continue
        words = tuple(i // 2 if i % 2 else -1 for i in range(length))
        targets = tuple(ids[i] % len(LABELS) if word >= 0 else IGNORED for i, word in enumerate(words))
        spans = ((1, 2), (3, 6)) if length > 6 else ((1, 2),) if length > 4 else ()
        features.append(Feature(example, inputs, targets, words, spans, whole))
    return features


def right(features: Sequence[Feature]) -> Callable[[list[np.ndarray]], float]:
    """The share of targets that logits name."""

    def score(logits: list[np.ndarray]) -> float:
        hits = total = 0
        for feature, values in zip(features, logits, strict=True):
            targets = np.asarray(feature.targets)
            hits += int(((values if feature.words else values[None]).argmax(-1) == targets)[targets >= 0].sum())
            total += int((targets >= 0).sum())
        return hits / total

    return score


def make_data(features: list[Feature], memory: PrefixMemory | None = None) -> TrainingData:
    """The first three quarters to learn from, the rest to validate on."""
    cut = 3 * len(features) // 4
    return TrainingData(features, range(cut), range(cut, len(features)), right(features[cut:]), memory)


def torch_optimizer(groups: list[dict[str, Any]], settings: TrainingSettings) -> torch.optim.Optimizer:
    """The optimizer that settings name, as anyone would make it by hand, neither fused nor stacked."""
    if settings.optim == "sgd":
        return torch.optim.SGD(groups, lr=0.0, momentum=0.9, foreach=False)
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[settings.optim]
    return kind(groups, lr=0.0, eps=settings.adam_epsilon, foreach=False)


def batch_gradients(model: nn.Module, outline: Outline, *, dropout: Dropout | None = None) -> BatchGradients:
    """What computes the gradients of a model all of whose parameters learn."""
    enter_stage(model, outline, stage=one_stage(outline.names).stages[0])
    return BatchGradients(model, outline, runtime=RUNTIME, dropout=dropout or Dropout(model, seed=0))


def without_dropout(encoder: Encoder) -> Encoder:
    """The same encoder, every dropout of its configuration set to 0."""
    config = copy.deepcopy(encoder.config)
    for name in list(config.to_dict()):
        if "dropout" in name:
            setattr(config, name, 0.0)
    return replace(encoder, config=config)


def make_model(
    encoder: Encoder,
    kind: str = "sequence",
    *,
    head: HeadSettings | None = None,
    weights: str = "pretrained",
    seed: int = 0,
) -> tuple[Any, Outline]:
    """A model for ``LABELS`` and its outline."""
    model = build_model(encoder, head or HeadSettings(), kind=kind, labels=LABELS, weights=weights, seed=seed)  # type: ignore[arg-type]
    return model, read_outline(model)


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of all parameters, by name."""
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def differing(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> set[str]:
    """Names of the tensors that are not the same bits."""
    assert first.keys() == second.keys()
    return {name for name in first if not torch.equal(first[name], second[name])}


def farthest(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    """The largest difference between two sets of weights."""
    return max(float((first[name] - second[name]).abs().max()) for name in first)
