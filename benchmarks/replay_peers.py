"""What a user has today, on the cells of the replay study: the Trainer's defaults, and a competent script.

    python benchmarks/replay_peers.py --cells ner_wikigold --rows 300

The peers' own script is run as it is; what it scores is listened to, so that counts for each example are kept as they
are of our trials. *default*: learning rate 5e-5, 3 epochs, fp32. *competent*: bfloat16, grouped by length, a tenth of
warm-up, rate {1e-4, 2e-4} × epochs {3, 8} chosen on validation with seed 0. Both: batch 16, seeds 0 to 2, one thread.
"""

import json
import runpy
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from inputs import embedded_encoder, shared
from measuring import Side, machine, run_side
from replay_cells import Cell, make_cell, parser_of
from replay_collect import said
from replay_kept import SPLITS, Kept, read_kept

DEFAULT = ("default", 5e-5, 3)
COMPETENT = tuple((f"competent, {epochs} epochs", rate, epochs) for epochs in (3, 8) for rate in (1e-4, 2e-4))
TUNED = ("--bf16", "--group-by-length", "--warmup", "0.1")
METRICS = {"classification": "accuracy", "ner": "entity_f1"}
IOB1 = ("ner_wikigold",)


def collect(cell: Cell, *, seeds: int, script: Path, kept_in: Path) -> None:
    """Run the peers of a cell that are not kept yet."""
    name = f"{cell.name}-peers"
    about = {"data": cell.data, "task": cell.task, "metric": METRICS[cell.task], "machine": machine()}
    kept = read_kept(kept_in, name) or Kept(about)

    def run(setting: tuple[str, float, int], seed: int) -> None:
        _run(cell, (*setting, seed), kept, script=script)
        kept.write(kept_in, name)

    for setting in (DEFAULT, *COMPETENT):
        run(setting, 0)
    tried = [row for row in kept.trials if row["strategy"] != "default" and row["seed"] == 0]
    best = max(tried, key=lambda row: row["scores"]["validation"][about["metric"]])
    for seed in range(1, seeds):
        for setting in (DEFAULT, (best["strategy"], best["rate"], best["epochs"])):
            run(setting, seed)


def _run(cell: Cell, setting: tuple[str, float, int, int], kept: Kept, *, script: Path) -> None:
    """One run of the script, kept."""
    name, rate, epochs, seed = setting
    if kept.has((name, "standard", 1, rate, seed)):
        return
    files = ["--train", str(cell.train), "--dev", str(cell.validation), "--test", str(cell.test)]
    options = ["--model", str(embedded_encoder()), "--task", cell.task, "--batch", "16", "--threads", "1"]
    options += ["--lr", f"{rate:g}", "--epochs", str(epochs), "--seed", str(seed), *files]
    options += [*TUNED] if name != "default" else []
    options += ["--iob1"] if cell.data in IOB1 else []
    found = run_side(Side(name, (sys.executable, str(Path(__file__).resolve()), "--listen", str(script), *options)))
    row = {
        "strategy": name,
        "pooling": "standard",
        "layers": 1,
        "rate": rate,
        "seed": seed,
        "epochs": epochs,
        "state": "done",
        "steps": found["steps"],
        "train_cpu_seconds": found["train_cpu_s"],
        "cpu_seconds": round(found["worked_cpu_s"], 3),
        "seconds": round(found["worked_wall_s"], 3),
        "process_cpu_seconds": found["process_cpu_s"],
        "scores": {"validation": found["dev_score"], "test": found["test_score"]},
    }
    kept.add(row, {split: np.array(found[split]) for split in SPLITS})
    said(f"{cell.data} {name} {rate:g} seed {seed}: {row['scores']} {row['seconds']:.0f} s")


def listen(script: str, options: Sequence[str]) -> None:
    """Run the script and print a second line of JSON: what each example counts, and the seconds from training on."""
    import seqeval.metrics
    import sklearn.metrics
    from transformers.trainer import Trainer

    heard: list[list[list[int]]] = []
    begun: list[float] = []
    accuracy, entity_f1, train = sklearn.metrics.accuracy_score, seqeval.metrics.f1_score, Trainer.train

    def scored_labels(gold: Sequence[str], guess: Sequence[str]) -> Any:
        heard.append([[int(a == b), 1] for a, b in zip(gold, guess, strict=True)])
        return accuracy(gold, guess)

    def scored_tags(gold: list[list[str]], guess: list[list[str]], **settings: Any) -> Any:
        heard.append([_entities(*pair) for pair in zip(gold, guess, strict=True)])
        return entity_f1(gold, guess, **settings)

    def trained(self: Trainer, *args: Any, **settings: Any) -> Any:
        begun.extend((time.process_time(), time.perf_counter()))
        return train(self, *args, **settings)

    sklearn.metrics.accuracy_score = scored_labels
    seqeval.metrics.f1_score = scored_tags
    Trainer.train = trained  # type: ignore[method-assign]  # the script itself is left as it is
    sys.argv = [script, *options]
    runpy.run_path(script, run_name="__main__")
    used = {"worked_cpu_s": time.process_time() - begun[0], "worked_wall_s": time.perf_counter() - begun[1]}
    print(json.dumps(used | dict(zip(SPLITS, heard, strict=True))))


def _entities(gold: list[str], guess: list[str]) -> list[int]:
    """Entities found, said and in the gold of a sentence, as the strict score counts them."""
    from seqeval.scheme import IOB2, Entities

    sets = [{entity.to_tuple()[1:] for entity in Entities([tags], IOB2).entities[0]} for tags in (gold, guess)]
    return [len(sets[0] & sets[1]), len(sets[1]), len(sets[0])]


def main() -> None:
    """Run the peers of cells, one after the other."""
    parser = parser_of(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    a = parser.parse_args()
    data, peers = shared("UNFREEZE_SHARED_DATA", "data"), shared("UNFREEZE_PEERS", "peers")
    if data is None or peers is None:
        raise SystemExit("the shared data sets or the peers' script are not here; see benchmarks/README.md")
    with tempfile.TemporaryDirectory(prefix="unfreeze-rows-") as folder:
        for name in a.cells:
            cell = make_cell(name, a.rows, shared=data, into=Path(folder))
            collect(cell, seeds=a.seeds, script=peers / "peer_trainer.py", kept_in=a.kept)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--listen"]:
        listen(sys.argv[2], sys.argv[3:])
    else:
        main()
