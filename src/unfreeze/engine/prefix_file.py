"""One file of the cache: states with what they follow from and a checksum for every block, whole or not there.

A short preamble, then the header (JSON: the key, the number of bytes, a CRC-32 for each ``BLOCK`` of data), then the
data, which is mapped into memory and not read until it is needed. The file is not synced to the disk: after a power cut
the checksums tell that it is not whole, and it is computed again, which costs less than waiting for the disk each time.
"""

import json
import mmap
import os
import stat
import struct
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from unfreeze.engine.prefix_turn import mark

Key = Mapping[str, Any]
"""What states follow from, as JSON can hold it."""

BLOCK = 1024**2
"""Bytes that share a checksum."""

SUFFIX, PART = ".states", ".part"

_MAGIC = b"unfreeze states\n"
_PREAMBLE = struct.Struct("<16sII")  # the magic bytes, the header's length and its CRC-32
_ALIGNED = 64
"""Data begin at a multiple of so many bytes, as processors like it."""


class DamagedFile(Exception):
    """A file is not what was written; the message says in which way."""


class StatesFile:
    """A file under way, under a temporary name that only its owner can read.

    Attributes:
        states: its data in memory, once it is published.

    Args:
        path: where it will be.
        key: what its states follow from.
        size: bytes of data; the file has its full size from the first, so that others can count it.

    Raises:
        OSError: it cannot be made; so for all that is done with it.
    """

    def __init__(self, path: Path, key: Key, size: int) -> None:
        self._path, self._key, self._size = path, key, size
        self._begin = len(_header(key, [0] * -(-size // BLOCK), size))
        descriptor, name = tempfile.mkstemp(prefix=".", suffix=PART, dir=path.parent)
        self._part, self._file = Path(name), os.fdopen(descriptor, "r+b")
        try:
            mark(descriptor)
            self._file.truncate(self._begin + size)
        except OSError:
            self.discard()
            raise
        self.states: memoryview

    def write(self, offset: int, data: memoryview) -> None:
        """Put some data where they belong."""
        self._file.seek(self._begin + offset)
        self._file.write(data)

    def seal(self) -> None:
        """Write the header, with checksums of what is in the file."""
        self._file.flush()
        self._file.seek(self._begin)
        header = _header(self._key, list(_checksums(self._file)), self._size)
        self._file.seek(0)
        self._file.write(header)
        self._file.flush()

    def publish(self) -> None:
        """Give the file its name; who looks for it sees all of it or nothing. A former one is replaced."""
        if os.name == "nt":
            self._file.close()  # Windows renames no open file
        with suppress(FileNotFoundError):  # the cache was emptied meanwhile: what is open can still be used
            self._part.replace(self._path)
        with self._path.open("rb") if self._file.closed else self._file as file:
            self.states = _mapped(file, self._begin)

    def discard(self) -> None:
        """Delete what was not published."""
        self._file.close()
        self._part.unlink(missing_ok=True)


def read_states(path: Path, key: Key, *, size: int) -> memoryview:
    """The data of a published file, mapped into memory after every block was compared with its checksum.

    Args:
        path: of the file.
        key: what its states must follow from.
        size: bytes of data that there must be.

    Returns:
        The data; writing into them changes memory only. They stay readable when the file is deleted.

    Raises:
        DamagedFile: it is no such file, or not what was written.
        OSError: it is not there, or cannot be read.
    """
    with _opened(path) as file:
        content, begin = _content(file)
        if content["key"] != json.loads(json.dumps(key)) or content["bytes"] != size:
            raise DamagedFile("it holds other states than its name says")
        if os.fstat(file.fileno()).st_size != begin + size:
            raise DamagedFile("it is longer or shorter than it was")
        if content["checksums"] != _written(_checksums(file)):
            raise DamagedFile("a block of it has changed")
        return _mapped(file, begin)


def read_key(path: Path) -> dict[str, Any]:
    """What a file's states follow from; the data are not looked at.

    Raises:
        DamagedFile: it is no such file.
        OSError: it is not there, or cannot be read.
    """
    with _opened(path) as file:
        found: dict[str, Any] = _content(file)[0]["key"]
        return found


def _opened(path: Path) -> BinaryIO:
    """A plain file, open for reading: no link is followed, and nothing else, such as a pipe, is waited for."""
    flags = os.O_RDONLY
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    descriptor = os.open(path, flags)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise DamagedFile("it is no plain file")


def _content(file: BinaryIO) -> tuple[dict[str, Any], int]:
    """The header of a file, and where the data begin; the file stands there afterwards."""
    preamble = file.read(_PREAMBLE.size)
    magic, length, checksum = _PREAMBLE.unpack(preamble) if len(preamble) == _PREAMBLE.size else (b"", 0, 0)
    header = file.read(length) if magic == _MAGIC and length <= os.fstat(file.fileno()).st_size else b""
    if not header or zlib.crc32(header) != checksum:
        raise DamagedFile("its header is damaged")
    return json.loads(header), _PREAMBLE.size + length


def _header(key: Key, checksums: Sequence[int], size: int) -> bytes:
    """Preamble and header; as long for any checksums of the same number."""
    text = json.dumps({"key": dict(key), "bytes": size, "checksums": _written(checksums)}).encode("ascii")
    text += b" " * (-(_PREAMBLE.size + len(text)) % _ALIGNED)
    return _PREAMBLE.pack(_MAGIC, len(text), zlib.crc32(text)) + text


def _written(checksums: Iterator[int] | Sequence[int]) -> str:
    return "".join(f"{checksum:08x}" for checksum in checksums)


def _checksums(file: BinaryIO) -> Iterator[int]:
    """Of each block from where the file stands to its end; read, not mapped, so that a bad disk is an error."""
    while block := file.read(BLOCK):
        yield zlib.crc32(block)


def _mapped(file: BinaryIO, begin: int) -> memoryview:
    return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))[begin:]
