"""Every strategy on the same rows: its rate and head chosen with one seed, then run with two more.

    python benchmarks/strategy_scores.py --cells cls_rt_polarity ner_wikigold --rows 300

What is kept (``benchmarks/strategies``) is not run again, so the command can be stopped at any time and given more
cells, rows or strategies later; ``--told`` trains nothing and only writes the tables and charts of what is kept. One
thread, precision "auto"; rows, splits and what is kept of a trial are those of the replays.
"""

import json
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from inputs import shared
from measuring import machine
from replay_cells import Cell, make_cell, parser_of
from replay_collect import RATES, key_of_trial, prepared, run_and_keep, said
from replay_kept import Kept, key_of, read_kept

if TYPE_CHECKING:
    from unfreeze.compare.arms import Arm
    from unfreeze.compare.trials import Trial

SEEDS = 3
KEPT = Path(__file__).resolve().parent / "strategies"
STYLE = """
svg { background: #fff; } text { font: 12.5px system-ui, sans-serif; } text.tick, text.axis { fill: #666; }
line.grid { stroke: #ddd; } line.bar { stroke: #222; stroke-width: 1.75; } circle.point { fill: #222; }
line.bar.floor { stroke: #888; stroke-dasharray: 3 2; } circle.floor { fill: #fff; stroke: #888; }
"""


def collect(cell: Cell, *, names: Sequence[str], kept_in: Path) -> None:
    """Run the trials of a cell that are not kept yet; each is kept as soon as it is done.

    Raises:
        SystemExit: what is kept there belongs to other rows or another encoder.
    """
    from unfreeze.compare.arms import make_arms
    from unfreeze.compare.jobs import Doing
    from unfreeze.compare.pricing import outline_of, with_own_outline
    from unfreeze.engine.runtime import prepare_process

    runtime = prepare_process(1, "auto")
    material = prepared(cell)
    made = make_arms(names, material, tuning=RATES, overrides={}, seed=0)
    outline = outline_of(material, made[0], runtime=runtime)
    arms = [with_own_outline(arm, material, runtime=runtime) for arm in made]
    layers = max(head.layers for arm in arms for head in arm.heads)
    material.expect((arm.plan(outline) for arm in arms), outline, layers=layers)
    kept = read_kept(kept_in, cell.name) or Kept(_about(cell, material, runtime.precision))
    if kept.about["digest"] != material.digest:
        raise SystemExit(f"{kept_in / cell.name}.json was made from other rows or another encoder; move it away")
    with tempfile.TemporaryDirectory(prefix="unfreeze-strategies-") as folder:
        doing = Doing(material, Path(folder), runtime=runtime)
        for arm in arms:
            for trials in _jobs(arm, kept):
                run_and_keep(doing, trials, kept, folder=Path(folder))
                kept.write(kept_in, cell.name)


def _about(cell: Cell, material: Any, precision: str) -> dict[str, Any]:
    fold, task = material.splits.folds[0], material.task
    rows = {"train": len(fold.train), "validation": len(fold.validation), "test": len(material.splits.test)}
    about = {"data": cell.data, "task": task.name, "metric": task.metric, "rows": rows, "digest": material.digest}
    return about | {"encoder": material.encoder.name, "precision": precision, "machine": machine()}


def _jobs(arm: "Arm", kept: Kept) -> "Iterator[list[Trial]]":
    """Trials that are not kept yet, in lists of those that are run together; what follows depends on their scores."""
    rates = arm.strategy.search.rates(RATES) if arm.learns else arm.rates[:1]
    first, *others = arm.heads
    together = arm.strategy.search.reads_layers or not arm.learns
    tried = [arm.trial(head, rate, seed=0, fold=0) for rate in rates for head in (arm.heads if together else (first,))]
    yield from _missing([tried] if together else [[trial] for trial in tried], kept)
    best = _best(tried, kept)
    if not together and others:
        more = [arm.trial(head, best.settings.learning_rate, seed=0, fold=0) for head in others]
        yield from _missing([[trial] for trial in more], kept)
        best = _best([*tried, *more], kept)
    if arm.learns:
        yield from _missing([[best.again(seed=seed, fold=0)] for seed in range(1, SEEDS)], kept)


def _missing(jobs: "Sequence[Sequence[Trial]]", kept: Kept) -> "Iterator[list[Trial]]":
    for trials in jobs:
        missing = [trial for trial in trials if not kept.has(key_of_trial(trial))]
        if missing:
            yield missing


def _best(trials: "Sequence[Trial]", kept: Kept) -> "Trial":
    """The trial with the best score on validation; the first of equals."""
    scores = {key_of(row): row["scores"]["validation"][kept.about["metric"]] for row in kept.trials}
    return max(trials, key=lambda trial: scores[key_of_trial(trial)])


@dataclass(frozen=True, slots=True)
class Found:
    """What a strategy gave on a cell.

    Attributes:
        name: of the strategy, as users spell it.
        best: the row of its chosen trial with the first seed.
        runs: the rows of the chosen setting, a row a seed.
        edge: whether the chosen rate is the lowest or highest of those that were tried.
        test: mean over seeds, and its interval over other test rows and other trainings.
        tuning: CPU seconds of all of its trials.
    """

    name: str
    best: Mapping[str, Any]
    runs: Sequence[Mapping[str, Any]]
    edge: bool
    test: tuple[float, float, float]
    tuning: float


def found_in(kept: Kept) -> list[Found]:
    """Strategies of which a setting has all its seeds, the best on test first."""
    from unfreeze.tasks import task_named

    task, metric = task_named(kept.about["task"])(), kept.about["metric"]
    found = []
    for name in dict.fromkeys(row["strategy"] for row in kept.trials):
        rows = [(place, row) for place, row in enumerate(kept.trials) if row["strategy"] == name]
        first = [row for _, row in rows if row["seed"] == 0]
        best = max(first, key=lambda row: row["scores"]["validation"][metric])
        setting = key_of(best)[:-1]
        runs = [(place, row) for place, row in rows if key_of(row)[:-1] == setting]
        if len(runs) < SEEDS and best["steps"]:
            continue
        rates = sorted({row["rate"] for row in first})
        test = _interval(np.array([kept.counts["test"][place] for place, _ in runs]), task.score)
        edge, price = len(rates) > 2 and best["rate"] in (rates[0], rates[-1]), sum(r["cpu_seconds"] for _, r in rows)
        found.append(Found(name, best, [row for _, row in runs], edge, test, price))
    return sorted(found, key=lambda one: -one.test[0])


def _interval(counts: np.ndarray, score: Any) -> tuple[float, float, float]:
    from unfreeze.compare.statistics import RunScores, score_interval, selection_score

    runs = RunScores(score(counts.sum(1))[:, None], counts, 1.0)
    interval = score_interval(runs, score)
    return selection_score(runs, score), interval.low, interval.high


HEAD = (
    "| strategy | test (95 %) | by seed | validation | rate, head | CPU s a run | all its trials | trainable "
    "| stored, MB |",
    "|---|---|---|---|---|---|---|---|---|",
)


def table(found: Sequence[Found], metric: str) -> list[str]:
    """The table of a cell, in Markdown."""
    lines = list(HEAD)
    for one in found:
        tests = [f"{100 * run['scores']['test'][metric]:.1f}" for run in one.runs]
        validation = statistics.fmean(run["scores"]["validation"][metric] for run in one.runs)
        head = "" if one.best["pooling"] == "standard" else f", {one.best['pooling']}:{one.best['layers']}"
        rate = f"{one.best['rate']:g}{' (edge)' if one.edge else ''}" if one.best["steps"] else "–"
        mean, low, high = (100 * value for value in one.test)
        cost = statistics.median(run["cpu_seconds"] for run in one.runs)
        cells = [one.name, f"{mean:.1f} ({low:.1f} to {high:.1f})", ", ".join(tests), f"{100 * validation:.1f}"]
        cells += [f"{rate}{head}", f"{cost:.3g}", f"{one.tuning:.3g}", f"{one.best['trainable_parameters']:,}"]
        lines.append("| " + " | ".join([*cells, f"{one.best['stored_bytes'] / 1e6:.1f}"]) + " |")
    return lines


def chart(found: Sequence[Found], metric: str) -> str:
    """Score against CPU seconds of a run, as a file that any browser shows."""
    from unfreeze.report.figures import cost_chart

    arms = [
        {"name": one.name, "floor": one.name in ("scratch", "untouched"), "state": "done", "score": one.test[0]}
        | {"stored_bytes": one.best["stored_bytes"]}
        | {"interval": one.test[1:], "train_seconds": statistics.median(run["cpu_seconds"] for run in one.runs)}
        for one in found
    ]
    drawn = str(cost_chart({"arms": arms, "recommendation": {"chosen": None}, "metric": metric}))
    opened = '<svg xmlns="http://www.w3.org/2000/svg" '
    return drawn.replace("<svg ", opened, 1).replace("</title>", f"</title><style>{STYLE}</style>", 1) + "\n"


def main() -> None:
    """Collect cells one after the other, then tell of all that is kept."""
    parser = parser_of(__doc__)
    parser.add_argument("--strategies", nargs="+", default=["all"], help="as users spell them; all by default")
    parser.add_argument("--told", action="store_true", help="train nothing")
    parser.set_defaults(kept=KEPT)
    a = parser.parse_args()
    data = shared("UNFREEZE_SHARED_DATA", "data")
    if data is None and not a.told:
        raise SystemExit("the shared data sets are not here; UNFREEZE_SHARED_DATA names their folder")
    for name in a.cells:
        if not a.told:
            with tempfile.TemporaryDirectory(prefix="unfreeze-rows-") as folder:
                cell = make_cell(name, a.rows, shared=data, into=Path(folder))  # type: ignore[arg-type]
                collect(cell, names=a.strategies, kept_in=a.kept)
        kept = read_kept(a.kept, f"{name}-{a.rows}")
        if kept is None:
            said(f"{name}-{a.rows}: nothing is kept")
            continue
        found, metric = found_in(kept), kept.about["metric"]
        (a.kept / f"{name}-{a.rows}.svg").write_text(chart(found, metric), encoding="utf-8")
        print("\n".join([f"\n{name}, {a.rows} training rows, {metric}: {json.dumps(kept.about['rows'])}\n"]))
        print("\n".join(table(found, metric)), flush=True)


if __name__ == "__main__":
    main()
