"""Predict a file: the input's rows with what the model says of them."""

import csv
import io
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

SUFFIXES = (".csv", ".tsv", ".jsonl")


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
        SettingsError: an output of another format.
        StorageError: the output cannot be written.
    """
    if output is not None and Path(output).suffix not in SUFFIXES:
        raise SettingsError(f"--output is a file that ends in {', '.join(SUFFIXES)}; got {str(output)!r}")
    table = read_table(file)
    fine_tuned = load_model(model, threads=threads, precision=precision)
    reading = type(fine_tuned.task).read([table], Columns(text=text_column), labelled=False)
    examples = reading.examples[0]
    predictions = fine_tuned.predictions(examples)
    said = [fine_tuned.task.shown(e, p) for e, p in zip(examples, predictions, strict=True)]
    rows = [_row(table, i) | shown for i, shown in enumerate(said)]
    if output is None:
        sys.stdout.write(_as_jsonl(rows))
    else:
        write_text(Path(output), _as_text(rows, Path(output).suffix))
    where = f", written to {output}" if output else ""
    return f"{len(rows)} rows predicted{where}"


def _row(table: Table, number: int) -> dict[str, Any]:
    return {name: values[number] for name, values in table.columns.items()}


def _as_text(rows: Sequence[Mapping[str, Any]], suffix: str) -> str:
    if suffix == ".jsonl" or not rows:
        return _as_jsonl(rows)
    out = io.StringIO(newline="")
    names = list(rows[0])
    writer = csv.DictWriter(out, names, delimiter="\t" if suffix == ".tsv" else ",", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(value) for name, value in row.items()})
    return out.getvalue()


def _cell(value: Any) -> Any:
    """Lists and objects become JSON inside a cell."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value


def _as_jsonl(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
