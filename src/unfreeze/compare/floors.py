"""Rivals that need no encoder: what a comparison must beat to be worth anything."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from unfreeze.compare.clusters import clusters_of
from unfreeze.compare.material import Material
from unfreeze.compare.statistics import RunScores


@dataclass(frozen=True, slots=True)
class Floor:
    """A rival that needs no encoder: its counts on validation and on test, and the seconds it took."""

    name: str
    runs: RunScores
    test: np.ndarray | None
    seconds: float


def floors_of(material: Material, *, folds: int, seed: int) -> list[Floor]:
    """The task's floors on the first ``folds`` folds, and on test from all other rows.

    Args:
        material: what all arms share.
        folds: how many.
        seed: of what is random in them.
    """
    task, examples, started = material.task, material.examples, time.perf_counter()
    parts = material.splits.folds[:folds]
    rows = sorted(row for fold in parts for row in fold.validation)
    place = {example: i for i, example in enumerate(rows)}
    found: dict[str, np.ndarray] = {}
    scores: dict[str, list[float]] = {}
    for fold in parts:
        train, validation = [examples[i] for i in fold.train], [examples[i] for i in fold.validation]
        for name, predictions in task.floors(train, validation, seed=seed).items():
            counts = task.counts(validation, predictions)
            found.setdefault(name, np.zeros((1, len(rows), counts.shape[1])))
            found[name][0, [place[i] for i in fold.validation]] = counts
            scores.setdefault(name, []).append(float(task.score(counts.sum(0))))
    tested: Mapping[str, Any] = {}
    test = [examples[i] for i in material.splits.test]
    if test:
        tested = task.floors([examples[i] for i in material.splits.not_test], test, seed=seed)
    seconds = (time.perf_counter() - started) / max(1, len(found) * (folds + 1))
    clusters = clusters_of([examples[i] for i in rows])
    share = len(parts[0].validation) / len(parts[0].train)
    return [
        Floor(
            name,
            RunScores(np.array([scores[name]]), counts, share, clusters),
            task.counts(test, tested[name]) if test else None,
            seconds,
        )
        for name, counts in found.items()
    ]
