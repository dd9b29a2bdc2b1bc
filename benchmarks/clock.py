"""Seconds of training steps, taken in the same way on every side."""

import resource
import time

LEFT_OUT = 2
"""Steps at the beginning that are not counted: they build kernels, buffers and the optimizer's state. On a run of 30
steps they would add a tenth to the seconds of a step, and more to the faster side than to the slower one."""


def cpu_seconds() -> float:
    """CPU seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in used)


class StepClock:
    """Told of every step of one run.

    Args:
        device: "cuda" waits for the GPU where a second is read that counts.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._marks: list[tuple[float, float]] = []

    @property
    def running(self) -> bool:
        """Whether ``start`` was called."""
        return bool(self._marks)

    @property
    def begun(self) -> float:
        """CPU seconds of the process when training began."""
        return self._marks[0][0]

    def start(self) -> None:
        """Training begins."""
        self._mark()

    def stepped(self, *, last: bool) -> None:
        """A step has ended."""
        if self._device == "cuda" and (last or len(self._marks) <= LEFT_OUT):
            import torch

            torch.cuda.synchronize()
        self._mark()

    def _mark(self) -> None:
        self._marks.append((cpu_seconds(), time.perf_counter()))

    def told(self) -> dict[str, float]:
        """Seconds of all steps, and of one step without the first ones."""
        steps = len(self._marks) - 1
        first, begin, end = self._marks[0], self._marks[min(LEFT_OUT, steps - 1)], self._marks[-1]
        counted = steps - min(LEFT_OUT, steps - 1)
        return {
            "steps": steps,
            "steps_cpu_s": end[0] - first[0],
            "steps_wall_s": end[1] - first[1],
            "counted_steps": counted,
            "cpu_ms_a_step": 1e3 * (end[0] - begin[0]) / counted,
            "wall_ms_a_step": 1e3 * (end[1] - begin[1]) / counted,
        }
