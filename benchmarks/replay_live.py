"""Holds the race for real on cells that are replayed, and sets beside it what the replay says at the same price.

    python benchmarks/replay_live.py --cells ner_wikigold cls_rt_polarity --share 0.25 --runs 2

Each run is one ``compare`` on one core, without anything in the cache. Its budget is a share of the cell's exhaustive
price and, as in the replays of the same share, room for the last training; prices are CPU seconds, so it is stretched
by what a training step takes longer here and now than when the cell was collected. Prints a table.
"""

import json
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from inputs import shared
from replay_cells import Cell, make_cell, parser_of
from replay_collect import said
from replay_racing import last_training, race
from replay_world import Choice, World, orders_of, read_world

from unfreeze.compare.pricing import FINISHING

ORDERS = 100


@dataclass(frozen=True, slots=True)
class Live:
    """What one real race came to.

    Attributes:
        chosen: the way handed over, and its learning rate.
        test: mean test score of its runs.
        verdict: of the product.
        spent: CPU seconds of the trials, floors left out.
        trials: how many were run to their end, floors left out.
        wall: seconds from asking to the end.
        budget: seconds that were asked for.
    """

    chosen: str
    test: float
    verdict: str
    spent: float
    trials: int
    wall: float
    budget: float


def held(cell: Cell, *, budget: float, seed: int) -> Live:
    """Hold a race on a cell within a budget."""
    from unfreeze import compare

    files = {"train": cell.train, "validation": cell.validation, "test": cell.test}
    with tempfile.TemporaryDirectory(prefix="unfreeze-live-") as folder:
        since, out = time.perf_counter(), Path(folder) / "out"
        plain = {"threads": 1, "workers": 1, "cache_dir": Path(folder) / "cache"}
        made = compare(**files, task=cell.task, budget=budget, seed=seed, output_dir=out, **plain)  # type: ignore[arg-type]
        wall = time.perf_counter() - since
        arms = {arm["name"]: arm for arm in made.record["arms"]}
        trials = [row for row in _trials(out) if not arms[row["trial"]["strategy"]]["floor"]]
    _tell(made.record)
    said_of = made.record["recommendation"]
    best = arms[said_of["chosen"]]
    return Live(
        chosen=f"{best['name']} {best['settings']['learning_rate']:g}",
        test=best["test"]["mean"],
        verdict=said_of["verdict"],
        spent=sum(row["cpu_seconds"] for row in trials),
        trials=len(trials),
        wall=wall,
        budget=budget,
    )


def slowness(cell: Cell, world: World) -> float:
    """What a second of the kept trials takes here and now, from the price that the product tells of the dearest way."""
    from unfreeze.compare.material import Sources
    from unfreeze.compare.options import Options
    from unfreeze.front import plan_comparison

    sources = Sources(None, cell.train, cell.validation, cell.test)
    plan = plan_comparison(sources, Options(task=cell.task, threads=1, workers=1))
    told = {arm["name"]: arm["trial_seconds"] for arm in plan["arms"]}
    dearest = max(world.arms, key=lambda arm: world.cost(world.middle(arm), world.seeds[0]))
    return float(told[dearest] / world.about["prices"][dearest])


def _tell(record: Mapping[str, Any]) -> None:
    """What was said to cost how much, what was decided, and what came of it."""
    said("told: " + ", ".join(f"{arm['name']} {arm['trial_seconds']:.0f} s" for arm in record["plan"]["arms"]))
    for decision in record["race"]:
        said(json.dumps({key: value for key, value in decision.items() if value}))
    for arm in record["arms"]:
        found = [(t["learning_rate"], t["pooling"], t["score"]) for t in arm["tuning"]]
        said(f"{arm['name']}: {arm['state']} {arm['reason']}, {arm['score']}, {found}")


def _trials(out: Path) -> list[dict[str, Any]]:
    """The records of all trials that were run to their end."""
    from unfreeze.compare.recording import RESULT

    return [json.loads(path.read_text(encoding="utf-8")) for path in (out / "trials").glob(f"*/{RESULT}")]


def replayed(world: World, *, budget: float) -> list[Choice]:
    """The race on the kept trials of the same cell, over random orders."""
    return [race(world, order, budget=budget) for order in orders_of(world, ORDERS)]


def row_of(world: World, live: Live, choices: Sequence[Choice]) -> str:
    """A line of the table."""
    settings = [choice.setting for choice in choices if choice.setting is not None]
    scores = world.score(world.counts["test"].sum(2)).mean(1)[settings]
    low, high = np.quantile(scores, [0.05, 0.95])
    often = Counter(world.settings[place][0] for place in settings).most_common(3)
    ways = ", ".join(f"{name} {count / len(choices):.0%}" for name, count in often)
    verdicts = Counter(choice.verdict for choice in choices).most_common(2)
    said_so = ", ".join(f"{name} {count / len(choices):.0%}" for name, count in verdicts)
    cells = [
        world.name,
        f"{live.budget:.0f} / {live.wall:.0f}",
        f"{live.spent:.0f}; {np.mean([choice.spent for choice in choices]):.0f}",
        f"{live.trials}; {np.mean([choice.trials for choice in choices]):.0f}",
        live.chosen,
        ways,
        f"{100 * live.test:.1f}",
        f"{100 * scores.mean():.1f} ({100 * low:.1f} to {100 * high:.1f})",
        live.verdict,
        said_so,
    ]
    return "| " + " | ".join(cells) + " |"


HEAD = (
    "| cell | budget / wall, s | CPU s of trials: live; replayed | trials | chosen live | chosen by the replays "
    "| test, live | test, replayed (middle 90 %) | verdict live | verdicts of the replays |",
    "|---|---|---|---|---|---|---|---|---|---|",
)


def main() -> None:
    """Hold the races, replay each, print."""
    parser = parser_of(__doc__)
    parser.add_argument("--share", type=float, default=0.25, help="of the exhaustive price")
    parser.add_argument("--runs", type=int, default=1, help="races on each cell, with seeds from 0")
    a = parser.parse_args()
    data = shared("UNFREEZE_SHARED_DATA", "data")
    if data is None:
        raise SystemExit("the shared data sets are not here; UNFREEZE_SHARED_DATA names their folder")
    rows: list[str] = []
    with tempfile.TemporaryDirectory(prefix="unfreeze-rows-") as folder:
        for name in a.cells:
            world = read_world(a.kept, f"{name}-{a.rows}")
            if world is None:
                raise SystemExit(f"{name}-{a.rows} is not kept in {a.kept}; see replay_collect.py")
            cell = make_cell(name, a.rows, shared=data, into=Path(folder))
            for seed in range(a.runs):
                share = a.share * world.exhaustive_price
                budget = slowness(cell, world) * (share + last_training(world)) + FINISHING
                live = held(cell, budget=budget, seed=seed)
                rows.append(row_of(world, live, replayed(world, budget=share)))
                said(rows[-1])
    print("\n".join([*HEAD, *rows]))


if __name__ == "__main__":
    main()
