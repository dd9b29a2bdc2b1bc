"""Files that are whole or not there: every write of this package goes through here.

A file is written beside its place, synced to the disk and renamed into it, so that a crash or a full disk leaves the
former file, or none, never half of one.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unfreeze.errors import StorageError

MANIFEST = "manifest.json"


@contextmanager
def told_plainly(path: Path) -> Iterator[None]:
    """Turn the operating system's errors about ``path`` into one clear sentence.

    Raises:
        StorageError: the disk is full, the folder is not writable, or any other failure of the file system.
    """
    try:
        yield
    except OSError as error:
        cures = {
            errno.ENOSPC: "the disk is full; free some space and run the same command again, it goes on from here",
            errno.EDQUOT: "your disk quota is used up; free some space and run the same command again",
            errno.EACCES: "there is no permission to write here; choose another folder with --output-dir",
            errno.EROFS: "the file system is read-only; choose another folder with --output-dir",
        }
        what = cures.get(error.errno or 0, error.strerror or str(error))
        raise StorageError(f"{path}: cannot be written: {what}") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file, or leave what was there.

    Raises:
        StorageError: it could not be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with told_plainly(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)


def write_text(path: Path, content: str) -> None:
    """Write a whole UTF-8 text file, or leave what was there."""
    write_bytes(path, content.encode("utf-8"))


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
            for path in staging.rglob("*"):
                _sync(path)
            if folder.exists():
                aside = folder.with_name(f".{folder.name}.{os.getpid()}.old")
                folder.rename(aside)
                staging.rename(folder)
                shutil.rmtree(aside, ignore_errors=True)
            else:
                staging.rename(folder)
            _sync_folder(folder.parent)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def is_whole(folder: Path) -> bool:
    """Whether a published folder has all its files, each with the content it was published with."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return bool(manifest["complete"]) and all(
            digest_of(folder / name) == digest for name, digest in manifest["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    if path.is_file():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make a rename outlast a power cut; Windows cannot open folders, and needs no such step."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
