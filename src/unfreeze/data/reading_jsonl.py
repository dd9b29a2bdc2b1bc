"""JSON lines, and JSON files that hold one list of objects."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from unfreeze.data.blocks import Parsed, Pieces, Row, in_blocks, numbered_lines
from unfreeze.errors import DataError, Problem

SHAPE = 'Each line is one JSON object, such as {"text": "...", "label": "..."}.'
LIST = "The file is one JSON list of objects, or one object a line."
KINDS = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
Object = Row[dict[str, Any]]


class _Refused(ValueError):
    """JSON that the parser takes and we do not."""


def jsonl_blocks(pieces: Pieces, name: str, *, rows: int | None = None) -> Iterator[Parsed]:
    """Columns and line numbers of a text with one JSON object a line; a missing key gives None.

    Args:
        pieces: the file's text.
        name: the file's name, for the error.
        rows: of a block at the most; None for a single block.

    Returns:
        For each block of rows the values by key, in the order in which keys first occur in it, and each row's line.

    Raises:
        DataError: lines that are no JSON, or no object; every such line of a block is listed with the column.
    """
    return _blocks(_lines(pieces(), name), name, rows, SHAPE)


def json_blocks(pieces: Pieces, name: str, *, rows: int | None = None) -> Iterator[Parsed]:
    """Columns and line numbers of one JSON list of objects, or of one object a line.

    A list is read whole, however small its blocks are.

    Args:
        pieces: the file's text.
        name: the file's name, for the error.
        rows: of a block at the most; None for a single block.

    Returns:
        For each block of rows the values by key, in the order in which keys first occur in it, and the line on which
        each object starts.

    Raises:
        DataError: broken JSON, one object around everything, or entries that are no objects.
    """
    first = next((piece for piece in pieces() if piece.strip()), "")
    if first.lstrip().startswith("["):
        return _blocks(_listed("".join(pieces()), name), name, rows, LIST)
    _refuse_one_object(first, name)
    return jsonl_blocks(pieces, name, rows=rows)


def _blocks(rows: Iterable[Object | Problem], name: str, most: int | None, cure: str) -> Iterator[Parsed]:
    empty, seen = True, False
    for block in in_blocks(rows, most, cure=lambda _: cure):
        keys = dict.fromkeys(key for row in block for key in row.values)
        empty, seen = False, seen or bool(keys)
        yield {key: [row.values.get(key) for row in block] for key in keys}, [row.line for row in block]
    if empty or not seen:
        what = "an empty list; expected objects" if empty else "objects without any key; expected columns"
        raise DataError(Problem(name, None, what), SHAPE)


def _lines(pieces: Iterable[str], name: str) -> Iterator[Object | Problem]:
    for number, line in numbered_lines(pieces):
        if not line.strip():
            continue
        try:
            row = Row(number, _checked(DECODER.decode(line.strip("\r \t")), line), len(line))
        except (ValueError, RecursionError) as error:
            yield Problem(name, number, _said(error))
        else:
            yield row


def _listed(text: str, name: str) -> Iterator[Object | Problem]:
    position, line = text.index("[") + 1, 1 + text.count("\n", 0, text.index("["))
    try:
        for start, end, value in _entries(text, position):
            line += text.count("\n", position, start)
            position = start
            try:
                row = Row(line, _checked(value, text[start:end]), end - start)
            except _Refused as error:
                yield Problem(name, line, str(error))
            else:
                yield row
    except json.JSONDecodeError as error:
        yield Problem(name, error.lineno, _said(error))
    except (ValueError, RecursionError) as error:
        yield Problem(name, line, f"{_said(error)}, in the entry that follows the one on this line")


def _entries(text: str, position: int) -> Any:
    """Start, end and value of each entry of the list that opens before ``position``."""
    position = _after_space(text, position)
    if text[position : position + 1] == "]":
        position += 1
    else:
        while True:
            value, end = DECODER.raw_decode(text, position)
            yield position, end, value
            position = _after_space(text, end)
            mark = text[position : position + 1]
            position = _after_space(text, position + 1)
            if mark == "]":
                break
            if mark != ",":
                raise json.JSONDecodeError("Expecting ',' or ']' after an entry", text, min(position, len(text)))
    if _after_space(text, position) < len(text):
        raise json.JSONDecodeError("Extra data", text, position)


def _after_space(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _refuse_one_object(text: str, name: str) -> None:
    try:
        json.loads(text.strip().split("\n", 1)[0])
        return
    except (ValueError, RecursionError):
        pass
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        return
    keys = ", ".join(repr(key) for key in list(whole)[:5]) if isinstance(whole, dict) else ""
    what = f"one JSON object around everything (keys {keys})" if keys else "one JSON value over many lines"
    raise DataError(Problem(name, None, f"{what}; expected a list of objects, or one object a line"), SHAPE)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _Refused(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is given twice")
    return made


def _no_constant(word: str) -> Any:
    raise _Refused(f"{word} is no JSON; expected a number or null")


DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant)


def _checked(value: Any, written: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Refused(f"{KINDS.get(type(value), 'a number')}; expected an object")
    if any(not key.strip() for key in value):
        raise _Refused("a key without a name; expected a column name")
    if "\\ud" in written or "\\uD" in written:
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise _Refused("half of a surrogate pair (\\ud800 to \\udfff) that is no character") from None
    return value


def _said(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"no JSON (column {error.colno}): {error.msg}"
    if isinstance(error, RecursionError):
        return "JSON nested too deeply"
    return str(error) if isinstance(error, _Refused) else "a number with too many digits"
