"""Courses are driven to their end whatever the number of jobs that run at once."""

from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.compare.driving import drive
from unfreeze.compare.jobs import Job
from unfreeze.compare.trials import Trial
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.engine.settings import TrainingSettings
from unfreeze.errors import Interrupted


def trial(name: str, number: int) -> Trial:
    return Trial(name, HeadSettings(), TrainingSettings(seed=number), 0)


def course(name: str, sizes: list[int]) -> Any:
    """Asks for lists of jobs of these sizes, and returns what it was answered."""
    heard, number = [], 0
    for size in sizes:
        jobs = [Job(name, (trial(name, number + i),), "") for i in range(size)]
        number += size
        answers = yield jobs
        assert set(answers) == {t for job in jobs for t in job.trials}
        heard.append([answers[job.trials[0]]["told"] for job in jobs])
    return name, heard


class Answering:
    """Answers jobs in an order of its own."""

    def __init__(self, capacity: int, picks: list[int]) -> None:
        self.capacity, self.picks = capacity, deque(picks)
        self.jobs: list[Job] = []
        self.most = 0
        self.begun: list[str] = []

    @property
    def busy(self) -> int:
        return len(self.jobs)

    def submit(self, job: Job) -> None:
        self.jobs.append(job)
        self.begun.append(job.arm)
        self.most = max(self.most, self.busy)
        assert self.busy <= self.capacity

    def wait(self) -> Any:
        pick = self.picks.popleft() if self.picks else 0
        job = self.jobs.pop(pick % len(self.jobs))
        return job, {t: {"told": f"{t.strategy} {t.settings.seed}"} for t in job.trials}


SIZES = st.lists(st.lists(st.integers(0, 4), max_size=4), max_size=4)


@given(SIZES, st.integers(1, 5), st.lists(st.integers(0, 9), max_size=60), st.sets(st.integers(0, 8)))
def test_every_course_gets_its_answers_in_whatever_order_they_come(sizes, capacity, picks, stored):
    executor = Answering(capacity, picks)
    names = [f"arm{i}" for i in range(len(sizes))]

    def answered(asked):
        return {"told": f"{asked.strategy} {asked.settings.seed}"} if asked.settings.seed in stored else None

    told: list[tuple[str, int]] = []
    found = drive(
        [course(name, some) for name, some in zip(names, sizes, strict=True)],
        executor,
        answered=answered,
        told=lambda job, answers: told.append((job.arm, -1 if answers is None else len(answers))),
    )
    assert [name for name, _ in found] == names
    for (name, heard), some in zip(found, sizes, strict=True):
        numbers = iter(range(99))
        assert heard == [[f"{name} {next(numbers)}" for _ in range(size)] for size in some]
    everything = sum(map(sum, sizes))
    new = sum(number not in stored for some in sizes for number in range(sum(some)))
    assert len(executor.begun) == sum(size == -1 for _, size in told) == new
    assert sum(size for _, size in told if size > 0) == everything
    if capacity == 1:
        assert executor.begun == sorted(executor.begun), "one arm after the other"


def test_what_is_free_is_given_to_the_next_arm():
    executor = Answering(3, [])
    drive(
        [course("first", [1, 1]), course("second", [2])],
        executor,
        answered=lambda _: None,
        told=lambda *_: None,
    )
    assert executor.most == 3
    assert executor.begun[:3] == ["first", "second", "second"]


def test_an_end_asked_for_ends_the_drive():
    executor = Answering(1, [])

    def told(job, answers):
        if answers is None and len(executor.begun) == 2:
            raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        drive([course("only", [5])], executor, answered=lambda _: None, told=told)
    assert len(executor.begun) == 2
