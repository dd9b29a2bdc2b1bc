"""The ledger: a folder a trial, complete if and only if its result file exists.

A crash loses at most the trial under way, and that one goes on from its checkpoint. A finished comparison can be judged and
reported again without training.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from unfreeze.compare.trials import OUTPUTS, RESULT, Trial
from unfreeze.errors import SettingsError
from unfreeze.files import MANIFEST, is_whole, read_json, told_plainly, write_json

IDENTITY = "comparison.json"


class Ledger:
    """The output folder of one comparison.

    Args:
        folder: made if it is not there.
        identity: what makes it this comparison and no other: data, encoder, settings.

    Raises:
        SettingsError: the folder holds another comparison, or files that are none of ours.
        StorageError: it cannot be written.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        stored = folder / IDENTITY
        if stored.exists():
            _refuse_another(folder, read_json(stored)["identity"], identity)
        elif folder.exists() and (not folder.is_dir() or any(not p.name.startswith(".") for p in folder.iterdir())):
            raise SettingsError(
                f"{folder} exists and holds no comparison; choose another --output-dir, or empty that folder"
            )
        else:
            write_json(stored, {"identity": dict(identity), "decisions": {}})
        with told_plainly(folder):
            (folder / "trials").mkdir(parents=True, exist_ok=True)
        for leftover in (folder / "trials").glob(".*.part"):
            shutil.rmtree(leftover, ignore_errors=True)

    def folder_of(self, trial: Trial) -> Path:
        """Where a trial's record and checkpoint are."""
        return self.folder / "trials" / trial.key

    def record(self, trial: Trial) -> dict[str, Any] | None:
        """A completed trial's record, None where it is not complete or was damaged."""
        folder = self.folder_of(trial)
        if not (folder / RESULT).exists() or not (folder / MANIFEST).exists() or not is_whole(folder):
            return None
        return read_json(folder / RESULT)

    def outputs(self, trial: Trial) -> dict[str, np.ndarray]:
        """A completed trial's counts by split, and the examples that they belong to."""
        return load_file(self.folder_of(trial) / OUTPUTS)

    def decision(self, name: str) -> Any:
        """What was decided earlier under a name, None if nothing was: a resumed comparison decides nothing twice."""
        return read_json(self.folder / IDENTITY)["decisions"].get(name)

    def decide(self, name: str, value: Any) -> None:
        """Remember a decision that rests on timing, so that going on gives the same comparison."""
        stored = read_json(self.folder / IDENTITY)
        stored["decisions"][name] = value
        write_json(self.folder / IDENTITY, stored)


def _refuse_another(folder: Path, stored: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    differing = sorted(key for key in {*stored, *identity} if stored.get(key) != identity.get(key))
    if differing:
        what = ", ".join(key.replace("_", " ") for key in differing)
        raise SettingsError(
            f"{folder} holds another comparison (it differs in: {what}); choose another --output-dir, "
            "or repeat the command that began it"
        )
