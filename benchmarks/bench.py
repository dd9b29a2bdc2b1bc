"""Measure how fast unfreeze is, beside what its users run today, and print a table.

    make bench                              all cases, three pairs each, as far as they are not measured yet
    make bench ONLY=P1,P4                   these
    python benchmarks/bench.py --only P1 --full --pairs 3    whole runs, whose scores count

Every side is a fresh process with one thread; the sides of a pair run one after the other, then the next pair. Pairs
are kept in ``results/CASE.jsonl`` as they are measured, so that an interrupted run goes on where it was; those of other
sources or another machine stay there and are not counted. A smoke run (``--small``) keeps nothing unless told where.
"""

import argparse
import difflib
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from measuring import HERE, ROOT, SideFailed, described, machine, run_side, version

sys.path.insert(0, str(ROOT / "src"))  # the rates that suit an arm are read from there; nothing heavy is loaded

from cases import CASES
from figures import Kept, summarised, table
from inputs import shared
from sides import SIZES, Case, Setting


class Skipped(Exception):
    """A case cannot be measured here; the text says why, and what to do."""


def chosen_cases(only: str | None) -> list[str]:
    """The cases named, in their usual order; all of them if none is.

    Raises:
        ValueError: a name that is none, with the nearest one.
    """
    wanted = [name.strip() for name in only.split(",")] if only else list(CASES)
    known = {case.casefold(): case for case in CASES}
    for name in wanted:
        if name.casefold() not in known:
            near = difflib.get_close_matches(name.casefold(), known, n=1)
            hint = f" Did you mean {known[near[0]]}?" if near else ""
            raise ValueError(f"there is no case {name!r}.{hint} There are: {', '.join(CASES)}")
    named = {known[name.casefold()] for name in wanted}
    return [case for case in CASES if case in named]


class Bench:
    """One run of the measurements.

    Args:
        size: one of ``SIZES``.
        results: where pairs are kept.
        say: told what is done, a line at a time.
    """

    def __init__(self, size: str, results: Path, say: Callable[[str], None]) -> None:
        self._size, self._results, self._say = size, results, say
        self._data, self._peers = shared("UNFREEZE_SHARED_DATA", "data"), shared("UNFREEZE_PEERS", "peers")
        self.machine = machine()

    def kept(self, name: str) -> Kept:
        """Where a case's pairs are: those of these sources, this machine and this size count."""
        return Kept(self._results, name, self._key(name))

    def _key(self, name: str) -> dict[str, Any]:
        commands = CASES[name].commands(self._size)
        return {"version": version(self._peers), "commands": commands, "size": self._size, "machine": self.machine}

    def refuse(self, case: Case) -> None:
        """Say why a case cannot be measured here, if it cannot.

        Raises:
            Skipped: it cannot.
        """
        if "data" in case.needs and self._data is None:
            raise Skipped("no data sets at hand; name their folder in UNFREEZE_SHARED_DATA")
        if "peers" in case.needs and (self._peers is None or not (self._peers / "peer_trainer.py").is_file()):
            raise Skipped("no peer_trainer.py at hand; name its folder in UNFREEZE_PEERS")
        if "peers" in case.needs and importlib.util.find_spec("accelerate") is None:
            raise Skipped("the peer's Trainer needs accelerate; pip install accelerate")
        if "gpu" in case.needs and self.machine["gpu"] is None:
            raise Skipped("it needs a GPU")

    def measure(self, name: str, *, pairs: int | None, work: Path) -> None:
        """Measure a case until so many pairs are kept.

        Raises:
            Skipped: it cannot be measured here.
            SideFailed: a side ended with an error, or the sources changed meanwhile.
        """
        case, key = CASES[name], self._key(name)
        self.refuse(case)
        kept, wanted = self.kept(name), case.pairs if pairs is None else pairs
        for number in range(len(kept.pairs()), wanted):
            nowhere = work / "absent"
            setting = Setting(self._size, number, self._data or nowhere, self._peers or nowhere, work)
            load, begun = os.getloadavg(), time.perf_counter()
            sides = {}
            for side in case.sides(setting):
                sides[side.name] = run_side(side)
                used = sides[side.name]["process_cpu_s"]
                self._say(f"{name} pair {number + 1} of {wanted}: {side.name}, {used:.1f} CPU s")
            case.figures(sides := case.tidied(sides))  # what cannot be read is not kept
            if self._key(name) != key:
                raise SideFailed("the sources changed while they were measured; measure in a tree that stands still")
            seconds = round(time.perf_counter() - begun, 1)
            kept.add({"pair": number, "load_average": [round(x, 2) for x in load], "seconds": seconds, "sides": sides})

    def rows(self, name: str) -> list[dict[str, Any]]:
        """A case's figures over all its pairs, written beside them; none where there are no pairs."""
        case, kept = CASES[name], self.kept(name)
        pairs = kept.pairs()
        if not pairs:
            return []
        found = summarised([case.figures(pair["sides"]) for pair in pairs])
        loads = [pair["load_average"][0] for pair in pairs]
        kept.summarise(case.what, found, load=[min(loads), max(loads)])
        return found


def report(bench: Bench, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The table, what each case is, and the machine."""
    lines = [table(rows.items()), ""]
    for name, figures in rows.items():
        lines.append(f"{name}: {CASES[name].what}.")
        notes = list(dict.fromkeys(figure["detail"] for figure in figures if figure["detail"]))
        if name == "growth":
            notes = [f"{figure['name']}: {figure['detail']}" for figure in figures]
        lines += [f"  - {note}" for note in notes]
    return "\n".join([*lines, "", described(bench.machine)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for and print the table; 1 if a side failed, 2 for a name that is none."""
    a = _arguments(arguments)
    try:
        names = chosen_cases(a.only)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    failed = False
    with tempfile.TemporaryDirectory(prefix="unfreeze-bench-") as folder:
        keeps_nothing = a.results is None and a.size == "small"
        results = Path(folder) / "results" if keeps_nothing else a.results or HERE / "results"
        bench = Bench(a.size, results, lambda text: print(text, file=sys.stderr, flush=True))
        rows = {}
        for name in names:
            try:
                if a.fresh:
                    bench.kept(name).forget()
                bench.measure(name, pairs=a.pairs, work=Path(folder) / "work")
            except Skipped as reason:
                print(f"{name} is skipped: {reason}", file=sys.stderr)
            except SideFailed as error:
                failed = True
                print(f"{name} stops: {error}", file=sys.stderr)
            if found := bench.rows(name):
                rows[name] = found
        if rows:
            print(report(bench, rows))
    return 1 if failed else 0


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", metavar="CASES", help=f"some of {', '.join(CASES)}; all if none is named")
    parser.add_argument("--pairs", type=int, metavar="N", help="pairs a case; 0 only prints what is kept")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--small", dest="size", action="store_const", const=SIZES[0], help="a smoke run")
    sizes.add_argument("--full", dest="size", action="store_const", const=SIZES[2], help="whole runs; takes hours")
    parser.add_argument("--fresh", action="store_true", help="forget the pairs of these sources on this machine first")
    parser.add_argument("--results", type=Path, metavar="FOLDER", help="where pairs are kept")
    parser.set_defaults(size=SIZES[1])
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
