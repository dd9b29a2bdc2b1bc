"""Whether to run trials side by side, and in how many processes: found by a short calibration."""

from dataclasses import dataclass, replace

from unfreeze.compare.arms import Arm
from unfreeze.compare.pricing import Speed
from unfreeze.compare.watching import Watcher
from unfreeze.compare.worker import Payload
from unfreeze.compare.workers import Workers
from unfreeze.engine.machine import free_memory, usable_cores
from unfreeze.errors import SettingsError, StorageError

WORTHWHILE_SECONDS = 60.0
"""A comparison shorter than this is over before processes that import torch have paid for themselves."""

PROCESS_BYTES = 700_000_000
"""What a process takes before it has a model: the libraries, the texts, the activations of a batch."""

WEIGHT_BYTES = 24
"""A weight with its gradient, two moments, the best value so far and one in bfloat16."""

UNEVEN = 1.15
"""Some processes wait at the end of an arm's search, and for the last trial of all."""


@dataclass(frozen=True, slots=True)
class Choice:
    """How trials are run.

    Attributes:
        workers: processes side by side; 1 for this process alone.
        speed: of the whole: wall seconds a token, all processes together.
    """

    workers: int
    speed: Speed


def most_workers(weights: int) -> int:
    """How many processes the cores and the free memory allow.

    Args:
        weights: number of scalars of the model.
    """
    return min(usable_cores(), _fitting(weights))


def check_workers(number: int, weights: int) -> None:
    """Refuse more processes than the free memory holds; more than there are cores are the user's own wish.

    Args:
        number: of processes asked for.
        weights: number of scalars of the model.

    Raises:
        SettingsError: they do not fit.
    """
    if number > max(usable_cores(), _fitting(weights)):
        raise SettingsError(
            f"--workers {number}: the free memory holds {_fitting(weights)} processes that train this encoder; "
            "choose no more, or leave the option out"
        )


def _fitting(weights: int) -> int:
    memory = free_memory()
    return usable_cores() if memory is None else max(1, memory // (PROCESS_BYTES + WEIGHT_BYTES * weights))


def calibrated(payload: Payload, arm: Arm, *, alone: Speed, number: int, watcher: Watcher) -> Choice:
    """Time the same steps in so many processes at once, and take what is faster.

    Args:
        payload: what each process is given.
        arm: any that learns.
        alone: the speed of this process on its own.
        number: of processes to try.
        watcher: asked whether to stop; told where the processes cannot be had.

    Raises:
        Interrupted: the watcher said so.
    """
    try:
        with Workers(number, payload, watcher=watcher) as workers:
            speeds = workers.measure(arm)
    except StorageError as error:
        watcher.said(f"{error} It goes on in this process alone.")
        return Choice(1, alone)
    together = combined(speeds)
    return Choice(number, together) if together.step < alone.step else Choice(1, alone)


def combined(speeds: list[Speed]) -> Speed:
    """Wall seconds a token of processes that run side by side."""
    forward = UNEVEN / sum(1 / speed.forward for speed in speeds)
    return replace(speeds[0], forward=forward, step=UNEVEN / sum(1 / speed.step for speed in speeds))
