"""Predict a file: the input's rows with what the model says of them."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unfreeze.data.reading import read_table
from unfreeze.data.table import Table
from unfreeze.errors import SettingsError
from unfreeze.export.handing_over import load_model
from unfreeze.files import write_text
from unfreeze.tasks import Columns

SEPARATORS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (*SEPARATORS, ".jsonl")


def predict_file(
    model: str | Path,
    file: str | Path,
    *,
    output: str | Path | None = None,
    text_column: str | None = None,
    threads: int | None = None,
    precision: str = "auto",
) -> str:
    """Predict every row of a file, in its order.

    The input's columns stay as they are: where one has the name of a new column, the new one is called ``model_…``.

    Args:
        model: the folder of a model that unfreeze saved.
        file: texts or words, in any format that can be trained on; labels are not needed.
        output: a .csv, .tsv or .jsonl file; None for JSON lines on standard output.
        text_column: the column of texts, where its name does not tell.
        threads: threads of one operation.
        precision: "auto", "fp32" or "bf16".

    Returns:
        One sentence on what was done.

    Raises:
        DataError: the file cannot be read.
        EncoderError: the folder holds no model of ours.
        SettingsError: an output of another format, a folder, or the input itself.
        StorageError: the output cannot be written.
    """
    if output is not None:
        _check_output(Path(output), Path(file))
    table = read_table(file)
    fine_tuned = load_model(model, threads=threads, precision=precision)
    reading = type(fine_tuned.task).read([table], Columns(text=text_column), labelled=False)
    examples = reading.examples[0]
    predictions = fine_tuned.predictions(examples)
    said = [fine_tuned.task.shown(e, p) for e, p in zip(examples, predictions, strict=True)]
    names = {name: _free_name(name, table) for name in said[0]}
    rows = [
        {column: values[i] for column, values in table.columns.items()} | {names[k]: v for k, v in shown.items()}
        for i, shown in enumerate(said)
    ]
    if output is None:
        sys.stdout.write(_as_jsonl(rows))
    else:
        path = Path(output)
        separator = SEPARATORS.get(path.suffix.lower())
        write_text(path, _as_jsonl(rows) if separator is None else _as_table(rows, separator))
    return _summary(len(rows), names, output)


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


def _free_name(name: str, table: Table) -> str:
    """A column's name that the input does not have."""
    while name in table.columns:
        name = f"model_{name}"
    return name


def _summary(rows: int, names: Mapping[str, str], output: str | Path | None) -> str:
    taken = [f"{new!r} is the model's, {old!r} the file's own" for old, new in names.items() if new != old]
    where = f", written to {output}" if output else ""
    return "; ".join([f"{rows:,} row{'' if rows == 1 else 's'} predicted{where}", *taken])


def _as_table(rows: Sequence[Mapping[str, Any]], separator: str) -> str:
    """A header and rows, quoted where needed.

    Written here because Python's writer, before 3.13, leaves a lone carriage return unquoted, which no reader takes.
    """
    lines = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
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
