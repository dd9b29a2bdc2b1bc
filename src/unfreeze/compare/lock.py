"""One process a folder: a lock that the operating system itself lets go of when its holder dies.

So there is no stale lock to be taken over, and no guessing whether a process number still means the same process.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unfreeze.errors import SettingsError
from unfreeze.files import told_plainly

LOCK = ".lock"

if sys.platform == "win32":
    import msvcrt

    _FAR = 1 << 30
    """The byte that is locked lies beyond the text, which others must be able to read."""

    def _take(descriptor: int) -> None:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
else:
    import errno
    import fcntl

    def _take(descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
                raise
            # Some network file systems know no locks: two commands at once are then the user's own care.


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder's lock; nobody else can take it until then, or until this process dies.

    Args:
        folder: made if it is not there. The lock is the hidden file ``.lock`` in it, which stays.

    Raises:
        SettingsError: another process, or another comparison of this one, holds it.
        StorageError: the folder cannot be written.
    """
    path = folder / LOCK
    with told_plainly(path):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            _take(descriptor)
        except OSError:
            number = os.read(descriptor, 20).decode("ascii", "replace").strip()
            by = f" (process {number})" if number.isdigit() else ""
            raise SettingsError(
                f"{folder}: another comparison is under way in this folder{by}; wait until it is done, "
                "or choose another --output-dir"
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode("ascii"))
        yield
    finally:
        os.close(descriptor)
