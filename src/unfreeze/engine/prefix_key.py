"""What hidden states follow from: all that must be equal for states on disk to be the ones that are wanted."""

import hashlib
import importlib.metadata
import json
import platform
import zlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from unfreeze.encoders.outline import Outline
from unfreeze.engine.prefix_file import Key
from unfreeze.engine.runtime import Runtime
from unfreeze.tasks import Feature

_OF_NO_WEIGHT = {
    "_name_or_path",
    "architectures",
    "classifier_dropout",
    "dtype",
    "id2label",
    "label2id",
    "problem_type",
    "torch_dtype",
    "transformers_version",
}
"""What a configuration says that no hidden state follows from: the head, and where it came from."""


class StateKeys:
    """Names hidden states of one list of features by content.

    Args:
        features: the texts, tokenised.
    """

    def __init__(self, features: Sequence[Feature]) -> None:
        self._features = features
        self._digests: dict[Hashable, str] = {}

    def of(
        self, model: nn.Module, outline: Outline, *, runtime: Runtime, checksums: Mapping[int, Hashable]
    ) -> dict[int, Key]:
        """The key of the states at each depth that ``checksums`` name.

        Args:
            model: gives the weights below and the encoder's configuration.
            outline: its parts.
            runtime: how the states are computed.
            checksums: for each depth, what stands for the weights below it in this process: while that is the same, no
                weight is digested again.
        """
        if not self._digests.keys() >= set(checksums.values()):
            digests = _weights(model, outline, max(checksums))
            self._digests |= {checksums[depth]: digests[depth] for depth in checksums}
        common = self.common(model, outline, runtime=runtime)
        return {d: {**common, "depth": d, "weights": self._digests[known]} for d, known in checksums.items()}

    def common(self, model: nn.Module, outline: Outline, *, runtime: Runtime) -> Key:
        """What the states of all depths have in common."""
        base: Any = model.get_submodule(outline.base)
        return {
            "encoder": type(base).__name__,
            "configuration": _configuration(base.config),
            "data": self._data,
            "tokens": sum(feature.length for feature in self._features),
            "hidden": int(base.config.hidden_size),
            **asdict(runtime),
            "processor": processor(runtime.device),
            "code": dict(code_version()),
        }

    @cached_property
    def _data(self) -> str:
        """SHA-256 over what the model reads of every feature, in order; targets do not matter."""
        digest = hashlib.sha256()
        for feature in self._features:
            for name, values in sorted(feature.inputs.items()):
                digest.update(f"{name} {len(values)} ".encode())
                digest.update(np.asarray(values, dtype=np.int64).tobytes())
        return digest.hexdigest()


def checksums(model: nn.Module, outline: Outline, *, depth: int, runtime: Runtime) -> dict[int, Hashable]:
    """For each depth from 1 to ``depth``, what its states follow from within a process: weights below, and precision.

    A checksum stands for each weight: a tenth of a second for MiniLM, and training always changes it.
    """
    weights = dict(model.named_parameters())

    def sums(names: Sequence[str]) -> tuple[int, ...]:
        return tuple(zlib.crc32(weights[name].detach().cpu().contiguous().numpy().data) for name in names)

    below: tuple[int, ...] = sums((*outline.embeddings, *outline.shared))
    keys: dict[int, Hashable] = {}
    for index, names in enumerate(outline.layers[:depth]):
        below = (*below, *sums(names))
        keys[index + 1] = (runtime.precision, below)
    return keys


def processor(device: str) -> str:
    """What computes: another one rounds otherwise, and a home folder may be shared by several."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


@cache
def code_version() -> Mapping[str, str]:
    """Which code computes: versions, and a digest of our own sources, which change more often than our version."""
    digest = hashlib.sha256()
    for package in ("encoders", "engine"):
        for path in sorted((Path(__file__).parent.parent / package).glob("*.py")):
            digest.update(path.read_bytes())
    return {"sources": digest.hexdigest(), **{name: _version(name) for name in ("unfreeze", "torch", "transformers")}}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"  # run from its sources


def _configuration(config: Any) -> str:
    """SHA-256 over an encoder's configuration: equal weights compute other states with another activation."""
    told = {name: value for name, value in config.to_dict().items() if name not in _OF_NO_WEIGHT}
    told["attention"] = config._attn_implementation
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def _weights(model: nn.Module, outline: Outline, depth: int) -> dict[int, str]:
    """For each depth from 1 on, SHA-256 over the weights below it, and what else the encoder holds."""
    weights = dict(model.named_parameters())
    prefix = f"{outline.base}." if outline.base else ""
    digest = hashlib.sha256()

    def take(tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
        for name, tensor in tensors:
            values = tensor.detach().cpu().contiguous()
            digest.update(f"{name.removeprefix(prefix)} {values.dtype} {tuple(values.shape)} ".encode())
            digest.update(values.reshape(-1).view(torch.uint8).numpy().data)

    take((name, weights[name]) for name in (*outline.embeddings, *outline.shared))
    take(model.get_submodule(outline.base).named_buffers())
    found = {}
    for number, names in enumerate(outline.layers[:depth], 1):
        take((name, weights[name]) for name in names)
        found[number] = digest.hexdigest()
    return found
