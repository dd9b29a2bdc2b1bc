"""What this machine has free: cores and memory, as far as this process may use them."""

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path

MEMORY_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
USED_FILES = ("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory/memory.usage_in_bytes")


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


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory() -> int | None:
    """Bytes that can be had without swapping, in this container; None where the system does not say."""
    known = [size for size in (_available(), _left_in_container()) if size is not None]
    return min(known, default=None)


def _available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    kibibytes = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return None if kibibytes is None else 1024 * int(kibibytes)


def _left_in_container() -> int | None:
    limits, used = _number_in(MEMORY_FILES), _number_in(USED_FILES)
    return None if limits is None or used is None else max(0, limits - used)


def _number_in(paths: tuple[str, ...]) -> int | None:
    for path in paths:
        try:
            text = Path(path).read_text(encoding="ascii").strip()
        except OSError:
            continue
        return int(text) if text.isdecimal() else None
    return None
