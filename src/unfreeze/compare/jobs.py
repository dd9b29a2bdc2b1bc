"""Jobs: trials to be run, and who runs them. Here they are run one after the other in this process."""

import os
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from unfreeze.compare.arms import Arm
from unfreeze.compare.best_so_far import keep_if_best
from unfreeze.compare.head_trials import HeadTrials
from unfreeze.compare.material import Material
from unfreeze.compare.outcomes import score_of
from unfreeze.compare.trials import Trained, Trial, run_trial
from unfreeze.compare.watching import Watcher
from unfreeze.engine.gradients import is_out_of_memory
from unfreeze.engine.runtime import Runtime
from unfreeze.engine.training import Watch
from unfreeze.errors import SettingsError, UserError
from unfreeze.strategies import strategy_named

CHECKPOINT_SECONDS = "UNFREEZE_CHECKPOINT_SECONDS"
"""Environment variable: seconds between checkpoints, 60 if it is not set. Tests that kill a comparison set it lower."""

Answer = dict[str, Any] | str
"""A trial's record; or, for one that cannot be run here, why not."""


@dataclass(frozen=True, slots=True)
class Job:
    """Trials of one arm that are run together.

    Attributes:
        arm: whose.
        trials: one, or several that share their features.
        doing: what the user is told, such as "settings 2 of 6".
    """

    arm: str
    trials: tuple[Trial, ...]
    doing: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """A job that trains nothing: time a few steps.

    Attributes:
        arm: whose settings are used.
    """

    arm: Arm


class Executor(Protocol):
    """Runs jobs."""

    @property
    def capacity(self) -> int:
        """Jobs that can be under way at once."""

    @property
    def busy(self) -> int:
        """Jobs under way."""

    def submit(self, job: Job) -> None:
        """Begin a job; ``busy`` is below ``capacity``."""

    def wait(self) -> tuple[Job, Mapping[Trial, Answer]]:
        """The answers to a job that is done, as soon as there is one.

        Raises:
            Interrupted: the user has asked for an end; checkpoints are written.
        """


class InProcess:
    """Runs jobs here, one at a time.

    Args:
        material: what all trials share.
        folder: each trial gets a folder of its own in it.
        runtime: how to compute.
        watcher: told of progress, asked whether to stop.
    """

    capacity = 1

    def __init__(self, material: Material, folder: Path, *, runtime: Runtime, watcher: Watcher) -> None:
        self._doing, self._watcher = Doing(material, folder, runtime=runtime), watcher
        self._jobs: deque[Job] = deque()

    @property
    def busy(self) -> int:
        """Jobs that wait to be run."""
        return len(self._jobs)

    def submit(self, job: Job) -> None:
        """Run it when ``wait`` is called."""
        self._jobs.append(job)

    def wait(self) -> tuple[Job, Mapping[Trial, Answer]]:
        """Run the job that was given first.

        Raises:
            Interrupted: the watcher said so; a checkpoint is written.
        """
        job = self._jobs.popleft()
        return job, self._doing.do(job, watch=watch_for(self._watcher, job.arm))


def watch_for(watcher: Watcher, arm: str) -> Watch:
    """How a run of an arm reports to a watcher, and how often it writes a checkpoint.

    Raises:
        SettingsError: the environment variable ``UNFREEZE_CHECKPOINT_SECONDS`` is no number of seconds.
    """
    written = os.environ.get(CHECKPOINT_SECONDS) or "60"
    try:
        seconds = float(written)
    except ValueError:
        raise SettingsError(f"{CHECKPOINT_SECONDS} is a number of seconds; got {written!r}") from None
    return Watch(
        progress=lambda fraction: watcher.progressed(arm, fraction),
        scored=lambda row: None if row.score is None else watcher.scored(arm, row.score),
        stop=watcher.stop,
        checkpoint_seconds=seconds,
    )


class Doing:
    """Runs the trials of jobs in this process, and remembers what head-only trials read from job to job.

    Args:
        material: what all trials share.
        folder: each trial gets a folder of its own in it.
        runtime: how to compute.
    """

    def __init__(self, material: Material, folder: Path, *, runtime: Runtime) -> None:
        self._material, self._folder, self._runtime = material, folder, runtime
        self._heads = HeadTrials(material, runtime=runtime)

    def do(self, job: Job, *, watch: Watch) -> dict[Trial, Answer]:
        """Run a job's trials: together those that only train a head, one after the other those that train more.

        Args:
            job: which.
            watch: how trials report; told of the job's progress, whatever the number of its trials.

        Raises:
            Interrupted: ``watch`` said so.
        """
        answers: dict[Trial, Answer] = {}
        answers |= self._heads.run(
            job.trials, folder_of=lambda trial: self._folder / trial.key, watch=watch, kept=self._keep
        )
        for number, trial in enumerate(job.trials):
            if trial not in answers:
                answers[trial] = self._one(trial, watch.share(number, of=len(job.trials)))
        return answers

    def _keep(self, trial: Trial, trained: Trained, record: dict[str, Any]) -> None:
        """Keep the weights of a trial that may be handed over and is the best so far."""
        if trial.fold is not None and not strategy_named(trial.strategy).search.floor:
            score = score_of(record, self._material.task.metric)
            keep_if_best(self._folder, trial, trained=trained, score=score)

    def _one(self, trial: Trial, watch: Watch) -> Answer:
        folder = self._folder / trial.key
        try:
            return run_trial(self._material, trial, runtime=self._runtime, folder=folder, watch=watch, kept=self._keep)
        except UserError as error:
            return str(error)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not is_out_of_memory(error):
                raise
            return "it needs more memory than this machine has free"
