"""Commands as a user types them, run in this process, and what they say."""

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

import pytest

from rows import write_jsonl
from unfreeze.cli import main

LEARN = (
    "--set",
    "learning_rate=1e-2",
    "--set",
    "per_device_train_batch_size=8",
    "--precision",
    "fp32",
    "--threads",
    "1",
)
"""Options under which the tiny encoder learns something in a few epochs, with the same bits on every processor."""


@dataclass(frozen=True)
class Said:
    """What a command gave: its exit code, its standard output and its standard error."""

    code: int
    out: str
    err: str


def say(*arguments: object) -> Said:
    """Run a command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as leaving:  # argparse leaves this way
            code = int(leaving.code or 0)
    return Said(code, out.getvalue(), err.getvalue())


def refused(said: Said, code: int, *words: str) -> None:
    """Assert that a command ended with a code and one clear message that holds these words."""
    assert said.code == code, said.err
    assert "Traceback" not in said.err
    assert "bug of ours" not in said.err
    assert said.err.count("error:") == 1, said.err
    assert said.out == ""
    for word in words:
        assert word in said.err, f"{word!r} is not in: {said.err}"


def everything_in(folder: Path) -> dict[str, bytes]:
    """All files below a folder with their content, folders with none."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*")}


@contextlib.contextmanager
def only_head(pooling: str):
    """While it holds, classification has this one head to choose from: "standard" is the family's own, "mean" ours."""
    from unfreeze.encoders.head_settings import HeadSettings
    from unfreeze.tasks.classification import Classification

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classification, "heads", lambda self, *, reads_layers: (HeadSettings(pooling),))
        yield


def write_csv(path: Path, rows: list[dict[str, str]]) -> Path:
    """A comma-separated file whose every value is quoted."""
    quoted = [
        [f'"{str(v).replace(chr(34), chr(34) * 2)}"' for v in row] for row in (rows[0], *(r.values() for r in rows))
    ]
    path.write_text("".join(",".join(row) + "\n" for row in quoted), encoding="utf-8", newline="")
    return path


__all__ = ["LEARN", "Said", "everything_in", "only_head", "refused", "say", "write_csv", "write_jsonl"]
