"""Predict a file: the input's rows with what the model says of them."""

import json
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from unfreeze.compare.numerals import counted
from unfreeze.data.reading import read_blocks
from unfreeze.data.table import Table
from unfreeze.errors import Interrupted, SettingsError
from unfreeze.export.handing_over import FineTuned, load_model
from unfreeze.files import whole_file
from unfreeze.tasks import Columns

SEPARATORS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (*SEPARATORS, ".jsonl")

ROWS = 4096
"""Rows read, sorted by length and predicted at a time; more would save little padding and cost memory."""


def predict_file(
    model: str | Path,
    file: str | Path,
    *,
    output: str | Path | None = None,
    text_column: str | None = None,
    threads: int | None = None,
    precision: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Predict every row of a file, in its order; the file and what is said of it may be larger than memory.

    The file is read twice. First every row is looked at, so that a bad one near the end costs no hours; then a block of
    rows at a time is predicted and written. The input's columns stay as they are: where one has the name of a new
    column, the new one is called ``model_…``.

    Args:
        model: the folder of a model that unfreeze saved.
        file: texts or words, in any format that can be trained on; labels are not needed, and CoNLL columns may be
            the words alone.
        output: a .csv, .tsv or .jsonl file, which appears when all rows are predicted; None for JSON lines on standard
            output, as they come.
        text_column: the column of texts, where its name does not tell.
        threads: threads of one operation.
        precision: "auto", "fp32" or "bf16".
        progress: told how many rows are done, and of how many: at the beginning, and after each block.

    Returns:
        One sentence on what was done.

    Raises:
        DataError: the file cannot be read.
        EncoderError: the folder holds no model of ours.
        Interrupted: Ctrl-C; there is no output.
        SettingsError: an output of another format, a folder, or the input itself.
        StorageError: the output cannot be written.
    """
    path = None if output is None else Path(output)
    if path is not None:
        _check_output(path, Path(file))
    separator = SEPARATORS.get(path.suffix.lower()) if path else None
    tell = progress or (lambda done, total: None)
    names: dict[str, str] = {}
    done = 0
    try:
        columns, total = _look_through(file)
        fine_tuned = load_model(model, threads=threads, precision=precision)
        with _writing(path) as write:
            tell(0, total)
            for table, said in _predicted(fine_tuned, file, columns=columns, text_column=text_column):
                names = {name: _free_name(name, columns) for name in said[0]}
                rows = _rows(table, said, names)
                write(_as_jsonl(rows) if separator is None else _as_table(rows, separator, header=not done))
                done += table.rows
                tell(done, total)
    except KeyboardInterrupt:
        kept = f"; {path} was not written" if path else ""
        raise Interrupted(f"stopped after {counted(done, 'row')}{kept}") from None
    return _summary(done, names, output)


def _look_through(file: str | Path) -> tuple[tuple[str, ...], int]:
    """All columns of a file and the number of its rows; whatever is wrong with it comes to light here."""
    columns: dict[str, None] = {}
    rows = 0
    for block in read_blocks(file, rows=ROWS, labelled=False):
        columns |= dict.fromkeys(block.columns)
        rows += block.rows
    return tuple(columns), rows


def _predicted(
    model: FineTuned, file: str | Path, *, columns: Sequence[str], text_column: str | None
) -> Iterator[tuple[Table, list[dict[str, Any]]]]:
    """Blocks of rows with all columns of the file, and what the model says of each row."""
    for block in read_blocks(file, rows=ROWS, labelled=False):
        table = replace(block, columns={name: block.columns.get(name, [None] * block.rows) for name in columns})
        reading = type(model.task).read([table], Columns(text=text_column), labelled=False)
        examples = reading.examples[0]
        predictions = model.predictions(examples)
        yield table, [model.task.shown(e, p) for e, p in zip(examples, predictions, strict=True)]


def _rows(table: Table, said: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {column: values[i] for column, values in table.columns.items()} | {names[k]: v for k, v in shown.items()}
        for i, shown in enumerate(said)
    ]


@contextmanager
def _writing(path: Path | None) -> Iterator[Callable[[str], object]]:
    """What takes the output piece by piece: a file that appears at the end, or standard output."""
    if path is None:
        yield sys.stdout.write
        return
    with whole_file(path, option="--output") as write:
        yield lambda text: write(text.encode("utf-8"))


def _check_output(output: Path, file: Path) -> None:
    """Refuse, before anything is computed, an output that cannot be what is meant."""
    if output.suffix.lower() not in SUFFIXES:
        raise SettingsError(f"--output is a file that ends in {', '.join(SUFFIXES)}; got {str(output)!r}")
    if output.is_dir():
        raise SettingsError(
            f"--output {output} is a folder; name a file, such as {output / ('predicted' + output.suffix)}"
        )
    if output.exists() and file.exists() and output.samefile(file):
        raise SettingsError(f"--output {output} is the input itself, which is never overwritten; name another file")


def _free_name(name: str, columns: Collection[str]) -> str:
    """A column's name that the input does not have."""
    while name in columns:
        name = f"model_{name}"
    return name


def _summary(rows: int, names: Mapping[str, str], output: str | Path | None) -> str:
    taken = [f"{new!r} is the model's, {old!r} the file's own" for old, new in names.items() if new != old]
    where = f", written to {output}" if output else ""
    return "; ".join([f"{counted(rows, 'row')} predicted{where}", *taken])


def _as_table(rows: Sequence[Mapping[str, Any]], separator: str, *, header: bool = True) -> str:
    """Rows, below a header or not, quoted where needed.

    Written here because Python's writer, before 3.13, leaves a lone carriage return unquoted, which no reader takes.
    """
    lines = [*([list(rows[0])] if header else []), *([_cell(value) for value in row.values()] for row in rows)]
    return "".join(separator.join(_quoted(cell, separator) for cell in line) + "\n" for line in lines)


def _quoted(cell: str, separator: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if any(mark in cell for mark in (separator, '"', "\n", "\r")) else cell


def _cell(value: Any) -> str:
    """Text as it is, nothing for None; numbers, lists and objects as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _as_jsonl(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
