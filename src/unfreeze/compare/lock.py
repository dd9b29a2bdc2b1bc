"""One process a folder: a lock that the operating system itself lets go of when its holder dies.

So there is no stale lock to be taken over, and no guessing whether a process number still means the same process.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unfreeze.errors import SettingsError
from unfreeze.files import lock, told_plainly

LOCK = ".lock"


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
            lock(descriptor)
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
