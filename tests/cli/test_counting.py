"""The line that shows how far a file is predicted."""

import io
import sys

import pytest

from unfreeze import predicting
from unfreeze.cli import main
from unfreeze.cli.counting import RowsDone
from unfreeze.tasks import Prediction
from unfreeze.tasks.classification import Classification


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Parrot:
    task = Classification(("no", "yes"))

    def predictions(self, examples):
        return [Prediction("yes", 0.5)] * len(examples)


def screen(written):
    """What stands on a terminal's line after all that was written to it."""
    line = ""
    for text in written.split("\r"):
        line = text + line[len(text) :]
    return line


def test_rows_their_rate_and_the_time_left_are_shown_on_one_line_that_is_wiped():
    seconds = iter([5.0, 15.0, 15.5])
    stream = Terminal()
    with RowsDone(stream, clock=lambda: next(seconds)) as progress:
        progress(0, 12_000)
        assert screen(stream.getvalue()) == "0 of 12,000 rows"
        progress(4_000, 12_000)
        assert screen(stream.getvalue()) == "4,000 of 12,000 rows, 400 rows/s, about 20 s left"
        progress(8_400, 12_000)
        assert screen(stream.getvalue()).rstrip() == "8,400 of 12,000 rows, 800 rows/s, about 4 s left"
    assert screen(stream.getvalue()).strip() == ""
    assert stream.getvalue().endswith("\r")
    assert "\n" not in stream.getvalue()


@pytest.mark.parametrize(
    ("kinds", "options", "shown"),
    [
        ((io.StringIO, Terminal), (), True),
        ((Terminal, Terminal), ("--output", "out.csv"), True),
        ((Terminal, Terminal), (), False),
        ((Terminal, io.StringIO), ("--output", "out.csv"), False),
        ((Terminal, Terminal), ("--output", "out.csv", "--quiet"), False),
    ],
)
def test_progress_is_shown_on_a_terminal_that_shows_no_rows(tmp_path, monkeypatch, kinds, options, shown):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(predicting, "load_model", lambda *_, **__: Parrot())
    (tmp_path / "in.csv").write_text("text\na\nb\n", encoding="utf-8")
    out, err = (kind() for kind in kinds)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    assert main(["predict", "model", "in.csv", *options]) == 0
    assert ("0 of 2 rows" in err.getvalue()) == shown
    assert screen(err.getvalue().replace("\n", "")).startswith("" if "--quiet" in options else "2 rows predicted")
