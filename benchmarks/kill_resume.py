"""Kill a comparison again and again, go on each time, and see whether it finds what an uninterrupted one finds.

    python benchmarks/kill_resume.py --kills 20

Each kill is SIGKILL at a random moment after the first trial was begun, with a checkpoint every few steps. When a
comparison ends between two kills, the next one is begun in a new folder. At the end all folders are compared with the
reference: scores, the SHA-256 of all weights, the recommendation. The exit code is 1 if anything differs.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent.parent / "tests"
CHECKPOINT_SECONDS = "0.02"


def compare(folder: Path, data: Path, encoder: Path) -> None:
    """The comparison that is killed: what the child process runs."""
    import unfreeze
    from unfreeze.compare.watching import Watcher

    class Telling(Watcher):
        def began(self, arm: str, doing: str) -> None:
            print("began", flush=True)

    settings = {"num_train_epochs": 6, "patience": 6, "per_device_train_batch_size": 8, "learning_rate": 1e-2}
    unfreeze.compare(
        data,
        strategies=("full", "head-only"),
        folds=2,
        seeds=1,
        settings=settings,
        model=str(encoder),
        output_dir=folder,
        budget=None,
        threads=1,
        precision="fp32",
        watcher=Telling(),
    )


def findings(folder: Path) -> dict[str, Any]:
    """What a comparison found, without times and places."""
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    kept = ("name", "state", "score", "interval", "scores", "details", "test", "settings", "tuning", "starved")
    results = sorted((folder / "trials").glob("*/result.json"))
    return {
        "table": [{key: arm[key] for key in kept} for arm in record["arms"]],
        "weights of trials": {p.parent.name: json.loads(p.read_bytes())["weights_sha256"] for p in results},
        "recommendation": {k: v for k, v in record["recommendation"].items() if k not in ("costs", "in_short")},
        "handed over": record["handed_over"],
    }


class Killing:
    """Comparisons that are killed, in folders below one."""

    def __init__(self, base: Path, encoder: Path, seed: int) -> None:
        self.base, self.encoder, self.chance = base, encoder, random.Random(seed)
        self.folders, self.seconds = [base / "killed-0"], 10.0

    def start(self, folder: Path) -> "subprocess.Popen[str]":
        """Begin a comparison, or go on with it, and wait until it trains or has ended."""
        command = [sys.executable, __file__, "--child", str(folder), "--data", str(self.base / "opinions.jsonl")]
        usual = {"UNFREEZE_CHECKPOINT_SECONDS": CHECKPOINT_SECONDS, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        child = subprocess.Popen(
            [*command, "--encoder", str(self.encoder)],
            env=os.environ | usual,
            stdout=subprocess.PIPE,
            stderr=(self.base / "errors.txt").open("a"),
            text=True,
        )
        assert child.stdout is not None
        child.stdout.readline()
        return child

    def to_the_end(self, folder: Path) -> None:
        """Run a comparison until it ends by itself; its time says when others are to be killed."""
        begun = time.perf_counter()
        child = self.start(folder)
        trained = time.perf_counter()
        _, code = child.communicate(), child.returncode
        if code:
            raise SystemExit(f"{folder}: ended with {code}:\n{(self.base / 'errors.txt').read_text()[-2000:]}")
        self.seconds = min(self.seconds, time.perf_counter() - trained)
        print(f"{folder.name}: done in {time.perf_counter() - begun:.1f} s", flush=True)

    def kill(self) -> bool:
        """Let one process go on for a random time and kill it; False if it ended before."""
        folder = self.folders[-1]
        if (folder / "record.json").exists():
            folder = self.base / f"killed-{len(self.folders)}"
            self.folders.append(folder)
        child = self.start(folder)
        time.sleep(self.chance.uniform(0, 0.6 * self.seconds))
        child.kill()
        child.communicate()
        done = len(list((folder / "trials").glob("*/result.json")))
        begun = len(list((folder / "trials").glob("*/checkpoint/manifest.json")))
        print(f"{folder.name}: killed with {done} trials done and {begun} checkpoints", flush=True)
        return child.returncode != 0


def main() -> int:
    """Run the reference, kill as often as asked, compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--encoder", type=Path, help="folder of a small encoder; made if none is named")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child is not None:
        compare(chosen.child, chosen.data, chosen.encoder)
        return 0
    sys.path.insert(0, str(TESTS))
    from rows import opinions, write_jsonl
    from tiny import tiny_encoder

    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        write_jsonl(base / "opinions.jsonl", opinions())
        killing = Killing(base, chosen.encoder or tiny_encoder("bert", base / "encoder"), chosen.seed)
        killing.to_the_end(base / "reference")
        kills = 0
        while kills < chosen.kills:
            kills += killing.kill()
        killing.to_the_end(killing.folders[-1])
        reference = findings(base / "reference")
        differing = 0
        for folder in killing.folders:
            found = findings(folder)
            parts = [part for part in reference if found[part] != reference[part]]
            differing += bool(parts)
            print(f"{folder.name}: {'differs in ' + ', '.join(parts) if parts else 'identical to the reference'}")
        print(f"{kills} kills, {len(killing.folders)} comparisons, {differing} of them differ from the reference")
        return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
