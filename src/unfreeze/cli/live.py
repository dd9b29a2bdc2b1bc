"""Progress while a comparison runs: a live table on a terminal, a line for each finished arm elsewhere."""

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live as RichLive
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from unfreeze.cli.showing import told_in_short
from unfreeze.compare.numerals import points, spelled
from unfreeze.compare.watching import Watcher


class _Row:
    """What is shown of one arm."""

    def __init__(self, name: str, trial_seconds: float, trials: int) -> None:
        self.name, self.trial_seconds, self.trials = name, trial_seconds, trials
        self.done, self.fraction, self.doing = 0, 0.0, "waiting"
        self.best: float | None = None

    @property
    def share(self) -> float:
        """Fraction of the arm's trials that is done."""
        return min(1.0, (self.done + self.fraction) / max(1, self.trials))


class Live(Watcher):
    """Shows a comparison on standard error.

    Args:
        quiet: show nothing at all.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.stopping = False
        self._quiet = quiet
        self._console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self._moving = not quiet and self._console.is_terminal
        self._rows: dict[str, _Row] = {}
        self._live: RichLive | None = None
        self._started = time.monotonic()
        self._spent, self._priced, self._drawn = 0.0, 0.0, 0.0
        self._budget: float | None = None

    def __enter__(self) -> Self:
        """Begin to show."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the live table away; what remains is printed by the caller."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def stop_soon(self) -> None:
        """Ask the run to end at its next step, with a checkpoint."""
        self.stopping = True
        self.said("stopping at the next step; what was trained is kept (Ctrl-C again stops at once) …")

    def stop(self) -> bool:
        """Whether the user has asked for an end."""
        return self.stopping

    def said(self, text: str) -> None:
        """Print a sentence above the table."""
        if not self._quiet:
            self._console.print(Text(text))

    def planned(self, plan: Mapping[str, Any]) -> None:
        """Show the price, name what is left out, begin the table."""
        dropped = [arm["name"] for arm in plan["arms"] if not arm["kept"]]
        self.said(f"plan: {told_in_short(plan)}")
        if dropped:
            self.said(f"left out, because the budget is short: {', '.join(dropped)}")
        for arm in sorted((a for a in plan["arms"] if a["kept"]), key=lambda a: a["trial_seconds"]):
            folds, search = plan["folds"], arm["tuning_trials"]
            trials = (folds * search if plan.get("nested") else search - 1) + plan["seeds"] * folds
            self._rows[arm["name"]] = _Row(arm["name"], arm["trial_seconds"], trials)
        self._budget = plan["budget_seconds"]
        if self._moving:
            self._live = RichLive(self._drawing(), console=self._console, refresh_per_second=4, transient=True)
            self._live.start()

    def left(self, arm: str, why: str) -> None:
        """An arm has left the race."""
        row = self._rows.get(arm)
        if row is not None:
            row.trials, row.fraction, row.doing = row.done, 0.0, "left"
        self.said(f"{arm} leaves: {why}")
        self._draw(at_once=True)

    def began(self, arm: str, doing: str) -> None:
        """An arm starts a trial."""
        row = self._rows.get(arm)
        if row is not None:
            row.doing, row.fraction = doing, 0.0
        self._draw(at_once=True)

    def progressed(self, arm: str, fraction: float) -> None:
        """A trial goes on."""
        if arm in self._rows:
            self._rows[arm].fraction = fraction
        self._draw()

    def scored(self, arm: str, score: float) -> None:
        """A validation score came in."""
        row = self._rows.get(arm)
        if row is not None:
            row.best = score if row.best is None else max(row.best, score)

    def ended(self, arm: str, record: Mapping[str, Any]) -> None:
        """A trial is done."""
        row = self._rows.get(arm)
        if row is None:
            return
        row.done, row.fraction, row.doing = row.done + 1, 0.0, "waiting"
        self._spent += record["seconds"]
        self._priced += row.trial_seconds
        if row.done >= row.trials:
            row.doing = "done"
            if not self._moving and row.done == row.trials:
                best = "" if row.best is None else f", best score so far {points(row.best)}"
                self.said(f"{row.name}: {row.done} trials done{best}")
        self._draw(at_once=True)

    def _left(self) -> str:
        """Time left by the plan's prices, corrected by how the finished trials compared with theirs."""
        rest = sum(row.trial_seconds * row.trials * (1 - row.share) for row in self._rows.values())
        ratio = self._spent / self._priced if self._priced else 1.0
        limit = float("inf") if self._budget is None else self._budget - (time.monotonic() - self._started)
        return spelled(max(0.0, min(rest * ratio, limit)))

    def _draw(self, *, at_once: bool = False) -> None:
        now = time.monotonic()
        if self._live is not None and (at_once or now - self._drawn > 0.25):
            self._drawn = now
            self._live.update(self._drawing())

    def _drawing(self) -> Group:
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for title in ("way", "doing", "progress", "score so far"):
            table.add_column(title, justify="right" if title == "score so far" else "left")
        for row in self._rows.values():
            best = "" if row.best is None else points(row.best)
            bar = ProgressBar(total=1.0, completed=row.share, width=24)
            table.add_row(Text(row.name), Text(row.doing), bar, best, style="dim" if row.doing == "waiting" else "")
        spent = spelled(time.monotonic() - self._started)
        return Group(table, Text(f"{spent} so far, about {self._left()} left", style="dim"))
