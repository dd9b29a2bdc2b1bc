"""What this machine has free: cores and memory, as far as this process may use them."""

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path

CONTAINER = Path("/sys/fs/cgroup")
"""Where Linux tells a container its limits: in this folder (version 2), or in its folders (version 1)."""

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
"""Where Linux tells how large this process is, and is told to forget how large it was."""

KEPT_BYTES = 2**31 - 1
"""Freed memory that glibc keeps for the next step, at the most."""


def reuse_freed_memory() -> None:
    """Let glibc keep what a training step frees; elsewhere nothing happens.

    By default it gives large blocks back to the system at once, and every step's activations are faulted in anew, page
    by page: about 10,000 faults a step of MiniLM on 32 sentences.
    """
    trim_threshold, mmap_threshold = -1, -3  # names in malloc.h
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            libc = ctypes.CDLL(None)
            libc.mallopt(mmap_threshold, KEPT_BYTES // 2)
            libc.mallopt(trim_threshold, KEPT_BYTES)


def give_freed_memory_back() -> None:
    """Undo what was kept for a next step that does not come; only glibc keeps any."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def resident_memory() -> int | None:
    """Bytes that this process takes now; None where the system does not say."""
    kibibytes = _value(STATUS, "VmRSS:")
    return None if kibibytes is None else 1024 * kibibytes


def peak_memory() -> int | None:
    """Bytes that this process took at its largest, since ``forget_peak`` where that works; None if nobody knows."""
    kibibytes = _value(STATUS, "VmHWM:")
    if kibibytes is not None:
        return 1024 * kibibytes
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def forget_peak() -> None:
    """Let ``peak_memory`` begin anew; where the system does not allow it, it goes on from the start of the process."""
    with suppress(OSError):
        CLEAR.write_text("5", encoding="ascii")


def usable_cores() -> int:
    """Cores that this process may run on, no more than its container's share of them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, _cores_of_container() or cores))


def _cores_of_container() -> int | None:
    both = _words(CONTAINER / "cpu.max") or [
        word for name in ("cfs_quota_us", "cfs_period_us") for word in _words(CONTAINER / "cpu" / f"cpu.{name}")
    ]
    quota, period = (int(word) if word.isdecimal() else 0 for word in (*both, "", "")[:2])
    return -(-quota // period) if quota and period else None


def free_memory() -> int | None:
    """Bytes that can be had without swapping, in this container; None where the system does not say."""
    known = [size for size in (_available(), _left_in_container()) if size is not None]
    return min(known, default=None)


def _available() -> int | None:
    kibibytes = _value(Path("/proc/meminfo"), "MemAvailable:")
    return None if kibibytes is None else 1024 * kibibytes


def _left_in_container() -> int | None:
    """The limit less what is used; what is used to hold files is given back when it is wanted."""
    for folder, *names in (
        (CONTAINER, "memory.max", "memory.current"),
        (CONTAINER / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        most, now = ((_words(folder / name) or [""])[0] for name in names)
        if most.isdecimal() and now.isdecimal():
            return max(0, int(most) - int(now) + (_value(folder / "memory.stat", "inactive_file") or 0))
    return None


def _value(path: Path, name: str) -> int | None:
    """The number that stands behind a name, in a file of names and numbers."""
    words = _words(path)
    return int(words[words.index(name) + 1]) if name in words else None


def _words(path: Path) -> list[str]:
    """The words of a small file of the system's; none where there is no such file."""
    try:
        return path.read_text(encoding="ascii").split()
    except OSError:
        return []
