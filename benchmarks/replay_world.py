"""A cell as it is replayed: its settings, what they scored and cost, and the peers' runs on the same rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from replay_judging import Array, Judged, Score, judged
from replay_kept import SPLITS, Kept, key_of, read_kept

COST = "cpu_seconds"
"""What a trial is charged: other work on the machine stretches its wall time, not this."""

NOISE = 0.1
"""How wrong a price that is told before the first trial may be, a share."""

SEEDS_OF_SEARCH = 2
"""Seeds of the exhaustive comparison whose price budgets are shares of."""

Setting = tuple[str, str, int, float]
"""Arm, pooling and layers of its head, learning rate."""


@dataclass(frozen=True, slots=True)
class World:
    """What is known of a cell when it is replayed.

    Attributes:
        name: of the cell.
        about: what the collection says of it.
        settings: of all arms, in the order collected: an arm's first is its standard head at its middle rate.
        seeds: those that every setting was run with.
        rows: the kept trial of each setting and seed, by (setting's place, seed).
        counts: for each split, (settings, seeds, examples, counts).
        score: sums of counts to scores.
        on_halves: the settings' test scores on halves.
        peers: the kept trials of the peers and their test counts, (trials, examples, counts); None if there are none.
    """

    name: str
    about: Mapping[str, Any]
    settings: tuple[Setting, ...]
    seeds: tuple[int, ...]
    rows: Mapping[tuple[int, int], Mapping[str, Any]]
    counts: Mapping[str, Array]
    score: Score
    on_halves: Judged
    peers: Kept | None

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms, in the order collected."""
        return tuple(dict.fromkeys(setting[0] for setting in self.settings))

    def middle(self, arm: str) -> int:
        """Place of an arm's standard head at its middle rate."""
        return next(i for i, setting in enumerate(self.settings) if setting[0] == arm)

    def cost(self, setting: int, seed: int) -> float:
        """Seconds of one trial."""
        return float(self.rows[setting, seed][COST])

    @property
    def exhaustive_price(self) -> float:
        """Seconds of every setting with so many seeds as an exhaustive comparison takes."""
        some = self.seeds[:SEEDS_OF_SEARCH]
        whole = sum(self.cost(i, seed) for i in range(len(self.settings)) for seed in some)
        return whole * SEEDS_OF_SEARCH / len(some)

    def validated(self) -> Array:
        """Validation scores, (settings, seeds); -1 where a run diverged."""
        scores = self.score(self.counts["validation"].sum(2))
        for (i, seed), row in self.rows.items():
            if row["state"] != "done":
                scores[i, self.seeds.index(seed)] = -1.0
        return scores

    def one_hot(self, setting: int) -> Array:
        """The shares of a choice that is always the same."""
        return np.eye(len(self.settings))[setting]


def read_world(folder: Path, name: str) -> World | None:
    """A cell that is kept; None where nothing is, or no seed has all of its settings."""
    kept = read_kept(folder, name)
    if kept is None:
        return None
    found = {key_of(row): place for place, row in enumerate(kept.trials) if row["strategy"] != "untouched"}
    settings = tuple(dict.fromkeys(key[:4] for key in found))
    seeds = tuple(sorted(s for s in {key[4] for key in found} if all((*some, s) in found for some in settings)))
    if not seeds:
        return None
    places = [[found[*some, seed] for seed in seeds] for some in settings]
    counts = {split: np.array(kept.counts[split], dtype=np.float64)[np.array(places)] for split in SPLITS}
    score = scoring(kept.about["task"])
    rows = {(i, seed): kept.trials[places[i][j]] for i in range(len(settings)) for j, seed in enumerate(seeds)}
    halves = judged(counts["test"], score)
    peers = read_kept(folder, f"{name}-peers")
    return World(name, kept.about, settings, seeds, rows, counts, score, halves, peers)


def scoring(task: str) -> Score:
    """Sums of the kept counts to the task's primary score."""
    from unfreeze.tasks import task_named

    return task_named(task)().score  # type: ignore[call-arg]  # its labels are not needed


@dataclass(frozen=True, slots=True)
class Peer:
    """A rival that is not ours.

    Attributes:
        name: what it is.
        counts: its test counts, (seeds, examples, counts).
        price: CPU seconds of all that its user runs for one model: of the competent script all it tries, too.
        setting: rate and epochs.
    """

    name: str
    counts: Array
    price: float
    setting: str


def peers_of(world: World) -> dict[str, Peer]:
    """The two peers of a cell, "default" and "competent", as far as they are kept."""
    if world.peers is None:
        return {}
    rows, counts = world.peers.trials, np.array(world.peers.counts["test"], dtype=np.float64)
    metric = world.peers.about["metric"]
    default = [i for i, row in enumerate(rows) if row["strategy"] == "default"]
    found = {"default": _peer("default Trainer", rows, default, counts, searched=[])}
    tried = [i for i, row in enumerate(rows) if row["strategy"] != "default" and row["seed"] == 0]
    if tried:
        best = max(tried, key=lambda i: rows[i]["scores"]["validation"][metric])
        same = [i for i, row in enumerate(rows) if key_of(row)[:4] == key_of(rows[best])[:4]]
        found["competent"] = _peer("competent script", rows, same, counts, searched=[i for i in tried if i != best])
    return found


def _peer(name: str, rows: list[dict[str, Any]], runs: list[int], counts: Array, *, searched: list[int]) -> Peer:
    price = float(np.mean([rows[i][COST] for i in runs])) + sum(rows[i][COST] for i in searched)
    first = rows[runs[0]]
    return Peer(name, counts[runs], price, f"{first['rate']:g}, {first['epochs']} epochs")


@dataclass(frozen=True, slots=True)
class Order:
    """What differs from replay to replay.

    Attributes:
        seeds: the kept seeds in the order in which the race is given them.
        arms: the order of arms, which counts where their priority is equal.
        noise: what each arm's price is told wrong by, a factor by name.
        number: of the order, also the seed of the race's own draws.
    """

    seeds: tuple[int, ...]
    arms: tuple[str, ...]
    noise: Mapping[str, float]
    number: int


def orders_of(world: World, number: int) -> list[Order]:
    """So many random orders, the same whenever they are asked for."""
    made = []
    for i in range(number):
        random = np.random.default_rng([i, 4])
        noise = {arm: float(random.uniform(1 - NOISE, 1 + NOISE)) for arm in world.arms}
        seeds, arms = random.permutation(world.seeds).tolist(), random.permutation(world.arms).tolist()
        made.append(Order(tuple(seeds), tuple(arms), noise, i))
    return made


@dataclass(frozen=True, slots=True)
class Choice:
    """What one replay came to.

    Attributes:
        setting: place of the setting chosen; None where nothing was.
        spent: seconds charged.
        trials: how many were run to their end.
        verdict: of the product.
    """

    setting: int | None
    spent: float
    trials: int
    verdict: str
