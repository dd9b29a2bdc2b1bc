"""The bytes of a file, unpacked and decoded, or one error that says what is wrong with them."""

import codecs
import difflib
import gzip
import shlex
import zlib
from pathlib import Path

from unfreeze.errors import DataError, Problem

GZIP_MAGIC = b"\x1f\x8b"
# UTF-32 first: its little-endian mark begins with the mark of UTF-16.
OTHER_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def load_bytes(name: str) -> bytes:
    """The bytes of a file, unpacked where its name ends in .gz.

    Args:
        name: the file's path as the user wrote it.

    Raises:
        DataError: no such file (a close name in its folder is offered), a folder, unreadable, or damaged gzip.
    """
    path = Path(name)
    try:
        if path.is_dir():
            raise DataError(Problem(name, None, "this is a folder; expected a file"), "Name one file inside it.")
        if not path.is_file():
            raise _missing(path, name)
        return _unpacked(path.read_bytes(), name)
    except OSError as error:  # no permission, a name too long, a disk that fails
        raise DataError(Problem(name, None, f"the file cannot be reached: {error.strerror}")) from None


def decoded(data: bytes, name: str) -> str:
    """UTF-8 bytes as text, without the byte order mark.

    Args:
        data: the unpacked bytes.
        name: the file's name, for the error.

    Raises:
        DataError: another encoding, bytes that are no UTF-8, or NUL bytes; every such line is listed.
    """
    for mark, encoding in OTHER_MARKS.items():
        if data.startswith(mark):
            raise DataError(Problem(name, None, f"the text is {encoding}; expected UTF-8"), _iconv(encoding, name))
    if b"\0" in data:
        if _looks_like_utf16(data):
            raise DataError(Problem(name, None, "the text looks like UTF-16; expected UTF-8"), _iconv("UTF-16", name))
        problems = [Problem(name, line, "a NUL byte") for line, raw in _lines(data) if b"\0" in raw]
        raise DataError(problems, "Text has no NUL bytes: remove them, or export the file again.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        problems = [_not_utf8(name, line, raw) for line, raw in _lines(data) if not _is_utf8(raw)]
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


def _unpacked(data: bytes, name: str) -> bytes:
    zipped = data.startswith(GZIP_MAGIC)
    if not name.lower().endswith(".gz"):
        if zipped:
            raise DataError(Problem(name, None, "the file is gzip-compressed"), f"Rename it to {name}.gz.")
        return data
    if not data:
        raise DataError(Problem(name, None, "the file is empty; expected gzip-compressed rows"))
    if not zipped:
        raise DataError(Problem(name, None, "the name ends in .gz, but the file is not gzip"), "Rename or compress it.")
    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as error:
        cut = isinstance(error, EOFError)
        what = "the gzip file is cut short" if cut else "the gzip file is damaged"
        raise DataError(Problem(name, None, what), "Copy or download it again.") from None


def _lines(data: bytes) -> list[tuple[int, bytes]]:
    return list(enumerate(data.split(b"\n"), 1))


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
