"""A worker: a process of its own that runs one job after the other, on one thread.

Started as ``python -m unfreeze.compare.worker PAYLOAD FLAG``; jobs come in by standard input, what happens goes out by
standard output, both pickled. A fresh process, never a fork: forking one that has computed with several threads hangs.
"""

import os
import pickle
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from unfreeze.compare.jobs import Doing, Job, Measurement
from unfreeze.compare.material import Material
from unfreeze.compare.pricing import measure_speed
from unfreeze.engine.runtime import Runtime, prepare_process
from unfreeze.engine.training import Watch
from unfreeze.errors import Interrupted

TELLING_SECONDS = 0.2
"""Between two reports of progress."""


@dataclass(frozen=True, slots=True)
class Payload:
    """What a worker is given once.

    Attributes:
        material: what all trials share.
        folder: each trial gets a folder of its own in it.
        runtime: how to compute.
        checkpoint_seconds: between checkpoints.
    """

    material: Material
    folder: Path
    runtime: Runtime
    checkpoint_seconds: float


def main(payload_path: str, flag_path: str) -> None:
    """Run jobs until there are no more, or until the process that sends them is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the flag says when to stop
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints must not end up among the answers
    payload: Payload = pickle.loads(Path(payload_path).read_bytes())
    prepare_process(payload.runtime.threads, "auto")
    parent, flag = os.getppid(), Path(flag_path)
    tell = _Telling(answers, stop=lambda: flag.exists() or os.getppid() != parent, every=payload.checkpoint_seconds)
    if payload.material.cache is not None:
        payload.material.cache.said = partial(tell, "said")
    tell("ready", None)
    doing = Doing(payload.material, payload.folder, runtime=payload.runtime)
    while (job := _received(sys.stdin.buffer)) is not None:
        tell.answer(partial(_done, payload, doing, job))


def _done(payload: Payload, doing: Doing, job: Job | Measurement, watch: Watch) -> Any:
    if isinstance(job, Measurement):
        return measure_speed(payload.material, job.arm, runtime=payload.runtime)
    return doing.do(job, watch=watch)


def _received(stream: BinaryIO) -> Job | Measurement | None:
    try:
        job: Job | Measurement | None = pickle.load(stream)
    except EOFError:
        return None
    return job


class _Telling:
    """Tells the process that sends jobs what happens."""

    def __init__(self, answers: BinaryIO, *, stop: Callable[[], bool], every: float) -> None:
        self._answers, self._stop, self._every = answers, stop, every
        self._told = 0.0

    def __call__(self, what: str, value: Any) -> None:
        try:
            pickle.dump((what, value), self._answers)
            self._answers.flush()
        except BrokenPipeError:  # nobody is left to hear it
            os._exit(1)

    def answer(self, work: Callable[[Watch], Any]) -> None:
        """Do some work and tell how it went."""
        watch = Watch(
            progress=self._progress,
            scored=lambda row: None if row.score is None else self("scored", row.score),
            stop=self._stop,
            checkpoint_seconds=self._every,
        )
        try:
            answer = work(watch)
        except Interrupted:
            self("interrupted", None)
        except Exception as error:
            self("failed", _sendable(error))
        else:
            self("done", answer)

    def _progress(self, fraction: float) -> None:
        now = time.monotonic()
        if now - self._told > TELLING_SECONDS:
            self._told = now
            self("progress", fraction)


def _sendable(error: Exception) -> Exception:
    """An error as the other process can read it; some of other packages' cannot be built again there."""
    try:
        again = pickle.loads(pickle.dumps(error))
    except Exception:
        again = None
    return error if type(again) is type(error) and str(again) == str(error) else RuntimeError(repr(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
