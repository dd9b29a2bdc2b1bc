"""The weights of the best trial so far, so that there is a usable model at any moment.

Whoever trains keeps a trial's weights if no better ones are there, and deletes the worse ones; whoever hands over reads
what it finds. Only what the trial trained is kept: the rest is the pretrained encoder, which is there anyway.
"""

import shutil
from contextlib import suppress
from math import isfinite
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import nn

from unfreeze.compare.material import Material
from unfreeze.compare.trials import Trained, Trial, planned
from unfreeze.encoders.masked_head import detach_masked_head
from unfreeze.engine.runtime import Runtime
from unfreeze.engine.training import State
from unfreeze.files import write_bytes

FOLDER = ".best"


def keep_if_best(trials: Path, trial: Trial, *, trained: Trained, score: float | None) -> bool:
    """Keep a trial's weights, unless those of a better one are kept.

    Args:
        trials: the folder of all trials.
        trial: whose.
        trained: its model.
        score: its validation score, a fraction; None or NaN where it has none.

    Returns:
        Whether they were kept.

    Raises:
        StorageError: they could not be written.
    """
    if score is None or not isfinite(score):
        return False
    kept = _kept(trials)
    if kept and max(kept.values()) >= score:
        return False
    learned = trained.plan.ever_trainable
    weights = {
        name: parameter.detach().to("cpu", copy=True).contiguous()
        for name, parameter in trained.model.named_parameters()
        if name in learned
    }
    (trials / FOLDER).mkdir(parents=True, exist_ok=True)
    write_bytes(trials / FOLDER / f"{score:.9f} {trial.key}", save(weights))
    for path in kept:
        path.unlink(missing_ok=True)
    return True


def best_so_far(trials: Path) -> tuple[Path, str, float] | None:
    """The file, the trial's key and the score of the best weights that are kept; None where there are none."""
    kept = _kept(trials)
    if not kept:
        return None
    path = max(kept, key=lambda path: (kept[path], path.name))
    return path, path.name.partition(" ")[2], kept[path]


def forget_best(trials: Path) -> None:
    """Delete what is kept: the final model is there."""
    shutil.rmtree(trials / FOLDER, ignore_errors=True)


def load_kept(path: Path, trial: Trial, *, material: Material, runtime: Runtime) -> Trained:
    """A trial's model with the weights that were kept of it.

    Args:
        path: as ``best_so_far`` gives it.
        trial: the one they are of.
        material: what all trials share.
        runtime: how to compute.
    """
    model, outline, plan = planned(material, trial, runtime=runtime)
    detach_masked_head(model)  # as after training; what is kept was kept without it
    _fill(model, load(path.read_bytes()))
    return Trained(model, outline, plan, State())


def _fill(model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in weights.items():
            parameters[name].copy_(tensor)


def _kept(trials: Path) -> dict[Path, float]:
    """Files of weights with their scores; names that are none of ours are left alone."""
    found: dict[Path, float] = {}
    for path in (trials / FOLDER).glob("* *"):
        with suppress(ValueError):
            found[path] = float(path.name.partition(" ")[0])
    return found
