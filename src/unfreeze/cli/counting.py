"""How far a file is predicted, on one line of the terminal that is gone at the end."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from unfreeze.compare.numerals import counted, spelled


class RowsDone:
    """Shows rows done, rows a second, and the time left.

    Args:
        stream: a terminal.
        clock: seconds from any moment on.
    """

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._began: float | None = None
        self._width = 0

    def __enter__(self) -> Self:
        """Begin to show."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wipe the line."""
        self._write("")
        self._stream.write("\r")
        self._stream.flush()

    def __call__(self, done: int, total: int) -> None:
        """Show that so many rows of the file are done; the first call starts the clock.

        Args:
            done: rows predicted and written.
            total: rows of the file.
        """
        now = self._clock()
        self._began = now if self._began is None else self._began
        text = f"{done:,} of {counted(total, 'row')}"
        if done and now > self._began:
            rate = done / (now - self._began)
            text += f", {rate:,.0f} rows/s, about {spelled((total - done) / rate)} left"
        self._write(text)

    def _write(self, text: str) -> None:
        """Write over what the line shows, without codes that a terminal may not know."""
        self._width = max(self._width, len(text))  # before it is written: Ctrl-C may come between, and wipes the line
        self._stream.write(f"\r{text.ljust(self._width)}")
        self._stream.flush()
