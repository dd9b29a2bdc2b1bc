"""Wait for a turn that another process may have: a lock that the operating system lets go of when its holder dies.

Turns only save work that would be done twice. Where a file system knows no locks, everybody's turn is now.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from unfreeze.files import lock

_PAUSE = 0.05
"""Seconds between two looks at a lock that another process holds."""

if sys.platform == "win32":

    def mark(descriptor: int) -> None:
        """Show that a file is being written: on Windows nobody can delete it while it is open."""

    def is_marked(path: Path) -> bool:
        """Whether a process is writing a file; here its deletion will fail, if so."""
        return False
else:

    def mark(descriptor: int) -> None:
        """Show that a file is being written, for as long as it is open."""
        lock(descriptor)

    def is_marked(path: Path) -> bool:
        """Whether a process is writing a file."""
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:
            return False
        try:
            lock(descriptor)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False


@contextmanager
def turn(path: Path, *, seconds: float) -> Iterator[bool]:
    """Hold a lock file while others wait; it is gone afterwards.

    Args:
        path: of the lock file; its folder is there.
        seconds: how long to wait at the most; then go on without it.

    Returns:
        As a context: whether the lock is held.

    Raises:
        OSError: the file cannot be made.
    """
    until = time.monotonic() + seconds
    descriptor = _taken(path)
    while descriptor is None and time.monotonic() < until:
        time.sleep(_PAUSE)
        descriptor = _taken(path)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            with suppress(OSError):  # somebody has deleted it; on Windows nobody can while it is open
                path.unlink()
            os.close(descriptor)


def _taken(path: Path) -> int | None:
    """The lock's descriptor, None where another process holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        lock(descriptor)
        # Whoever held it before has deleted it: what is locked must be what others find under the name.
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None
