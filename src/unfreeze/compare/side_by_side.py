"""Whether to run trials side by side, and in how many processes: found by a short calibration."""

from dataclasses import dataclass, replace
from functools import reduce

from unfreeze.compare.arms import Arm
from unfreeze.compare.memory import Peaks, Room
from unfreeze.compare.pricing import Speed
from unfreeze.compare.watching import Watcher
from unfreeze.compare.worker import Payload
from unfreeze.compare.workers import Workers
from unfreeze.engine.machine import free_memory, usable_cores
from unfreeze.errors import SettingsError, StorageError

WORTHWHILE_SECONDS = 60.0
"""A comparison shorter than this is over before processes that import torch have paid for themselves."""

LIBRARIES_BYTES = 300_000_000
"""What a process takes that has torch loaded and nothing else."""

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


def most_workers(room: Room) -> int:
    """How many processes the cores and the memory allow.

    Args:
        room: the memory, and what a process takes of it.
    """
    return min(usable_cores(), room.processes or usable_cores())


def check_workers(number: int, room: Room) -> None:
    """Refuse more processes than the memory holds; more than there are cores are the user's own wish.

    Args:
        number: of processes asked for.
        room: the memory, and what a process takes of it.

    Raises:
        SettingsError: they do not fit.
    """
    _refuse_more(number, room.processes, given=room.given)


def check_before_timing(number: int, weights: int, *, given: int | None) -> None:
    """Refuse what cannot be, before anything is timed or written: a process holds its libraries and its weights.

    Args:
        number: of processes asked for.
        weights: number of scalars of the model.
        given: bytes that the user gave; None for what is free.

    Raises:
        SettingsError: they do not fit, whatever they compute.
    """
    limit = free_memory() if given is None else given
    fit = None if limit is None else limit // (LIBRARIES_BYTES + 4 * weights)
    _refuse_more(number, fit, given=given is not None)


def _refuse_more(number: int, fit: int | None, *, given: bool) -> None:
    allowed = fit if given else fit and max(usable_cores(), fit)  # what is free changes: the cores may be tried
    if allowed is not None and number > max(1, allowed):
        raise SettingsError(
            f"--workers {number}: the {'given' if given else 'free'} memory holds {fit} "
            f"process{'' if fit == 1 else 'es'} that train this encoder; choose no more, or leave the option out"
        )


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
    """Wall seconds a token of processes that run side by side, and the memory of the largest."""
    forward = UNEVEN / sum(1 / speed.forward for speed in speeds)
    peaks = [speed.peaks for speed in speeds if speed.peaks is not None]
    most = reduce(Peaks.larger, peaks) if peaks else None
    return replace(speeds[0], forward=forward, step=UNEVEN / sum(1 / speed.step for speed in speeds), peaks=most)
