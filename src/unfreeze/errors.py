"""Every error this package raises on purpose, and the exit code each one ends the command line with.

    UnfreezeError                 4  never raised itself
    ├── UserError                 2  the user's file or settings
    │   ├── DataError                a file: which, at which row, what to do
    │   ├── SettingsError            a setting outside the values it may take
    │   │   └── UnknownName          a name that is in no registry (a close match is offered)
    │   └── EncoderError             a model that cannot be read, or is refused
    ├── SurroundingsError         3  disk, memory, network, something not installed
    │   ├── MissingExtra             names the pip command
    │   └── StorageError             a file that cannot be written or read back
    └── Interrupted             130  stopped by the user; the same command goes on where it stopped

A message says what happened (with the value and the place), what was expected, what to do.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


class UnfreezeError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code = 4

    def __reduce__(self) -> tuple[Any, ...]:
        """How it is sent from one process to another: with its text, because constructors differ."""
        return _rebuilt, (type(self), str(self), self.__dict__)


def _rebuilt(kind: type[UnfreezeError], text: str, rest: dict[str, Any]) -> UnfreezeError:
    error = kind.__new__(kind, text)
    Exception.__init__(error, text)
    error.__dict__.update(rest)
    return error


class UserError(UnfreezeError):
    """Something the user wrote or brought cannot be used."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with one file.

    Attributes:
        file: the file's name as the user wrote it.
        line: 1-based line in that file, or None where the whole file is meant.
        what: what happened and what was expected; no final full stop needed.
    """

    file: str
    line: int | None
    what: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.what}"


class DataError(UserError):
    """A labelled file cannot be used as it is.

    All problems of one file are gathered: the first 20 are shown, and the count.

    Args:
        problems: what is wrong, in the order of the file.
        cure: what the user can do, one sentence.
    """

    SHOWN = 20

    def __init__(self, problems: Problem | Sequence[Problem], cure: str = "") -> None:
        self.problems = [problems] if isinstance(problems, Problem) else list(problems)
        self.cure = cure
        lines = [str(problem) for problem in self.problems[: self.SHOWN]]
        if len(self.problems) > self.SHOWN:
            lines.append(f"… and {len(self.problems) - self.SHOWN} more problems ({len(self.problems)} in all)")
        super().__init__("\n".join([*lines, *([cure] if cure else [])]))


class SettingsError(UserError, ValueError):
    """A setting outside the values it may take."""


class UnknownName(SettingsError):
    """A name that is not among the known ones; offers the nearest.

    Args:
        kind: what the name should have named, such as "strategy".
        name: what the user wrote.
        known: the names that would have been right.
        place: where it stands, such as a file.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], *, place: str = "") -> None:
        choices = sorted(known)
        near = difflib.get_close_matches(name, choices, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        where = f"{place}: " if place else ""
        super().__init__(f"{where}there is no {kind} named {name!r}.{hint} Choose one of: {', '.join(choices)}.")


class EncoderError(UserError):
    """A pretrained model that cannot be read, is refused, or is no model at all."""


class SurroundingsError(UnfreezeError):
    """The machine lacks something: disk, memory, network, a package."""

    exit_code = 3


class MissingExtra(SurroundingsError):
    """An optional package is not installed; the message names the pip command.

    Args:
        extra: the extra of this package, such as "demo".
        purpose: what it is needed for, to read after "is needed".
    """

    def __init__(self, extra: str, purpose: str) -> None:
        super().__init__(f"the extra {extra!r} is needed {purpose}. Install it with: pip install 'unfreeze[{extra}]'")


class StorageError(SurroundingsError):
    """A file could not be written, or what was read back is not what was written."""


class Interrupted(UnfreezeError):
    """The user stopped the run; what was done is kept and the same command goes on from there."""

    exit_code = 130
