"""Makes the exhaustive trials that decisions are replayed from: every arm × rate × seed of a cell, nothing left out.

    python benchmarks/replay_collect.py --cells ner_wikigold cls_rt_polarity --rows 300 --seeds 2

What is kept (``benchmarks/replay``) is not run again, so the command can be stopped at any time and given more seeds or
cells later. Arms have the product's own settings; the tuned ones have the standard head, head-only has all of the
task's heads. One thread, precision "auto", hidden states cached in the user's own folder (``UNFREEZE_CACHE``).
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from inputs import shared
from measuring import machine
from replay_cells import Cell, make_cell, parser_of
from replay_kept import Kept, Key, pooling_of, read_kept

if TYPE_CHECKING:
    from unfreeze.compare.arms import Arm
    from unfreeze.compare.jobs import Doing
    from unfreeze.compare.material import Material
    from unfreeze.compare.trials import Trial
    from unfreeze.engine.runtime import Runtime

RATES = 3
CACHE_BYTES = 2 * 10**9


def said(text: str) -> None:
    """Tell of progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def prepared(cell: Cell) -> "Material":
    """A cell's rows, read and tokenised, with the user's cache folder."""
    from unfreeze.compare.material import Sources, prepare
    from unfreeze.encoders.loading import load_encoder
    from unfreeze.engine.prefix_store import PrefixStore, default_folder
    from unfreeze.tasks import Columns

    sources = Sources(None, cell.train, cell.validation, cell.test)
    cache = PrefixStore(default_folder(), limit_bytes=CACHE_BYTES, said=said)
    return prepare(sources, load_encoder(None), columns=Columns(), task=cell.task, cache=cache)


def arms_of(material: "Material") -> "list[Arm]":
    """All arms with the product's settings, floors among them; those that may be handed over come with all rates."""
    from unfreeze.compare.arms import make_arms

    return make_arms(None, material, tuning=RATES, overrides={}, seed=0)


def searched(arm: "Arm", *, seed: int) -> "list[list[Trial]]":
    """An arm's trials with one seed, in lists of those that are run together."""
    rates = arm.strategy.search.rates(RATES)
    heads = arm.heads if arm.strategy.search.reads_layers else arm.heads[:1]
    trials = [arm.trial(head, rate, seed=seed, fold=0) for rate in rates for head in heads]
    return [trials] if arm.strategy.search.reads_layers else [[trial] for trial in trials]


def jobs_of(arms: "Sequence[Arm]", *, seed: int) -> "list[list[Trial]]":
    """All trials of one seed, the cheap arms first; with the first seed also those of the floor without training."""
    floors = [arm for arm in arms if not arm.learns] if seed == 0 else []
    jobs = [[arm.trial(head, arm.rates[0], seed=0, fold=0) for head in arm.heads] for arm in floors]
    rivals = {arm.strategy.name: arm for arm in arms if not arm.strategy.search.floor}
    order = [name for name in ("head-only", "last-k", "full", "gradual") if name in rivals]
    order += [name for name in rivals if name not in order]
    return jobs + [trials for name in order for trials in searched(rivals[name], seed=seed)]


def kept_row(trial: "Trial", record: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a trial's record."""
    settings = trial.settings
    return {
        "strategy": trial.strategy,
        "pooling": pooling_of(trial.head),
        "layers": trial.head.layers,
        "rate": settings.learning_rate,
        "seed": settings.seed,
        "epochs": settings.num_train_epochs,
        "patience": settings.patience,
        "state": record["state"],
        "best_epoch": record["best_epoch"],
        "steps": record["steps"],
        "curve": [
            [row["epoch"], row["step"], None if row["score"] is None else round(row["score"], 6)]
            for row in record["curve"]
        ],
        **{name: round(record[name], 3) for name in ("train_seconds", "seconds", "cpu_seconds")},
        "scores": {split: _rounded(scores) for split, scores in record["scores"].items()},
        **{name: record[name] for name in ("trainable_parameters", "stored_bytes")},
        "predict_seconds_per_example": round(record["predict_seconds_per_example"], 6),
    }


def _rounded(scores: Mapping[str, Any]) -> dict[str, Any]:
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in scores.items()}


def key_of_trial(trial: "Trial") -> Key:
    """How a trial is found among those kept."""
    rate, seed = trial.settings.learning_rate, trial.settings.seed
    return trial.strategy, pooling_of(trial.head), trial.head.layers, rate, seed


def begun(cell: Cell, material: "Material", arms: "Sequence[Arm]", runtime: "Runtime") -> Kept:
    """A cell of which nothing is kept yet: what it is, what the product would have said it costs, and its floors."""
    from unfreeze.compare.pricing import measure_speed, price_of_prefix, price_of_trial

    speed = measure_speed(material, next(arm for arm in arms if arm.learns), runtime=runtime)
    fold, task = material.splits.folds[0], material.task
    rows = {"train": len(fold.train), "validation": len(fold.validation), "test": len(material.splits.test)}
    about: dict[str, Any] = {
        "data": cell.data,
        "task": task.name,
        "metric": task.metric,
        "rows": rows,
        "labels": list(task.labels),
        "encoder": material.encoder.name,
        "digest": material.digest,
        "precision": runtime.precision,
        "machine": machine(),
        "prices": {arm.name: round(price_of_trial(arm, material, speed=speed), 3) for arm in arms},
        "prefix_price": round(price_of_prefix(material, speed), 3),
        "floors": _floors(material),
    }
    return Kept(about)


def _floors(material: "Material") -> dict[str, dict[str, float]]:
    """Scores of the rivals that need no encoder, learned from the training rows alone, as all trials are."""
    task, examples, fold = material.task, material.examples, material.splits.folds[0]
    learned = [examples[i] for i in fold.train]
    found: dict[str, dict[str, float]] = {}
    for split, numbers in (("validation", fold.validation), ("test", material.splits.test)):
        some = [examples[i] for i in numbers]
        for name, predictions in task.floors(learned, some, seed=0).items():
            score = float(task.score(task.counts(some, predictions).sum(0)))
            found.setdefault(name, {})[split] = round(score, 6)
    return found


def collect(cell: Cell, *, seeds: int, kept_in: Path) -> None:
    """Run a cell's trials that are not kept yet; each is kept as soon as it is done.

    Raises:
        SystemExit: what is kept there belongs to other rows or another encoder.
    """
    from unfreeze.compare.jobs import Doing
    from unfreeze.compare.pricing import outline_of
    from unfreeze.engine.runtime import prepare_process

    runtime, since = prepare_process(1, "auto"), time.perf_counter()
    material = prepared(cell)
    arms = arms_of(material)
    outline = outline_of(material, arms[0], runtime=runtime)
    layers = max(head.layers for arm in arms for head in arm.heads)
    wanted = [arm for arm in arms if not arm.learns or not arm.strategy.search.floor]
    material.expect((arm.strategy.plan(outline) for arm in wanted), outline, layers=layers)
    kept = read_kept(kept_in, cell.name) or begun(cell, material, wanted, runtime)
    if kept.about["digest"] != material.digest:
        raise SystemExit(f"{kept_in / cell.name}.json was made from other rows or another encoder; move it away")
    with tempfile.TemporaryDirectory(prefix="unfreeze-replay-") as folder:
        doing = Doing(material, Path(folder), runtime=runtime)
        for seed in range(seeds):
            for trials in jobs_of(wanted, seed=seed):
                missing = [trial for trial in trials if not kept.has(key_of_trial(trial))]
                if missing:
                    run_and_keep(doing, missing, kept, folder=Path(folder))
                    kept.write(kept_in, cell.name)
    said(f"{cell.name}: {len(kept.trials)} trials kept, {time.perf_counter() - since:.0f} s this time")


def run_and_keep(doing: "Doing", trials: "Sequence[Trial]", kept: Kept, *, folder: Path) -> None:
    """Run trials together and keep them."""
    from safetensors.numpy import load_file

    from unfreeze.compare.jobs import Job
    from unfreeze.compare.recording import OUTPUTS
    from unfreeze.engine.training import Watch

    answers = doing.do(Job(trials[0].strategy, tuple(trials), ""), watch=Watch(checkpoint_seconds=1e9))
    for trial in trials:
        record = answers[trial]
        if isinstance(record, str):
            raise SystemExit(f"{trial.key}: {record}")
        outputs = load_file(folder / trial.key / OUTPUTS)
        counts = {split: outputs[f"{split}/counts"] for split in ("validation", "test")}
        for split in counts:
            assert (np.diff(outputs[f"{split}/examples"]) > 0).all(), "examples rise, in the order of the file"
        kept.add(kept_row(trial, record), counts)
        shutil.rmtree(folder / trial.key)
        score = {split: record["scores"][split][kept.about["metric"]] for split in record["scores"]}
        said(
            f"{kept.about['data']} {trial.strategy} {trial.head} {trial.settings.learning_rate:g} "
            f"seed {trial.settings.seed}: {score} {record['seconds']:.1f} s"
        )


def main() -> None:
    """Collect cells one after the other."""
    parser = parser_of(__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    a = parser.parse_args()
    data = shared("UNFREEZE_SHARED_DATA", "data")
    if data is None:
        raise SystemExit("the shared data sets are not here; UNFREEZE_SHARED_DATA names their folder")
    with tempfile.TemporaryDirectory(prefix="unfreeze-rows-") as folder:
        for name in a.cells:
            cell = make_cell(name, a.rows, shared=data, into=Path(folder))
            collect(cell, seeds=a.seeds, kept_in=a.kept)


if __name__ == "__main__":
    main()
