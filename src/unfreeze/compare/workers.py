"""Run jobs side by side, each in a one-thread process.

Two one-thread runs beside each other are done sooner than one after the other on two threads, and on a machine that is
shared much sooner. A worker's end costs its job only: that one is run once more, and then given up.
"""

import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from unfreeze.compare.arms import Arm
from unfreeze.compare.jobs import Answer, Job, Measurement
from unfreeze.compare.pricing import Speed
from unfreeze.compare.trials import Trial
from unfreeze.compare.watching import Watcher
from unfreeze.compare.worker import Payload
from unfreeze.errors import Interrupted, StorageError

WAITING_SECONDS = 0.2
"""How often the watcher is asked whether to stop."""

LOST = "its process was ended from outside, twice (short memory is the usual reason)"


@dataclass(slots=True)
class _Worker:
    """A process with the job it has, and how often that job was lost."""

    process: subprocess.Popen[bytes]
    job: Job | Measurement | None = None
    ready: bool = False


@dataclass(slots=True)
class _State:
    """What the executor holds."""

    workers: dict[int, _Worker] = field(default_factory=dict)
    waiting: deque[Job | Measurement] = field(default_factory=deque)
    lost: dict[Job, int] = field(default_factory=dict)


class Workers:
    """Runs jobs in so many processes; a context manager.

    Args:
        number: of processes.
        payload: what each is given.
        watcher: told of progress, asked whether to stop.
    """

    def __init__(self, number: int, payload: Payload, *, watcher: Watcher) -> None:
        self.capacity, self._payload, self._watcher = number, payload, watcher
        self._state = _State()
        self._numbers = iter(range(sys.maxsize))
        self._heard: queue.SimpleQueue[tuple[int, str, Any]] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._stopping = self._measuring = False

    def __enter__(self) -> Self:
        """Make ready to start processes: they are started with the first job."""
        # Beside the trials, under a name that the ledger sweeps: it holds the user's texts, and a kill leaves it.
        self._payload.folder.mkdir(parents=True, exist_ok=True)
        self._folder = tempfile.TemporaryDirectory(dir=self._payload.folder, prefix=".workers-", suffix=".part")
        self._payload_path, self._flag = Path(self._folder.name, "payload"), Path(self._folder.name, "stop")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the processes; those that still compute are killed."""
        for worker in self._state.workers.values():
            if worker.job is not None or not worker.ready:
                worker.process.kill()
            _close(worker.process)
        for worker in self._state.workers.values():
            worker.process.wait()
        for thread in self._threads:
            thread.join()
        self._folder.cleanup()

    @property
    def busy(self) -> int:
        """Jobs under way, or waiting for a process to be ready."""
        return len(self._state.waiting) + sum(worker.job is not None for worker in self._state.workers.values())

    def submit(self, job: Job) -> None:
        """Give a job to a process that is free, now or as soon as one is."""
        self._start_all()
        self._state.waiting.append(job)
        self._hand_out()

    def measure(self, arm: Arm) -> list[Speed]:
        """The speed of each process while all compute.

        Args:
            arm: any that learns.

        Raises:
            Interrupted: the watcher said so.
        """
        self._measuring = True
        self._start_all()
        while not all(worker.ready for worker in self._state.workers.values()):
            self._listen_once()  # they begin together, or the first would have the machine to itself
        for _ in range(self.capacity):
            self._state.waiting.append(Measurement(arm))
        self._hand_out()
        speeds = [self._answer()[1] for _ in range(self.capacity)]
        self._measuring = False
        return speeds

    def wait(self) -> tuple[Job, Mapping[Trial, Answer]]:
        """The answers to the next job that is done.

        Raises:
            Interrupted: the watcher said so; every job under way has written its checkpoint.
        """
        return self._answer()

    def _answer(self) -> tuple[Any, Any]:
        while True:
            done = self._listen_once()
            if done is not None:
                return done

    def _listen_once(self) -> tuple[Any, Any] | None:
        """Hear what one worker says, or nothing for a while; a job and its answers where it is done."""
        self._ask_to_stop()
        if self._stopping and not any(worker.job for worker in self._state.workers.values()):
            raise Interrupted("stopped; the same command goes on from here")
        try:
            number, what, value = self._heard.get(timeout=WAITING_SECONDS)
        except queue.Empty:
            return None
        done = self._take(self._state.workers[number], number, what, value)
        self._hand_out()
        return done

    def _take(self, worker: _Worker, number: int, what: str, value: Any) -> tuple[Any, Any] | None:
        """React to what a worker said; a job and its answers where it is done."""
        job = worker.job
        if what == "ended":
            del self._state.workers[number]
            _close(worker.process)
            return self._lost(job, worker.process.wait())
        if what == "ready":
            worker.ready = True
        if what == "said":
            self._watcher.said(value)
        if job is None:
            return None
        if isinstance(job, Job) and what == "progress":
            self._watcher.progressed(job.arm, value)
        elif isinstance(job, Job) and what == "scored":
            self._watcher.scored(job.arm, value)
        elif what not in ("progress", "scored", "said"):
            worker.job = None
            if what == "failed":
                raise value
            if what == "done":
                return job, value
        return None

    def _lost(self, job: Job | Measurement | None, code: int) -> tuple[Job, Mapping[Trial, Answer]] | None:
        """A worker is gone: another takes its place, and the job is run once more."""
        if self._stopping:
            return None
        if job is None and self._state.workers and not self._measuring:
            self.capacity = len(self._state.workers)
            self._watcher.said(f"a process that waited was ended from outside; it goes on with {self.capacity}")
            return None
        if not isinstance(job, Job):
            raise StorageError(
                f"a process that was to train beside this one ended at once (exit code {code}); short memory is the "
                "usual reason. --workers 1 does without."
            )
        self._start()
        self._state.lost[job] = self._state.lost.get(job, 0) + 1
        if self._state.lost[job] > 1:
            return job, dict.fromkeys(job.trials, LOST)
        self._watcher.said(f"a process that trained {job.arm} was ended from outside; its trial is run once more")
        self._state.waiting.appendleft(job)
        return None

    def _hand_out(self) -> None:
        for worker in self._state.workers.values():
            if self._state.waiting and worker.ready and worker.job is None and not self._stopping:
                worker.job = self._state.waiting.popleft()
                with suppress(BrokenPipeError):  # its end is heard of next
                    pickle.dump(worker.job, worker.process.stdin)  # type: ignore[arg-type]
                    worker.process.stdin.flush()  # type: ignore[union-attr]

    def _ask_to_stop(self) -> None:
        if not self._stopping and self._watcher.stop():
            self._stopping = True
            self._flag.touch()

    def _start_all(self) -> None:
        if self._state.workers:
            return
        self._payload_path.write_bytes(pickle.dumps(self._payload))
        for _ in range(self.capacity):
            self._start()

    def _start(self) -> None:
        """Start one process, which finds the same packages that this one does."""
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "OMP_NUM_THREADS": str(self._payload.runtime.threads),
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        command = [sys.executable, "-m", "unfreeze.compare.worker", str(self._payload_path), str(self._flag)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        number = next(self._numbers)
        self._state.workers[number] = _Worker(process)
        listening = threading.Thread(target=self._listen, args=(number, process), daemon=True)
        self._threads.append(listening)
        listening.start()

    def _listen(self, number: int, process: "subprocess.Popen[bytes]") -> None:
        """Pass on what a process says; a thread of its own, because reading a pipe waits."""
        with process.stdout as stream:  # type: ignore[union-attr]
            while True:
                try:
                    what, value = pickle.load(stream)
                except Exception:  # its end; or half a message, after which nothing can be read any more
                    self._heard.put((number, "ended", None))
                    process.kill()
                    return
                self._heard.put((number, what, value))


def _close(process: "subprocess.Popen[bytes]") -> None:
    """No more jobs for a process; one that waits for another ends by itself."""
    with suppress(BrokenPipeError):
        process.stdin.close()  # type: ignore[union-attr]
