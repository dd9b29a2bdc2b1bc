"""The cache folder: hidden states on disk, within a limit, for this user alone, safe to delete at any moment.

A file is named by the digest of all that its states follow from, so nothing stale can be found. It appears whole or not
at all; a damaged one is never served. What was not used for the longest time goes first when room is needed. Whatever
the disk refuses, the comparison goes on without it, and says so once.
"""

import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unfreeze.engine.prefix_file import PART, SUFFIX, DamagedFile, Key, StatesFile, read_key, read_states
from unfreeze.engine.prefix_turn import is_marked, turn

ENVIRONMENT = "UNFREEZE_CACHE"
"""Environment variable: the folder of all that is cached."""

LOCK = ".lock"
PATIENCE = 600.0
"""Seconds to wait for another process that computes the same states; then they are computed twice."""


class NotStored(Exception):
    """States could not be put on disk: no room within the limit, or the disk refuses."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of the cache.

    Attributes:
        size: bytes.
        used: when it was last used, in seconds since 1970.
        key: what its states follow from; empty where it cannot be read.
    """

    size: int
    used: float
    key: dict[str, Any]


class PrefixStore:
    """Hidden states on disk. Nothing is made or looked at before it is needed.

    Attributes:
        folder: where the states are.
        limit_bytes: what they may take.
        said: told in a sentence what the user should know. Another process that gets this store tells nobody, unless
            this is set there.

    Args:
        folder: of all that unfreeze caches; the states have a folder of their own in it.
        limit_bytes: what all states together may take; 0 to keep and read nothing.
        said: see the attribute.
    """

    def __init__(self, folder: Path, *, limit_bytes: int, said: Callable[[str], None] | None = None) -> None:
        self.folder, self.limit_bytes = folder / "states", limit_bytes
        self.said: Callable[[str], None] = said or _unheard
        self._refused = False

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"said": _unheard}

    @property
    def keeps(self) -> bool:
        """Whether anything may be kept."""
        return self.limit_bytes > 0

    def read(self, key: Key, *, size: int) -> memoryview | None:
        """States that are there and undamaged, mapped into memory; None where they have to be computed.

        Args:
            key: what they follow from.
            size: their number of bytes.
        """
        if not self.keeps:
            return None
        path = self._path(key)
        try:
            self._check_owner()
            states = read_states(path, key, size=size)
        except FileNotFoundError:
            return None
        except DamagedFile as error:
            self.said(f"{path}: {error}; these hidden states are computed again")
            with suppress(OSError):
                path.unlink()
            return None
        except OSError as error:
            self._refuse(error, "read")
            return None
        with suppress(OSError):  # of another file system's making: then it counts as used when it was written
            os.utime(path)
        return states

    def holds(self, key: Key) -> bool:
        """Whether there is a file for these states; only ``read`` tells whether it is undamaged."""
        return self.keeps and self._path(key).exists()

    @contextmanager
    def turn(self, common: Key) -> Iterator[None]:
        """While it holds, no other process computes states that have this in common; nothing where the disk refuses."""
        with ExitStack() as stack:
            if self.keeps and not self._refused:
                try:
                    self._make_folder()
                    lock = self.folder / f".{_digest(dict(common))}{LOCK}"
                    stack.enter_context(turn(lock, seconds=PATIENCE))
                except OSError as error:
                    self._refuse(error, "written")
            yield

    @contextmanager
    def writing(self, keys: Sequence[Key], *, size: int, keep: Sequence[Key] = ()) -> Iterator[list[StatesFile]]:
        """Files to be filled, which are published together at the end.

        Args:
            keys: what the states of each file follow from.
            size: bytes of each.
            keep: keys of states that are in use, which are not deleted to make room.

        Raises:
            NotStored: there is no room, or the disk refuses; the user has been told, if there is something to tell.
        """
        if not self.keeps or self._refused:
            raise NotStored
        files: list[StatesFile] = []
        try:
            self._begin(files, keys, size=size, keep=keep)
            yield files
            for file in files:
                file.seal()
            for file in files:
                file.publish()
        except OSError as error:
            self._refuse(error, "written")
            raise NotStored from error
        finally:
            for file in files:
                file.discard()

    def entries(self) -> list[Entry]:
        """What is there, last used first."""
        found = []
        for path, status in self._files(SUFFIX):
            try:
                key = read_key(path)
            except (OSError, DamagedFile):
                key = {}
            found.append(Entry(status.st_size, status.st_mtime, key))
        return sorted(found, key=lambda entry: -entry.used)

    def clear(self) -> int:
        """Delete everything; who reads some of it at this moment is not disturbed.

        Returns:
            How many bytes there were.

        Raises:
            OSError: something cannot be deleted.
        """
        total = 0
        for path, status in self._files(SUFFIX):
            path.unlink(missing_ok=True)
            total += status.st_size
        for path, _ in self._files(PART, LOCK):
            with suppress(OSError):  # on Windows: a process holds it
                path.unlink()
        return total

    def _path(self, key: Key) -> Path:
        return self.folder / f"{_digest(dict(key))}{SUFFIX}"

    def _files(self, *suffixes: str) -> list[tuple[Path, os.stat_result]]:
        """Our files with these endings, with what the file system knows of them."""
        found = []
        with suppress(FileNotFoundError, NotADirectoryError):
            for path in sorted(self.folder.iterdir()):
                if path.name.endswith(suffixes):
                    with suppress(FileNotFoundError):  # deleted since
                        found.append((path, path.lstat()))
        return found

    def _begin(self, files: list[StatesFile], keys: Sequence[Key], *, size: int, keep: Sequence[Key]) -> None:
        """Make room for some files and the files themselves, in their full size, so that nobody takes the room."""
        self._make_folder()
        with turn(self.folder / LOCK, seconds=PATIENCE):
            self._sweep()
            if not self._make_room(size * len(keys), {self._path(key) for key in keep}):
                raise NotStored
            if shutil.disk_usage(self.folder).free < 2 * size * len(keys):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            for key in keys:
                files.append(StatesFile(self._path(key), key, size))

    def _sweep(self) -> None:
        """Delete what killed processes left half-written."""
        for path, _ in self._files(PART):
            if not is_marked(path):
                with suppress(OSError):  # on Windows: its writer lives
                    path.unlink()

    def _make_room(self, wanted: int, keep: set[Path]) -> bool:
        """Delete what was not used for the longest time until so many bytes fit; nothing where they cannot."""
        files = [(path, status) for path, status in self._files(SUFFIX, PART)]
        taken = sum(status.st_size for _, status in files)
        spare = [(path, status) for path, status in files if path.name.endswith(SUFFIX) and path not in keep]
        if taken - sum(status.st_size for _, status in spare) + wanted > self.limit_bytes:
            return False
        for path, status in sorted(spare, key=lambda file: file[1].st_mtime_ns):
            if taken + wanted <= self.limit_bytes:
                break
            path.unlink(missing_ok=True)
            taken -= status.st_size
        return True

    def _make_folder(self) -> None:
        """The folder, readable for its owner alone: hidden states tell the text that they were made from.

        Raises:
            OSError: it cannot be made, or is another user's.
        """
        for folder in (self.folder.parent, self.folder):
            if not folder.exists():
                folder.parent.mkdir(parents=True, exist_ok=True)
                with suppress(FileExistsError):  # somebody was faster; what it is, is looked at below
                    folder.mkdir(mode=0o700)
        self._check_owner()
        if os.name == "posix" and stat.S_IMODE(self.folder.stat().st_mode) != 0o700:
            self.folder.chmod(0o700)

    def _check_owner(self) -> None:
        """Nobody else may have put something there: a checksum tells accidents, not malice."""
        status = self.folder.lstat()
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if os.name == "posix" and status.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "the folder is another user's")

    def _refuse(self, error: OSError, what: str) -> None:
        """Go on without writing, and say so once."""
        if not self._refused:
            self.said(
                f"{self.folder}: the cache cannot be {what}: {error.strerror or error}; going on without it. "
                "--cache-dir names another folder, --cache-size 0 uses none"
            )
        self._refused = True


def default_folder() -> Path:
    """Where things are cached: ``UNFREEZE_CACHE``, else ``unfreeze`` in the user's folder of caches."""
    chosen, usual = os.environ.get(ENVIRONMENT), Path(os.environ.get("XDG_CACHE_HOME", ""))
    if chosen:
        return Path(chosen).expanduser()
    if usual.is_absolute():
        return usual / "unfreeze"
    try:
        return Path.home() / ".cache" / "unfreeze"
    except RuntimeError:  # a user without a home, as in some containers
        return Path(tempfile.gettempdir()) / "unfreeze-cache"


def _unheard(_: str) -> None:
    """What a store says that nobody listens to."""


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
