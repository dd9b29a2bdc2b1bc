"""What a case is, and how the commands of its sides are put together.

The sides of a pair run one after the other, so that what else the machine does falls on all of them alike. The number
of the pair is the seed of all its sides.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from figures import Figure
from inputs import cut, embedded_encoder, of_length
from measuring import HERE, Side

SIZES = ("small", "usual", "full")
"""A smoke run; few steps, whose seconds a step are those of a long run; whole runs, whose scores count."""

TUNED = ("--bf16", "--group-by-length")
PEERS: Mapping[str, tuple[str, ...]] = {"HF default": (), "HF tuned": TUNED}
Sides = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Setting:
    """What the sides of one pair are made from.

    Attributes:
        size: one of ``SIZES``.
        pair: its number, from 0: the seed.
        data: the folder of shared data sets.
        peers: the folder of the peers' scripts.
        work: a folder for files that all pairs share; None to name them only.
    """

    size: str
    pair: int = 0
    data: Path = Path()
    peers: Path = Path()
    work: Path | None = None

    def rows(self, name: str, split: str, number: int) -> str:
        """A file with so many rows of a data set."""
        if self.work is None:
            return f"{name}-{split}-{number}"
        return str(cut(self.data / name / f"{split}.csv", number, into=self.work))

    def texts(self, name: str, number: int, *, words: int) -> str:
        """A file with so many texts of so many words each, from the words of a data set."""
        if self.work is None:
            return f"{name}-{number}-{words}"
        return str(of_length(self.data / name / "train.csv", number, words=words, into=self.work))

    def ours(self, name: str, verb: str, *options: object, on_gpu: bool = False) -> Side:
        """Our side."""
        return Side(name, (sys.executable, str(HERE / "ours.py"), verb, *map(str, options)), on_gpu)

    def rival(self, name: str, *options: object, on_gpu: bool = False) -> Side:
        """Another side that is written here."""
        return Side(name, (sys.executable, str(HERE / "rivals.py"), *map(str, options)), on_gpu)

    def peer(self, name: str, *options: object, gradual: bool = False, on_gpu: bool = False) -> Side:
        """The peer: a script on transformers' Trainer, told what ``ours.py`` does by itself."""
        same = ("--batch", "32", "--warmup", "0.1", "--weight-decay", "0.01", "--threads", "1")
        usual = ("--model", str(embedded_encoder()), *same, "--seed", str(self.pair))
        script = ("peer", *(["--gradual"] if gradual else []), self.peers / "peer_trainer.py")
        return self.rival(name, *script, *usual, *options, on_gpu=on_gpu)


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        what: in a sentence.
        sides: the commands of a pair.
        figures: from what they printed, by side.
        needs: what must be there: "peers", "data", "gpu".
        pairs: how many are measured if none is asked for.
        tidied: the sides' answers without what need not be kept.
    """

    what: str
    sides: Callable[[Setting], Sequence[Side]]
    figures: Callable[[Sides], Sequence[Figure]]
    needs: frozenset[str] = frozenset({"peers", "data"})
    pairs: int = 3
    tidied: Callable[[Sides], Sides] = lambda sides: sides

    def commands(self, size: str) -> str:
        """A short digest of what is run at a size, so that pairs of other commands are not counted with these."""
        told = [[Path(word).name for word in side.command] for side in self.sides(Setting(size))]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]


def score(side: Mapping[str, Any]) -> float | None:
    """The accuracy on test rows that a side reached."""
    return (side.get("test_score") or {}).get("accuracy")


def scores(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Both sides' accuracy."""
    return score(ours), score(theirs)
