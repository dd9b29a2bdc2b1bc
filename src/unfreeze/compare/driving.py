"""Drive the courses of all arms at once: whatever may run now is run, in the order of the arms."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import count
from typing import Any

from unfreeze.compare.jobs import Answer, Executor, Job
from unfreeze.compare.trials import Trial

Course = Generator[list[Job], dict[Trial, Answer], Any]
"""All that is run for one arm: yields jobs that may run side by side, is sent the answers to all of them, and returns
the outcome."""


@dataclass(slots=True)
class _Batch:
    """Jobs that a course has asked for together."""

    left: int
    answers: dict[Trial, Answer] = field(default_factory=dict)


class _Driving:
    """One drive: see ``drive``."""

    def __init__(
        self,
        courses: Sequence[Course],
        executor: Executor,
        answered: Callable[[Trial], Answer | None],
        told: Callable[[Job, Mapping[Trial, Answer] | None], None],
    ) -> None:
        self._courses, self._executor, self._answered, self._told = courses, executor, answered, told
        self._batches: dict[int, _Batch] = {}
        self._ready: list[tuple[int, int, Job]] = []  # by course, then in the order asked for
        self._tickets = count()
        self._under_way: list[tuple[int, Job]] = []
        self._begun = 0
        self._results: dict[int, Any] = {}

    def run(self) -> list[Any]:
        while len(self._results) < len(self._courses):
            while self._executor.busy < self._executor.capacity and self._begin_one():
                pass
            if not self._executor.busy:
                continue  # what was begun was found in the ledger
            job, answers = self._executor.wait()
            number = next(n for n, under_way in self._under_way if under_way is job)
            self._under_way.remove((number, job))
            self._told(job, answers)
            self._take(number, answers)
        return [self._results[number] for number in range(len(self._courses))]

    def _begin_one(self) -> bool:
        """Submit the first job that is ready, or begin the next course; False where there is neither."""
        if self._ready:
            number, _, job = heappop(self._ready)
            self._told(job, None)
            self._under_way.append((number, job))
            self._executor.submit(job)
            return True
        if self._begun < len(self._courses):
            self._begun += 1
            self._advance(self._begun - 1, None)
            return True
        return False

    def _advance(self, number: int, answers: dict[Trial, Answer] | None) -> None:
        """Send a course what it waits for, and take what it asks for next."""
        try:
            jobs = self._courses[number].send(answers)  # type: ignore[arg-type]  # None begins a generator
        except StopIteration as end:
            self._results[number] = end.value
            return
        self._batches[number] = _Batch(len(jobs))
        if not jobs:
            self._advance(number, {})
            return
        found: dict[Trial, Answer] = {}
        for job in jobs:
            stored = {trial: record for trial in job.trials if (record := self._answered(trial)) is not None}
            self._told(job, stored)
            found |= stored
            missing = tuple(trial for trial in job.trials if trial not in stored)
            if missing:
                heappush(self._ready, (number, next(self._tickets), replace(job, trials=missing)))
            else:
                self._batches[number].left -= 1
        self._batches[number].answers |= found
        if not self._batches[number].left:
            self._advance(number, self._batches[number].answers)

    def _take(self, number: int, answers: Mapping[Trial, Answer]) -> None:
        batch = self._batches[number]
        batch.left -= 1
        batch.answers |= answers
        if not batch.left:
            self._advance(number, batch.answers)


def drive(
    courses: Sequence[Course],
    executor: Executor,
    *,
    answered: Callable[[Trial], Answer | None],
    told: Callable[[Job, Mapping[Trial, Answer] | None], None],
) -> list[Any]:
    """Run courses to their end. Jobs of earlier courses come first; later ones fill what is free.

    Args:
        courses: one for each arm.
        executor: runs the jobs.
        answered: a trial's answer where it is known already.
        told: called with a job that begins and None, and with a job and its answers.

    Returns:
        What each course returned.

    Raises:
        Interrupted: the executor, or ``told``, said so.
    """
    return _Driving(courses, executor, answered, told).run()
