"""The ledger: a folder a trial, complete if and only if its result file exists.

A crash loses at most the trial under way, and that one goes on from its checkpoint. A finished comparison can be judged
and reported again without training.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from unfreeze.compare.lock import held
from unfreeze.compare.recording import OUTPUTS, RESULT
from unfreeze.compare.trials import Trial
from unfreeze.errors import SettingsError
from unfreeze.files import MANIFEST, is_whole, read_json, told_plainly, write_json

IDENTITY = "comparison.json"


class Ledger:
    """The output folder of one comparison. Whoever writes into it holds its lock: see ``opened``.

    Args:
        folder: made if it is not there.
        identity: what makes it this comparison and no other: data, encoder, how it is computed.

    Raises:
        SettingsError: the folder holds another comparison, or files that are none of ours.
        StorageError: it cannot be written.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        check_folder(folder, identity)
        if not (folder / IDENTITY).exists():
            write_json(folder / IDENTITY, {"identity": dict(identity), "decisions": {}})
        with told_plainly(folder):
            (folder / "trials").mkdir(parents=True, exist_ok=True)
        self._sweep()

    def _sweep(self) -> None:
        """Delete what killed processes left half-written, here and beside the trials."""
        for place in (self.folder, self.folder / "trials"):
            for leftover in (*place.glob(".*.part"), *place.glob(".*.old")):
                if leftover.is_dir():
                    shutil.rmtree(leftover, ignore_errors=True)
                else:
                    leftover.unlink(missing_ok=True)

    @property
    def trials(self) -> Path:
        """The folder that holds a folder for each trial."""
        return self.folder / "trials"

    def folder_of(self, trial: Trial) -> Path:
        """Where a trial's record and checkpoint are."""
        return self.trials / trial.key

    def record(self, trial: Trial) -> dict[str, Any] | None:
        """A completed trial's record, None where it is not complete or was damaged."""
        folder = self.folder_of(trial)
        if not (folder / RESULT).exists() or not (folder / MANIFEST).exists() or not is_whole(folder):
            return None
        record = read_json(folder / RESULT)
        return record if record.get("trial") == json.loads(json.dumps(asdict(trial))) else None

    def is_damaged(self, trial: Trial) -> bool:
        """Whether a trial was completed once and its files are no longer what they were."""
        return (self.folder_of(trial) / RESULT).exists() and self.record(trial) is None

    def outputs(self, trial: Trial) -> dict[str, np.ndarray]:
        """A completed trial's counts by split, and the examples that they belong to."""
        return load_file(self.folder_of(trial) / OUTPUTS)

    def forget(self, trial: Trial) -> None:
        """Delete a trial's folder: the checkpoint of a model that is saved elsewhere."""
        shutil.rmtree(self.folder_of(trial), ignore_errors=True)

    def decision(self, name: str) -> Any:
        """What was decided earlier under a name, None if nothing was: a resumed comparison decides nothing twice."""
        return read_json(self.folder / IDENTITY)["decisions"].get(name)

    def decide(self, name: str, value: Any) -> None:
        """Remember a decision that rests on timing, so that going on gives the same comparison."""
        stored = read_json(self.folder / IDENTITY)
        stored["decisions"][name] = value
        write_json(self.folder / IDENTITY, stored)


@contextmanager
def opened(folder: Path, identity: Mapping[str, Any]) -> Iterator[Ledger]:
    """A ledger with its lock held, so that no second process writes into it.

    Args:
        folder: made if it is not there; a folder of somebody else's is left as it is.
        identity: as ``Ledger`` takes it.

    Raises:
        SettingsError: as ``Ledger`` raises it, or another process is at work there.
        StorageError: the folder cannot be written.
    """
    check_folder(folder, identity)
    with held(folder):
        yield Ledger(folder, identity)


def stored_identity(folder: Path) -> dict[str, Any] | None:
    """The identity of the comparison in a folder, None where there is none.

    Raises:
        SettingsError: there is a file of that name, but no comparison of ours.
        StorageError: it cannot be read.
    """
    if not (folder / IDENTITY).exists():
        return None
    stored = read_json(folder / IDENTITY)
    ours = isinstance(stored, dict) and isinstance(stored.get("identity"), dict)
    if not ours or not isinstance(stored.get("decisions"), dict):
        raise SettingsError(f"{folder / IDENTITY} is no comparison of ours; choose another --output-dir")
    identity: dict[str, Any] = stored["identity"]
    return identity


def check_folder(folder: Path, identity: Mapping[str, Any]) -> None:
    """Refuse a folder that holds another comparison, or somebody else's files; nothing is written.

    Raises:
        SettingsError: it is one of these; says what differs.
        StorageError: it cannot be read.
    """
    stored = stored_identity(folder)
    if stored is None:
        if folder.exists() and (not folder.is_dir() or any(not p.name.startswith(".") for p in folder.iterdir())):
            raise SettingsError(
                f"{folder} exists and holds no comparison; choose another --output-dir, or empty that folder"
            )
        return
    differing = sorted(key for key in {*stored, *identity} if stored.get(key) != identity.get(key))
    if differing:
        what = "; ".join(_difference(key, stored.get(key), identity.get(key)) for key in differing)
        raise SettingsError(
            f"{folder} holds another comparison (it differs in: {what}); choose another --output-dir, "
            "or repeat the command that began it"
        )


def _difference(key: str, before: Any, now: Any) -> str:
    """What differs, in words; digests are not shown, because they tell nobody anything."""
    name = key.replace("_", " ")
    if not isinstance(before, dict) or not isinstance(now, dict):
        return name
    parts = [k for k in sorted({*before, *now}) if before.get(k) != now.get(k)]
    return ", ".join(f"{name}: {part} was {before.get(part)}, is {now.get(part)}" for part in parts)
