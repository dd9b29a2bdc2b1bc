"""Files that are whole or not there: every write of this package goes through here.

A file is written beside its place, synced to the disk and renamed into it, so that a crash or a full disk leaves the
former file, or none, never half of one.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from unfreeze.errors import StorageError

MANIFEST = "manifest.json"

if sys.platform == "win32":
    import msvcrt

    _FAR = 1 << 30
    """The byte that is locked lies beyond the text, which others must be able to read."""

    def lock(descriptor: int) -> None:
        """Lock an open file until it is closed; the operating system lets go of it when this process dies.

        Raises:
            OSError: another process holds it.
        """
        place = os.lseek(descriptor, 0, os.SEEK_CUR)
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(descriptor, place, os.SEEK_SET)
else:
    import fcntl

    def lock(descriptor: int) -> None:
        """Lock an open file until it is closed; the operating system lets go of it when this process dies.

        Some network file systems know no locks: there everybody gets one.

        Raises:
            OSError: another process holds it.
        """
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
                raise


@contextmanager
def told_plainly(path: Path, *, option: str = "--output-dir") -> Iterator[None]:
    """Turn the operating system's errors about ``path`` into one clear sentence.

    Args:
        path: what is written.
        option: the command line's option that names another place.

    Raises:
        StorageError: the disk is full, the folder is not writable, or any other failure of the file system.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        number = _errno_of(error)
        goes_on = ", it goes on from here" if option == "--output-dir" else ""
        cures = {
            errno.ENOSPC: f"the disk is full; free some space and run the same command again{goes_on}",
            errno.EDQUOT: "your disk quota is used up; free some space and run the same command again",
            errno.EACCES: f"there is no permission to write here; choose another place with {option}",
            errno.EROFS: f"the file system is read-only; choose another place with {option}",
        }
        what = cures.get(number) or (os.strerror(number) if number else str(error))
        raise StorageError(f"{path}: cannot be written: {what}") from error


def _errno_of(error: Exception) -> int:
    """The operating system's error number, 0 for none; safetensors gives it in words alone."""
    said = re.search(r"os error (\d+)", str(error))
    return (error.errno or 0) if isinstance(error, OSError) else int(said[1]) if said else 0


@contextmanager
def whole_file(path: Path, *, option: str = "--output-dir") -> Iterator[Callable[[bytes], None]]:
    """A file that is written piece by piece and appears at the end, whole; for ``option`` see ``told_plainly``.

    Whatever leaves the ``with`` before its end, Ctrl-C included, leaves what was there before.

    Returns:
        What takes the pieces.

    Raises:
        StorageError: it could not be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")

    def write(content: bytes) -> None:
        with told_plainly(path, option=option):
            file.write(content)

    with told_plainly(path, option=option):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = temporary.open("wb")
    try:
        yield write
        with told_plainly(path, option=option):
            file.flush()
            os.fsync(file.fileno())
            file.close()
            temporary.replace(path)
            _sync_folder(path.parent)
    finally:
        with suppress(OSError):  # what could not be flushed is thrown away
            file.close()
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes, *, option: str = "--output-dir") -> None:
    """Write a whole file, or leave what was there; for ``option`` see ``told_plainly``.

    Raises:
        StorageError: it could not be written.
    """
    with whole_file(path, option=option) as write:
        write(content)


def write_text(path: Path, content: str, *, option: str = "--output-dir") -> None:
    """Write a whole UTF-8 text file, or leave what was there; for ``option`` see ``told_plainly``."""
    write_bytes(path, content.encode("utf-8"), option=option)


def write_json(path: Path, content: Any) -> None:
    """Write a whole JSON file, or leave what was there; NaN is refused, so that any reader can read it."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """A JSON file's content.

    Raises:
        StorageError: it is not there, or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"{path}: cannot be read: {error}") from error


def publish_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Make a folder appear at once, complete and with a manifest of its files' SHA-256.

    Args:
        folder: where it shall be; one that is there already is replaced.
        fill: writes the files into the empty folder it is given.

    Raises:
        StorageError: it could not be written; what was at ``folder`` before is still there.
    """
    staging = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    with told_plainly(folder):
        shutil.rmtree(staging, ignore_errors=True)
        try:
            staging.mkdir(parents=True)
            fill(staging)
            digests = {str(p.relative_to(staging)): digest_of(p) for p in sorted(staging.rglob("*")) if p.is_file()}
            write_json(staging / MANIFEST, {"files": digests, "complete": True})
            for path in (*staging.rglob("*"), staging):
                _sync(path)
            _replace_folder(folder, staging)
            _sync_folder(folder.parent)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _replace_folder(folder: Path, staging: Path) -> None:
    """Rename a folder into its place; where that fails, what was there before is there again."""
    if not folder.exists():
        staging.rename(folder)
        return
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.old.part")
    folder.rename(aside)
    try:
        staging.rename(folder)
    except OSError:
        aside.rename(folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def is_whole(folder: Path) -> bool:
    """Whether a published folder has all its files, each with the content it was published with."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return bool(manifest["complete"]) and all(
            digest_of(folder / name) == digest for name, digest in manifest["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    if path.is_dir():
        _sync_folder(path)
    else:
        with path.open("r+b") as file:  # Windows syncs only what is open for writing
            os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make a rename outlast a power cut; Windows cannot open folders, and needs no such step."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
