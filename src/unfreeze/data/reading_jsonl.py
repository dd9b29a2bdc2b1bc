"""JSON lines, and JSON files that hold one list of objects."""

import json
from typing import Any

from unfreeze.errors import DataError, Problem

Parsed = tuple[dict[str, list[Any]], list[int]]
SHAPE = 'Each line is one JSON object, such as {"text": "...", "label": "..."}.'
KINDS = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}


class _Refused(ValueError):
    """JSON that the parser takes and we do not."""


def parse_jsonl(text: str, name: str) -> Parsed:
    """Columns and line numbers of a text with one JSON object a line; a missing key gives None.

    Args:
        text: the whole file.
        name: the file's name, for the error.

    Returns:
        Values by key, in the order keys first occur, and the line of each row.

    Raises:
        DataError: lines that are no JSON, or no object; every such line is listed with the column.
    """
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    problems: list[Problem] = []
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: U+2028 may stand inside a JSON string
        if not line.strip():
            continue
        try:
            rows.append(_checked(DECODER.decode(line.strip("\r \t")), line))
            lines.append(number)
        except (ValueError, RecursionError) as error:
            problems.append(Problem(name, number, _said(error)))
    if problems:
        raise DataError(problems, SHAPE)
    return _columns(rows, name, lines), lines


def parse_json(text: str, name: str) -> Parsed:
    """Columns and line numbers of one JSON list of objects, or of one object a line.

    Args:
        text: the whole file.
        name: the file's name, for the error.

    Returns:
        Values by key, in the order keys first occur, and the line each object starts on.

    Raises:
        DataError: broken JSON, one object around everything, or entries that are no objects.
    """
    if not text.lstrip().startswith("["):
        _refuse_one_object(text, name)
        return parse_jsonl(text, name)
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    problems: list[Problem] = []
    position, line = text.index("[") + 1, 1 + text.count("\n", 0, text.index("["))
    try:
        for start, end, value in _entries(text, position):
            line += text.count("\n", position, start)
            position = start
            try:
                rows.append(_checked(value, text[start:end]))
                lines.append(line)
            except _Refused as error:
                problems.append(Problem(name, line, str(error)))
    except json.JSONDecodeError as error:
        problems.append(Problem(name, error.lineno, _said(error)))
    except (ValueError, RecursionError) as error:
        problems.append(Problem(name, line, f"{_said(error)}, in the entry that follows the one on this line"))
    if problems:
        raise DataError(problems, "The file is one JSON list of objects, or one object a line.")
    if not rows:
        raise DataError(Problem(name, None, "an empty list; expected objects"), SHAPE)
    return _columns(rows, name, lines), lines


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


def _columns(rows: list[dict[str, Any]], name: str, lines: list[int]) -> dict[str, list[Any]]:
    keys = dict.fromkeys(key for row in rows for key in row)
    if any(not key.strip() for key in keys):
        line = next(line for line, row in zip(lines, rows, strict=True) if any(not key.strip() for key in row))
        raise DataError(Problem(name, line, "a key without a name; expected a column name"), SHAPE)
    if not keys:
        raise DataError(Problem(name, None, "objects without any key; expected columns"), SHAPE)
    return {key: [row.get(key) for row in rows] for key in keys}
