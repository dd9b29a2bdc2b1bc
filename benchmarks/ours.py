"""Our side of the measurements. Each verb does one thing and prints one line of JSON, as the peers' scripts do.

    python benchmarks/ours.py train --train train.csv --test test.csv --strategy last-k:k=2 --epochs 3 --rate 1e-4

Only what is being compared is on the clock: imports, reading, tokenising and loading weights are not, where the peer
leaves them out, too. Only the library's high surface is called, so that how it computes may change underneath.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clock import StepClock, cpu_seconds

if TYPE_CHECKING:
    from unfreeze.compare.material import Material
    from unfreeze.compare.trials import Trial
    from unfreeze.engine.runtime import Runtime
    from unfreeze.engine.training import Watch


def watch_of(clock: StepClock) -> "Watch":
    """How a run tells a clock of its steps. Checkpoints are off, as they are at the peer."""
    from unfreeze.engine.training import Watch

    def asked() -> bool:
        if not clock.running:  # a run asks whether to stop before each step, the first one included
            clock.start()
        return False

    return Watch(progress=lambda done: clock.stepped(last=done >= 1), stop=asked, checkpoint_seconds=1e9)


def base_encoder(folder: Path) -> Path:
    """Save BERT-base's shape with random weights and the embedded encoder's tokenizer. For speed alone."""
    import torch
    import transformers

    from unfreeze.encoders.locating import ALLOWED_FILES, locate

    torch.manual_seed(0)
    transformers.utils.logging.disable_progress_bar()
    transformers.BertModel(transformers.BertConfig()).save_pretrained(folder)
    for path in locate(None).folder.iterdir():
        if path.name in ALLOWED_FILES and path.name != "config.json" and path.suffix != ".safetensors":
            shutil.copyfile(path, folder / path.name)
    return folder


def prepared(a: argparse.Namespace, model: str | None = None) -> "Material":
    """The rows named on the command line, read, split and tokenised."""
    from unfreeze.compare.material import Sources, prepare
    from unfreeze.encoders.loading import load_encoder
    from unfreeze.tasks import Columns

    sources = Sources(None, a.train, getattr(a, "validation", None), a.test)
    return prepare(sources, load_encoder(model), columns=Columns(), task="classification")


def settled(a: argparse.Namespace) -> "Runtime":
    """How this process computes, settled before torch is loaded."""
    from unfreeze.engine.runtime import prepare_process

    return prepare_process(a.threads, a.precision)


def trial_of(
    a: argparse.Namespace, arm: str, *, rate: float, seed: int, fold: int | None, decay: float = 0.01
) -> "Trial":
    """A trial that trains to its end. An arm is a strategy, then ``@pooling:layers`` for another head than usual."""
    from unfreeze.compare.trials import Trial
    from unfreeze.encoders.head_settings import HeadSettings
    from unfreeze.engine.settings import TrainingSettings

    strategy, _, head = arm.partition("@")
    pooling, _, layers = head.partition(":")
    settings = TrainingSettings(
        learning_rate=rate,
        num_train_epochs=a.epochs,
        per_device_train_batch_size=a.batch,
        weight_decay=decay,
        patience=a.epochs,
        seed=seed,
    )
    return Trial(strategy, HeadSettings(pooling or "standard", int(layers or 1)), settings, fold)  # type: ignore[arg-type]


def run_all(
    material: "Material", trials: "Sequence[Trial]", *, runtime: "Runtime", folder: Path
) -> "tuple[dict[Trial, dict[str, Any]], bool]":
    """Run trials as one process of a comparison does: head-only ones together, the others one by one.

    Returns:
        Their records, and whether they were trained together.
    """
    from unfreeze.compare.jobs import Doing, Job
    from unfreeze.engine.training import Watch

    answers = Doing(material, folder, runtime=runtime).do(Job("bench", tuple(trials), ""), watch=Watch())
    refused = [answer for answer in answers.values() if isinstance(answer, str)]
    if refused:
        raise SystemExit(refused[0])
    return answers, all(trial.strategy == "head-only" for trial in trials)  # type: ignore[return-value]


def warm(material: "Material", trial: "Trial", *, runtime: "Runtime") -> None:
    """Load what the first model loads, which the peer's clock leaves out, too."""
    from unfreeze.compare.trials import planned

    planned(material, trial, runtime=runtime)


def accuracy(record: dict[str, Any], split: str = "test") -> float | None:
    """A record's accuracy; None where it diverged or has no such split."""
    return record["scores"].get(split, {}).get("accuracy") if record["state"] == "done" else None


def train(a: argparse.Namespace) -> dict[str, Any]:
    """One run on all training rows; with ``--again`` a second one that finds what the first has cached."""
    from unfreeze.compare.trials import run_trial

    begun = time.perf_counter()
    runtime = settled(a)
    with tempfile.TemporaryDirectory() as folder:
        material = prepared(a, str(base_encoder(Path(folder) / "base")) if a.random_base else a.model)
        setup = time.perf_counter() - begun
        found, told = [], []
        for seed in (a.seed, a.seed + 1000)[: 1 + a.again]:
            clock = StepClock(runtime.device)
            trial = trial_of(a, a.strategy, rate=a.rate, seed=seed, fold=None)
            folder_of = Path(folder) / trial.key
            found.append(run_trial(material, trial, runtime=runtime, folder=folder_of, watch=watch_of(clock)))
            told.append(clock.told())
    places = material.places(material.splits.not_test)
    if told[0]["steps"] != found[0]["steps"]:
        raise SystemExit(f"the clock saw {told[0]['steps']} steps, the record tells of {found[0]['steps']}")
    return {
        **told[0],
        "again": told[1] if a.again else None,
        "test_score": {"accuracy": accuracy(found[0])},
        "setup_s": setup,
        "examples": len(places),
        "tokens": a.epochs * sum(material.features[place].length for place in places),
        "precision": runtime.precision,
    }


def heads(a: argparse.Namespace) -> dict[str, Any]:
    """Frozen encoder: every learning rate × weight decay × fold, encoding and scoring included, on the clock."""
    runtime = settled(a)
    material = prepared(a)
    trials = [
        trial_of(a, a.strategy, rate=rate, seed=a.seed, fold=fold, decay=decay)
        for fold in range(a.folds)
        for rate in a.rates
        for decay in a.decays
    ]
    warm(material, trials[0], runtime=runtime)
    with tempfile.TemporaryDirectory() as folder:
        cpu, wall = cpu_seconds(), time.perf_counter()
        records, together = run_all(material, trials, runtime=runtime, folder=Path(folder))
        cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
    best = max(trials[: len(a.rates) * len(a.decays)], key=lambda trial: accuracy(records[trial], "validation") or 0.0)
    return {
        "test_score": {"accuracy": accuracy(records[best])},
        "cpu_s": cpu,
        "wall_s": wall,
        "settings_tried": len(trials) // a.folds,
        "folds": a.folds,
        "steps": sum(record["steps"] for record in records.values()),
        "examples": len(material.splits.folds[0].train),
        "together": together,
        "precision": runtime.precision,
    }


def comparison(a: argparse.Namespace) -> dict[str, Any]:
    """Every arm × learning rate × seed × fold, trained and scored; the rates are those that suit the arm."""
    from unfreeze.strategies import strategy_named

    runtime = settled(a)
    with tempfile.TemporaryDirectory() as folder:
        material = prepared(a)
        warm(material, trial_of(a, a.arms[0], rate=1e-4, seed=0, fold=0), runtime=runtime)
        begun, wall = cpu_seconds(), time.perf_counter()
        arms: dict[str, Any] = {}
        for arm in a.arms:
            since = cpu_seconds()
            rates = strategy_named(arm.partition("@")[0]).search.rates(a.rates)
            trials = [
                trial_of(a, arm, rate=rate, seed=seed, fold=fold)
                for rate in rates
                for seed in range(a.seeds)
                for fold in range(a.folds)
            ]
            records, together = run_all(material, trials, runtime=runtime, folder=Path(folder) / str(len(arms)))
            arms[arm] = {"cpu_s": cpu_seconds() - since, "trials": len(trials), "rate": rates[0], "together": together}
            arms[arm]["steps"] = sum(record["steps"] for record in records.values())
            arms[arm]["accuracy"] = accuracy(records[trials[0]])
            arms[arm]["best"] = _best([records[trial] for trial in trials], runs=a.seeds * a.folds)
        total, wall = cpu_seconds() - begun, time.perf_counter() - wall
    return {
        "cpu_s": total,
        "wall_s": wall,
        "arms": arms,
        "examples": len(material.splits.folds[0].train),
        "tokens": sum(feature.length for feature in material.features),
        "precision": runtime.precision,
    }


def _best(records: Sequence[dict[str, Any]], *, runs: int) -> dict[str, float]:
    """Accuracy of an arm at its best rate, the mean over its runs; a run that diverged counts as 0.

    Args:
        records: of its trials, rate by rate.
        runs: of each rate.
    """
    found = [
        {
            split: statistics.fmean(accuracy(record, split) or 0.0 for record in records[place : place + runs])
            for split in ("validation", "test")
        }
        for place in range(0, len(records), runs)
    ]
    return max(found, key=lambda means: means["validation"])


def race(a: argparse.Namespace) -> dict[str, Any]:
    """The product within a budget, on the same rows, arms, rates and epochs: from its first model to the last file."""
    import unfreeze

    runtime = settled(a)
    with tempfile.TemporaryDirectory() as folder:
        warm(prepared(a), trial_of(a, a.arms[0], rate=1e-4, seed=0, fold=0), runtime=runtime)
        settings = {"num_train_epochs": a.epochs, "per_device_train_batch_size": a.batch, "patience": a.epochs}
        begun, wall = cpu_seconds(), time.perf_counter()
        made = unfreeze.compare(
            train=a.train,
            validation=a.validation,
            test=a.test,
            strategies=list(dict.fromkeys(arm.partition("@")[0] for arm in a.arms)),
            tuning=a.rates,
            settings=settings,
            budget=a.budget,
            seed=a.seed,
            threads=a.threads,
            workers=1,
            precision=a.precision,
            output_dir=Path(folder) / "out",
            cache_dir=Path(folder) / "cache",
        )
        cpu, wall = cpu_seconds() - begun, time.perf_counter() - wall
    given, verdict = made.record["handed_over"], made.record["recommendation"]["verdict"]
    return {
        "cpu_s": cpu,
        "wall_s": wall,
        "chosen": given["name"],
        "verdict": verdict,
        "trials": sum(len(arm["tuning"]) + max(0, arm["runs"] - 1) for arm in made.record["arms"] if not arm["floor"]),
        "test_score": {"accuracy": given["test"]["accuracy"]},
        "precision": runtime.precision,
    }


def save(a: argparse.Namespace) -> dict[str, Any]:
    """Fine-tune a model whose head is the family's own, and save it, for both sides to predict with."""
    from unfreeze.compare.trials import train as trained_by
    from unfreeze.engine.training import Watch
    from unfreeze.export.handing_over import save_model

    runtime = settled(a)
    material = prepared(a)
    trial = trial_of(a, "full", rate=a.rate, seed=a.seed, fold=None)
    trained = trained_by(material, trial, runtime=runtime, folder=None, watch=Watch())
    save_model(trained, material, folder=a.model, card="A model for measurements.\n")
    return {"steps": trained.state.curve[-1]["step"]}


def predict(a: argparse.Namespace) -> dict[str, Any]:
    """Predict texts with a loaded model; and the whole command on the file, loading included."""
    import csv

    from unfreeze.export.handing_over import load_model
    from unfreeze.predicting import predict_file

    settled(a)
    with a.file.open(encoding="utf-8", newline="") as stream:
        texts = [row["text"] for row in csv.DictReader(stream)]
    model = load_model(a.model, threads=a.threads, precision=a.precision)
    model.predict(texts[:32])
    cpu, wall = cpu_seconds(), time.perf_counter()
    labels = model.predict(texts)
    cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
    begun = cpu_seconds()
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "predicted.jsonl"
        predict_file(a.model, a.file, output=output, threads=a.threads, precision=a.precision)
    whole = cpu_seconds() - begun
    return {"cpu_s": cpu, "wall_s": wall, "file_cpu_s": whole, "examples": len(texts), "labels": labels}


def start(a: argparse.Namespace) -> dict[str, Any]:
    """Wall seconds until ``unfreeze --help`` has answered: median of several, after one that nobody counts."""
    seconds = []
    for _ in range(a.times + 1):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-m", "unfreeze", "--help"], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - begun)
    return {"wall_s": statistics.median(seconds[1:]), "fastest_s": min(seconds[1:]), "times": a.times}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    made = {verb.__name__: verbs.add_parser(verb.__name__) for verb in VERBS}
    for name in ("train", "heads", "comparison", "race", "save"):
        made[name].add_argument("--train", type=Path, required=True)
        made[name].add_argument("--test", type=Path, required=True)
        made[name].add_argument("--epochs", type=int, default=1)
        made[name].add_argument("--batch", type=int, default=32)
        made[name].add_argument("--seed", type=int, default=0)
    for name in ("train", "save"):
        made[name].add_argument("--rate", type=float, default=1e-4)
    for name in ("heads", "comparison"):
        made[name].add_argument("--folds", type=int, default=1)
    for name in ("save", "predict"):
        made[name].add_argument("--model", type=Path, required=True)
    for verb in made.values():
        verb.add_argument("--threads", type=int, default=1)
        verb.add_argument("--precision", default="auto")
    made["train"].add_argument("--strategy", default="full")
    made["train"].add_argument("--model", help="an encoder's folder; the embedded one if none is named")
    made["train"].add_argument("--random-base", action="store_true", help="BERT-base's shape instead")
    made["train"].add_argument("--again", action="store_true")
    made["heads"].add_argument("--strategy", default="head-only@mean:1")
    made["heads"].add_argument("--rates", type=float, nargs="+", required=True)
    made["heads"].add_argument("--decays", type=float, nargs="+", required=True)
    for name in ("comparison", "race"):
        made[name].add_argument("--validation", type=Path)
        made[name].add_argument("--arms", nargs="+", required=True)
        made[name].add_argument("--rates", type=int, default=1)
    made["race"].add_argument("--budget", required=True)
    made["comparison"].add_argument("--seeds", type=int, default=1)
    made["predict"].add_argument("--file", type=Path, required=True)
    made["start"].add_argument("--times", type=int, default=10)
    return parser.parse_args()


VERBS = (train, heads, comparison, race, save, predict, start)

if __name__ == "__main__":
    arguments = _arguments()
    print(json.dumps(next(verb for verb in VERBS if verb.__name__ == arguments.verb)(arguments)))
