"""Facts counted on the way from file to training, so that nothing is lost in silence."""

from collections.abc import Sequence
from dataclasses import dataclass

from unfreeze.errors import DataError, Problem

SHOWN = 20


@dataclass(frozen=True, slots=True)
class Count:
    """How often something happened, for the report.

    Attributes:
        what: what was counted, to read after the number, such as "rows with an empty text were dropped".
        number: how often.
        of: out of how many.
        rows: lines of the file where it happened; the first 20 are kept.
        file: where it happened, for counts of one file.
    """

    what: str
    number: int
    of: int
    rows: tuple[int, ...] = ()
    file: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", tuple(self.rows[:SHOWN]))

    @property
    def share(self) -> float:
        """The number as a fraction of all, in [0, 1]; 0 of 0 is 0."""
        return self.number / self.of if self.of else 0.0

    def __str__(self) -> str:
        return f"{self.number:,} of {self.of:,} {self.told}"

    @property
    def told(self) -> str:
        """What was counted, and in which file."""
        return f"{self.what} ({self.file})" if self.file else self.what


def check_share(
    counts: Sequence[Count], limit: float = 0.1, *, file: str = "<data>", option: str = "--max-dropped"
) -> None:
    """Refuse to go on where too much was lost.

    Args:
        counts: what was lost, each out of how many.
        limit: largest share that may be lost, in [0, 1].
        file: where it was lost, for the error, of counts that do not say it.
        option: the command line's name for the limit.

    Raises:
        DataError: a share above the limit; every such count is listed.
    """
    over = [count for count in counts if count.share > limit]
    if over:
        lines = [count.rows[0] if count.rows else None for count in over]
        places = zip(over, lines, strict=True)
        problems = [Problem(count.file or file, line, _described(count, limit)) for count, line in places]
        highest = max(count.share for count in over)
        raise DataError(problems, f"Mend these rows, or accept the loss with {option} {_rounded_up(highest)}.")


def _described(count: Count, limit: float) -> str:
    lines = ", ".join(map(str, count.rows))
    where = f"; in lines {lines}{' …' if count.number > len(count.rows) else ''}" if lines else ""
    return f"{count.number:,} of {count.of:,} {count.what} ({count.share:.1%}, at most {limit:.0%} is allowed){where}"


def _rounded_up(share: float) -> str:
    return f"{min(1.0, (int(share * 100) + 1) / 100):.2f}"
