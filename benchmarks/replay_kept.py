"""What is kept of a cell: a JSON file with a line a trial, and the counts a trial in a compressed array beside it.

No text is kept and no label of a row, only counts that scores are summed from: for classification (correct, 1), for
entities (found, said, gold), one row an example, in the order of the cell's files.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from unfreeze.encoders.head_settings import HeadSettings

SPLITS = ("validation", "test")
COLUMNS = {"classification": 2, "ner": 3}
"""How many of the library's counts the primary score is summed from; they come first."""

KEY = ("strategy", "pooling", "layers", "rate", "seed")
"""What tells two trials of a cell apart."""

Key = tuple[str, str, int, float, int]


def pooling_of(head: "HeadSettings") -> str:
    """How a head is kept beside the number of its layers: its pooling, then what is not usual, "tokens+mixed+mlp"."""
    network = () if head.network == "linear" else (head.network,)
    return "+".join((head.pooling, *(("mixed",) if head.mixed else ()), *network))


def head_of(pooling: str, layers: int) -> "HeadSettings":
    """The head that is kept so."""
    from unfreeze.encoders.head_settings import HeadSettings

    first, *others = pooling.split("+")
    network = next((name for name in others if name != "mixed"), "linear")
    return HeadSettings(first, layers, mixed="mixed" in others, network=network)  # type: ignore[arg-type]


def key_of(trial: Mapping[str, Any]) -> Key:
    """What tells a kept trial from the others of its cell."""
    return tuple(trial[name] for name in KEY)  # type: ignore[return-value]


@dataclass(slots=True)
class Kept:
    """All that is kept of a cell.

    Attributes:
        about: of the cell: its data, task, machine, prices.
        trials: a row each, as the collection wrote it.
        counts: for each split, (trials, examples, counts).
    """

    about: dict[str, Any]
    trials: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, list[np.ndarray]] = field(default_factory=lambda: {split: [] for split in SPLITS})

    def has(self, key: Key) -> bool:
        """Whether a trial is kept."""
        return any(key_of(trial) == key for trial in self.trials)

    def add(self, trial: dict[str, Any], counts: Mapping[str, np.ndarray]) -> None:
        """Keep a trial.

        Raises:
            ValueError: a count does not fit into a byte.
        """
        rows = {split: np.asarray(counts[split])[:, : COLUMNS[self.about["task"]]] for split in SPLITS}
        for split, row in rows.items():
            if row.min(initial=0) < 0 or row.max(initial=0) > 255:
                raise ValueError(f"{key_of(trial)}: a count of {split} is {row.max()}; a byte holds 0 to 255")
            self.counts[split].append(row.astype(np.uint8))
        self.trials.append(trial)

    def write(self, folder: Path, name: str) -> None:
        """Write both files, the arrays first: a crash between the two loses what is told of in neither."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays, lines = folder / f"{name}.npz", folder / f"{name}.json"
        part = folder / f".{name}.part.npz"
        np.savez_compressed(part, **{split: np.array(rows) for split, rows in self.counts.items()})
        os.replace(part, arrays)
        part = folder / f".{name}.part.json"
        rows = ",\n".join(json.dumps(trial, separators=(",", ":")) for trial in self.trials)
        part.write_text(f'{{"about":{json.dumps(self.about)},\n"trials":[\n{rows}\n]}}\n', encoding="utf-8")
        os.replace(part, lines)


def read_kept(folder: Path, name: str) -> Kept | None:
    """What is kept of a cell; None if nothing is."""
    if not (folder / f"{name}.json").is_file():
        return None
    told = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    with np.load(folder / f"{name}.npz") as arrays:
        counts = {split: list(arrays[split][: len(told["trials"])]) for split in SPLITS}
    return Kept(told["about"], told["trials"], counts)
