"""The bytes of a file, unpacked and decoded, or one error that says what is wrong with them."""

import codecs
import difflib
import gzip
import io
import shlex
import zlib
from collections.abc import Iterator
from pathlib import Path

from unfreeze.errors import DataError, Problem

GZIP_MAGIC = b"\x1f\x8b"
PIECE = 2**20
"""Bytes of a piece of text, about: it goes on to the end of its last line."""
# UTF-32 first: its little-endian mark begins with the mark of UTF-16.
OTHER_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def check_file(name: str) -> None:
    """Refuse what is no file that can be opened.

    Args:
        name: the file's path as the user wrote it.

    Raises:
        DataError: no such file (a close name in its folder is offered), a folder, or a name that cannot be one.
    """
    if name == "-":
        again = "standard input is not read, because a file may be read more than once"
        raise DataError(Problem(name, None, again), "Write it to a file and name that.")
    path = Path(name)
    try:
        if path.is_dir():
            raise DataError(Problem(name, None, "this is a folder; expected a file"), "Name one file inside it.")
        if not path.is_file():
            raise _missing(path, name)
    except OSError as error:  # a name too long, a folder that may not be entered
        raise _unreachable(error, name) from None


def load_bytes(name: str) -> bytes:
    """The bytes of a file, unpacked where its name ends in .gz.

    Args:
        name: the file's path as the user wrote it.

    Raises:
        DataError: there is no such file, it is unreadable, or it is damaged gzip.
    """
    return b"".join(_pieces(name, -1))


def text_pieces(name: str) -> Iterator[str]:
    """The text of a file, a piece of whole lines at a time, so that it need not fit into memory.

    Args:
        name: the file's path as the user wrote it.

    Raises:
        DataError: as of ``load_bytes`` and ``decoded``; of lines that do not decode, those of one piece are listed.
    """
    line = 1
    for data in _pieces(name, PIECE):
        yield decoded(data, name, line=line)
        line += data.count(b"\n")


def _pieces(name: str, size: int) -> Iterator[bytes]:
    """Unpacked bytes; a negative size takes all at once."""
    check_file(name)
    try:
        with Path(name).open("rb") as raw, _unpacked(raw, name) as stream:
            while data := stream.read(size):
                yield data + stream.readline()
    except EOFError:
        raise DataError(Problem(name, None, "the gzip file is cut short"), "Copy or download it again.") from None
    except (gzip.BadGzipFile, zlib.error):
        raise DataError(Problem(name, None, "the gzip file is damaged"), "Copy or download it again.") from None
    except OSError as error:  # no permission, a disk that fails
        raise _unreachable(error, name) from None


def decoded(data: bytes, name: str, *, line: int = 1) -> str:
    """UTF-8 bytes as text, without the byte order mark.

    Args:
        data: the unpacked bytes, or a piece of them.
        name: the file's name, for the error.
        line: 1-based line on which the piece begins.

    Raises:
        DataError: another encoding, bytes that are no UTF-8, or NUL bytes; every such line is listed.
    """
    for mark, encoding in OTHER_MARKS.items():
        if line == 1 and data.startswith(mark):
            raise DataError(Problem(name, None, f"the text is {encoding}; expected UTF-8"), _iconv(encoding, name))
    if b"\0" in data:
        if _looks_like_utf16(data):
            raise DataError(Problem(name, None, "the text looks like UTF-16; expected UTF-8"), _iconv("UTF-16", name))
        problems = [Problem(name, number, "a NUL byte") for number, raw in _lines(data, line) if b"\0" in raw]
        raise DataError(problems, "Text has no NUL bytes: remove them, or export the file again.")
    try:
        return data.decode("utf-8-sig" if line == 1 else "utf-8")
    except UnicodeDecodeError:
        problems = [_not_utf8(name, number, raw) for number, raw in _lines(data, line) if not _is_utf8(raw)]
        raise DataError(problems, _cure_for_encoding(data, name)) from None


def _missing(path: Path, name: str) -> DataError:
    if not path.parent.is_dir():
        return DataError(Problem(name, None, "there is no such file, and no such folder"), "Check the path.")
    if path.exists():
        return DataError(Problem(name, None, "this is no regular file; expected a file that can be read twice"))
    names = [entry.name for entry in path.parent.iterdir() if entry.is_file()]
    near = difflib.get_close_matches(path.name, names, n=1)
    cure = f"Did you mean {str(path.with_name(near[0]))!r}?" if near else "Check the path."
    return DataError(Problem(name, None, "there is no such file"), cure)


def _unreachable(error: OSError, name: str) -> DataError:
    return DataError(Problem(name, None, f"the file cannot be reached: {error.strerror}"))


def _unpacked(raw: io.BufferedReader, name: str) -> io.BufferedIOBase:
    head = raw.peek(len(GZIP_MAGIC))
    zipped = head.startswith(GZIP_MAGIC)
    if not name.lower().endswith(".gz"):
        if zipped:
            raise DataError(Problem(name, None, "the file is gzip-compressed"), f"Rename it to {name}.gz.")
        return raw
    if not head:
        raise DataError(Problem(name, None, "the file is empty; expected gzip-compressed rows"))
    if not zipped:
        raise DataError(Problem(name, None, "the name ends in .gz, but the file is not gzip"), "Rename or compress it.")
    return gzip.GzipFile(fileobj=raw)


def _lines(data: bytes, first: int) -> list[tuple[int, bytes]]:
    return list(enumerate(data.split(b"\n"), first))


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _not_utf8(name: str, line: int, raw: bytes) -> Problem:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return Problem(name, line, f"byte 0x{raw[error.start]:02x} (byte {error.start + 1} of the line) is no UTF-8")
    raise AssertionError("only called for a line that does not decode")


def _looks_like_utf16(data: bytes) -> bool:
    head = data[:2000]
    return len(head) >= 4 and max(head[0::2].count(0), head[1::2].count(0)) > 0.4 * len(head) / 2


def _cure_for_encoding(data: bytes, name: str) -> str:
    if not any(0x80 <= byte <= 0x9F for byte in data):
        return f"It would decode as Latin-1. {_iconv('LATIN1', name)}"
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        return "Save the file as UTF-8, or convert it with iconv from the encoding it was written in."
    return f"It would decode as Windows-1252. {_iconv('CP1252', name)}"


def _iconv(encoding: str, name: str) -> str:
    target = Path(name).with_name(f"utf8-{Path(name).name}")
    if target.suffix.lower() == ".gz":
        command = f"gunzip -c {shlex.quote(name)} | iconv -f {encoding} -t UTF-8 > {shlex.quote(str(target)[:-3])}"
    else:
        command = f"iconv -f {encoding} -t UTF-8 {shlex.quote(name)} > {shlex.quote(str(target))}"
    return f"Convert it with: {command}"
