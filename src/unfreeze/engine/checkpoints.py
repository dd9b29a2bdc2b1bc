"""A training under way, on disk: atomic, verified, without pickle. What cannot be trusted is not resumed from.

Only what learns is stored; frozen weights come from the encoder again. Freezing and the order of the data are functions
of the progress, so there is no other state.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from unfreeze.files import is_whole, publish_folder, read_json, write_json

TENSORS, STATE = "tensors.safetensors", "state.json"


class Checkpoints:
    """The checkpoint of one trial.

    Args:
        folder: of the trial; the checkpoint is its subfolder ``checkpoint``.
        fingerprint: everything that must be the same for a resumed run to give the same bits; on a mismatch the trial
            begins anew.
    """

    def __init__(self, folder: Path, fingerprint: Mapping[str, Any]) -> None:
        self._folder = folder / "checkpoint"
        self._fingerprint = json.loads(json.dumps(dict(fingerprint)))  # as it will be read back

    def save(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        state: Mapping[str, Any],
        best: Mapping[str, torch.Tensor],
    ) -> None:
        """Publish a checkpoint in place of the former one.

        Args:
            optimizer: the parameters that it knows are stored by name, with their state.
            state: the loop's, as JSON; floats survive exactly.
            best: the best weights so far, by parameter name.
        """
        tensors = {f"best/{name}": tensor for name, tensor in best.items()}
        for name, parameter in _known(optimizer):
            tensors[f"weight/{name}"] = parameter.detach()
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"{key}/{name}"] = value

        def fill(folder: Path) -> None:
            save_file({key: value.contiguous() for key, value in tensors.items()}, folder / TENSORS)
            write_json(folder / STATE, {"fingerprint": self._fingerprint, "state": dict(state)})

        publish_folder(self._folder, fill)

    def load(self, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Any], dict[str, torch.Tensor]] | None:
        """Put a checkpoint back into the parameters of an optimizer, and into itself.

        Returns:
            The loop's state and the best weights; None where there is no whole checkpoint of just this run.
        """
        if not is_whole(self._folder):
            return None
        stored = read_json(self._folder / STATE)
        if stored["fingerprint"] != self._fingerprint:
            return None
        tensors = load_file(self._folder / TENSORS)
        with torch.no_grad():
            for name, parameter in _known(optimizer):
                parameter.copy_(tensors[f"weight/{name}"])
                kept = {
                    key: tensors[f"{key}/{name}"]
                    for key in ("step", "exp_avg", "exp_avg_sq", "momentum_buffer")
                    if f"{key}/{name}" in tensors
                }
                if kept:
                    optimizer.state[parameter] = {k: v.clone().to(parameter.device) for k, v in kept.items()}
        best = {key.removeprefix("best/"): value for key, value in tensors.items() if key.startswith("best/")}
        return stored["state"], best


def _known(optimizer: torch.optim.Optimizer) -> list[tuple[str, nn.Parameter]]:
    """The parameters that an optimizer knows, with their names."""
    groups = optimizer.param_groups
    return [pair for group in groups for pair in zip(group["param_names"], group["params"], strict=True)]
