"""A few labelled texts a class: ways of fine-tuning with their usual settings, beside SetFit with its own.

    python benchmarks/few_shot.py --cells cls_rt_polarity --per-class 8 32 --seeds 3

Nothing is chosen by validation rows, because SetFit keeps none: every way has the middle of its learning rates, its
usual epochs, the mean of the last layer, and learns from all the texts; the same texts on both sides, and the same test
rows. SetFit is run by the peers' script where ``setfit`` is installed. A line a run is kept in
``benchmarks/strategies``, and what is kept is not run again. CPU seconds are those of training alone.
"""

import csv
import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inputs import embedded_encoder, shared
from replay_cells import parser_of
from replay_collect import said

STRATEGIES = ("contrastive", "head-only", "full")
SETFIT = "SetFit"
TESTS = 1000


def drawn(source: Path, *, per_class: int, seed: int, into: Path) -> Path:
    """So many rows of each class, those that the peers' script draws with this seed."""
    with source.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    chance = random.Random(seed)
    return _written(
        [
            row
            for label in sorted({row["label"] for row in rows})
            for row in chance.sample([row for row in rows if row["label"] == label], per_class)
        ],
        into / f"few-{per_class}-{seed}.csv",
    )


def tested(source: Path, *, into: Path) -> Path:
    """The first test rows after a fixed shuffle."""
    with source.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    random.Random(0).shuffle(rows)
    return _written(rows[:TESTS], into / "test.csv")


def _written(rows: list[dict[str, str]], path: Path) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("text", "label"), *((row["text"], row["label"]) for row in rows)])
    return path


def ours(train: Path, test: Path, *, strategy: str, seed: int) -> dict[str, float]:
    """A strategy with its usual settings on all rows."""
    from unfreeze.compare.arms import make_arms
    from unfreeze.compare.material import Sources, prepare
    from unfreeze.compare.trials import predict, scored
    from unfreeze.compare.trials import train as trained_by
    from unfreeze.encoders.head_settings import HeadSettings
    from unfreeze.encoders.loading import load_encoder
    from unfreeze.engine.runtime import prepare_process
    from unfreeze.engine.training import Watch
    from unfreeze.tasks import Columns

    runtime = prepare_process(1, "auto")
    material = prepare(Sources(None, train, None, test), load_encoder(None), columns=Columns(), task="classification")
    (arm,) = make_arms([strategy], material, tuning=0, overrides={}, seed=seed)
    trial = arm.trial(HeadSettings("mean"), arm.rates[0], seed=seed, fold=None)
    trial = trial.stopped_after(trial.settings.num_train_epochs)
    cpu = time.process_time()
    trained = trained_by(material, trial, runtime=runtime, folder=None, watch=Watch())
    cpu = time.process_time() - cpu
    scores, _ = scored(
        material, None, logits=lambda examples: predict(material, trained, examples=examples, runtime=runtime)
    )
    return {"accuracy": scores["test"]["accuracy"], "train_cpu_s": round(cpu, 2)}


def setfit(script: Path, train: Path, test: Path, *, per_class: int, seed: int) -> dict[str, float]:
    """The peers' script."""
    told = ("--model", embedded_encoder(), "--train", train, "--test", test, "--per-class", per_class, "--seed", seed)
    command = [sys.executable, str(script), *map(str, told)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return {name: found[name] for name in ("accuracy", "train_cpu_s")}


def runs(a: Namespace, *, data: Path, peers: Path | None, folder: Path) -> Iterator[dict[str, Any]]:
    """All runs that are not kept yet."""
    known = importlib.util.find_spec("setfit") is not None and peers is not None
    kept = {(row["data"], row["way"], row["per_class"], row["seed"]) for row in read(a.kept)}
    for cell in a.cells:
        test = tested(data / cell / "test.csv", into=folder)
        for per_class in a.per_class:
            for seed in range(a.seeds):
                train = drawn(data / cell / "train.csv", per_class=per_class, seed=seed, into=folder)
                for way in (*STRATEGIES, *((SETFIT,) if known else ())):
                    row = {"data": cell, "way": way, "per_class": per_class, "seed": seed}
                    if tuple(row.values()) in kept:
                        continue
                    if way == SETFIT:
                        script = peers / "peer_setfit.py"  # type: ignore[operator]
                        found = setfit(script, data / cell / "train.csv", test, per_class=per_class, seed=seed)
                    else:
                        found = ours(train, test, strategy=way, seed=seed)
                    yield row | found


def read(folder: Path) -> list[dict[str, Any]]:
    """The runs that are kept."""
    path = folder / "few_shot.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Test accuracy by way and number of texts, means over seeds."""
    lines = ["| data | texts a class | way | test accuracy | by seed | CPU s a run |", "|---|---|---|---|---|---|"]
    for data, number, way in sorted({(row["data"], row["per_class"], row["way"]) for row in rows}):
        own = [row for row in rows if (row["data"], row["per_class"], row["way"]) == (data, number, way)]
        scores = [100 * row["accuracy"] for row in own]
        by_seed, cost = ", ".join(f"{score:.1f}" for score in scores), statistics.median(r["train_cpu_s"] for r in own)
        lines.append(f"| {data} | {number} | {way} | {statistics.fmean(scores):.1f} | {by_seed} | {cost:.1f} |")
    return lines


def main() -> None:
    """Run what is not kept, tell of all that is."""
    parser = parser_of(__doc__)
    parser.add_argument("--per-class", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--seeds", type=int, default=3)
    parser.set_defaults(kept=Path(__file__).resolve().parent / "strategies", cells=["cls_rt_polarity"])
    a = parser.parse_args()
    data = shared("UNFREEZE_SHARED_DATA", "data")
    if data is None:
        raise SystemExit("the shared data sets are not here; UNFREEZE_SHARED_DATA names their folder")
    os.environ["HF_HUB_OFFLINE"] = "1"
    a.kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="unfreeze-few-") as folder:
        for row in runs(a, data=data, peers=shared("UNFREEZE_PEERS", "peers"), folder=Path(folder)):
            with (a.kept / "few_shot.jsonl").open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")
            said(json.dumps(row))
    print("\n".join(table(read(a.kept))))


if __name__ == "__main__":
    main()
