"""One side of a measurement in a fresh process, and the machine that it ran on.

This module and those that import it load no heavy library: what a child process is charged for as its largest memory
begins with that of the process that started it.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HERE = Path(__file__).resolve().parent
COMPUTES = ("compare", "data", "encoders", "engine", "strategies", "tasks", "plan.py", "predicting.py")
"""What of the library decides how long something takes; another wording in a report does not."""

SCRIPTS = ("clock.py", "inputs.py", "measuring.py", "ours.py", "rivals.py")
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16")
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
}


class SideFailed(Exception):
    """A side did not run to its end; the text is the last that it said."""


@dataclass(frozen=True)
class Side:
    """One command that prints JSON, an object a line.

    Attributes:
        name: "ours", "HF default" and so on.
        command: what is run.
        on_gpu: whether it may see a GPU; the others are made to compute on the CPU.
    """

    name: str
    command: tuple[str, ...]
    on_gpu: bool = False


def run_side(side: Side) -> dict[str, Any]:
    """Run a side by itself, with one thread and with empty caches.

    Returns:
        What it printed, several objects as one, with ``process_cpu_s`` (all of the process, imports and children
        included), ``process_wall_s`` and ``peak_mb``, the largest resident memory of one of its processes.

    Raises:
        SideFailed: it ended with an error, or printed no JSON.
    """
    with tempfile.TemporaryDirectory(prefix="unfreeze-bench-") as folder:
        said, complained = Path(folder) / "stdout", Path(folder) / "stderr"
        begun = time.perf_counter()
        with said.open("wb") as out, complained.open("wb") as err:
            child = subprocess.Popen(side.command, stdout=out, stderr=err, env=_environment(side, folder))
            try:
                # Not wait(): only wait4 tells what this one child used.
                _, status, used = os.wait4(child.pid, 0)
            except BaseException:
                child.kill()
                child.wait()
                raise
        child.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - begun
        found = _told(said.read_text(encoding="utf-8", errors="replace"))
        if child.returncode or not found:
            last = complained.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-8:]
            raise SideFailed("\n    ".join([f"{side.name} ended with {child.returncode}:", *last]))
    found.pop("settings", None)  # the peer repeats its options, file names among them
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return found | {
        "process_cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "process_wall_s": round(wall, 2),
        "peak_mb": round(used.ru_maxrss / unit, 1),
    }


def _told(text: str) -> dict[str, Any]:
    """All lines that are JSON objects, as one; what else a library prints is passed over."""
    found: dict[str, Any] = {}
    for line in text.splitlines():
        try:
            told = json.loads(line)
        except json.JSONDecodeError:
            continue
        found |= told if isinstance(told, dict) else {}
    return found


def _environment(side: Side, folder: str) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    own = {"PYTHONPATH": path, "TMPDIR": folder, "UNFREEZE_CACHE": str(Path(folder) / "cache")}
    hidden = {} if side.on_gpu else {"CUDA_VISIBLE_DEVICES": ""}
    return os.environ | ONE_THREAD | own | hidden


def machine() -> dict[str, Any]:
    """What was measured on, as the machine itself tells it: no name, no address, no path."""
    model, flags = _processor()
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "flags": [flag for flag in FLAGS if flag in flags],
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "gpu": _gpu(),
        "threads": 1,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
        "transformers": metadata.version("transformers"),
    }


def described(found: dict[str, Any]) -> str:
    """A machine in a sentence."""
    flags = f" ({', '.join(found['flags'])})" if found["flags"] else ""
    parts = [
        f"{found['cores']} cores of {found['processor']}{flags}",
        found["gpu"] or "no GPU",
        f"{found['memory_gb']} GB",
        found["system"],
        f"Python {found['python']}",
        f"torch {found['torch']}",
        f"transformers {found['transformers']}",
        f"{found['threads']} thread a process",
    ]
    return ", ".join(parts)


def _processor() -> tuple[str, set[str]]:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        return platform.processor() or platform.machine(), set()
    fields: dict[str, str] = {}
    for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    model = fields.get("model name") or platform.machine()
    return model, set((fields.get("flags") or fields.get("Features", "")).split())


def _gpu() -> str | None:
    """The GPU's name, asked of its driver: torch would have to be loaded."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--query-gpu=name", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    names = done.stdout.strip().splitlines() if not done.returncode else []
    return names[0].strip() if names else None


def version(peers: Path | None) -> str:
    """A short digest of all that decides a figure: the library's sources, these scripts, the peers' scripts."""
    digest = hashlib.sha256()
    places = [*(ROOT / "src" / "unfreeze" / name for name in COMPUTES), *(HERE / name for name in SCRIPTS)]
    places += [peers] if peers is not None else []
    for place in places:
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]
