"""Plant one bug after the other in a copy of the tree and see which test catches it.

    python benchmarks/planted_bugs.py --markdown benchmarks/PLANTED_BUGS.md

The bugs stand in ``planted_bugs.toml``: mistakes that a developer could well make and that would falsify results
without a word. Each is planted alone, in a fresh copy of sources and tests, and the test files named for it are run
until the first failure. Before that all these files are run without a bug, because a test that always fails catches
nothing. The exit code is 1 if a bug is not caught, or if the text that it replaces is not found just once.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIST = Path(__file__).with_suffix(".toml")
COPIED = ("src", "tests", "pyproject.toml")
ONE_TEST_FAILED = 1  # pytest's exit code; others say that no test was run, or not to its end
UNSHRUNK = """
from hypothesis import Phase
hypothesis.settings.register_profile(
    "unshrunk", parent=hypothesis.settings(), phases=(Phase.explicit, Phase.generate)
)
hypothesis.settings.load_profile("unshrunk")
"""
"""Added to the copied conftest: nobody reads the counterexample, and to make it small can take minutes."""


@dataclass(frozen=True)
class Bug:
    """One bug: in a file below ``src/unfreeze``, ``old`` becomes ``new``, and one of the tests should fail."""

    id: str
    what: str
    file: str
    old: str
    new: str
    tests: list[str]

    def wrong(self, tree: Path) -> Iterator[str]:
        """Why the bug cannot be planted in a tree, if it cannot."""
        source = tree / "src" / "unfreeze" / self.file
        found = source.read_text(encoding="utf-8").count(self.old) if source.is_file() else 0
        if found != 1:
            yield f"the old text is found {found} times in {self.file}, not once"
        elif self.old == self.new:
            yield "the new text is the old one"
        yield from (f"there is no {test}" for test in self.tests if not (tree / test.partition("::")[0]).exists())

    def plant(self, tree: Path) -> None:
        """Write the bug into a copy of the tree; what is no Python any more is an error of the list."""
        source = tree / "src" / "unfreeze" / self.file
        changed = source.read_text(encoding="utf-8").replace(self.old, self.new)
        if source.suffix == ".py":
            compile(changed, self.file, "exec")
        source.write_text(changed, encoding="utf-8")


@dataclass(frozen=True)
class Tested:
    """How a run of tests ended: the first test that failed, if one did; and why nothing can be concluded, if so."""

    failed: str = ""
    broken: str = ""
    said: str = ""


def run_tests(tree: Path, tests: Sequence[str], *, seconds: float) -> Tested:
    """Run test files in a copy of the tree until one test fails."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {"PYTHONPATH": str(tree / "src"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    child = subprocess.Popen(
        command,
        cwd=tree,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # so that what the tests have started ends with them
    )
    try:
        said, _ = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        return Tested(broken=f"not done after {seconds:g} s")
    if child.returncode == 0:
        return Tested(said=said)
    lines = [line for line in said.splitlines() if line.startswith(("FAILED ", "ERROR ")) and "::" in line]
    if child.returncode != ONE_TEST_FAILED or not lines:
        return Tested(broken=f"the tests do not run (exit code {child.returncode})", said=said)
    name, _, error = lines[0].partition(" ")[2].partition(" - ")
    return Tested(failed=name.partition("[")[0], said=error)


def freeze_tree(into: Path) -> None:
    """Copy what the tests need, once; the tree itself may go on changing meanwhile, and is never changed from here."""
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, into / name, ignore=shutil.ignore_patterns("__pycache__", ".hypothesis"))
        else:
            shutil.copy(ROOT / name, into / name)
    with (into / "tests" / "conftest.py").open("a", encoding="utf-8") as conftest:
        conftest.write(UNSHRUNK)


def tested_copy(frozen: Path, tests: Sequence[str], bug: Bug | None, *, seconds: float) -> Tested:
    """Run tests in a fresh copy of the frozen tree, with one bug or with none."""
    with tempfile.TemporaryDirectory() as temporary:
        tree = Path(temporary) / "tree"
        shutil.copytree(frozen, tree)
        if bug is not None:
            bug.plant(tree)
        return run_tests(tree, tests, seconds=seconds)


def read_list() -> list[Bug]:
    """The bugs of the list, each id once."""
    bugs = [Bug(**entry) for entry in tomllib.loads(LIST.read_text(encoding="utf-8"))["bug"]]
    ids = [bug.id for bug in bugs]
    if twice := sorted({name for name in ids if ids.count(name) > 1}):
        raise SystemExit(f"{LIST.name} has two bugs named {', '.join(twice)}")
    return bugs


def caught_by(tested: Tested) -> str:
    """What the table says of a bug."""
    return tested.failed.removeprefix("tests/") or f"NOT CAUGHT{': ' + tested.broken if tested.broken else ''}"


def as_markdown(rows: Sequence[tuple[Bug, Tested]]) -> str:
    """The table as a document."""
    caught = sum(bool(tested.failed) for _, tested in rows)
    lines = [
        "# Planted bugs",
        "",
        f"{len(rows)} bugs that would falsify results without a word, each planted alone in a copy of the tree; the",
        f"tests catch {caught}. Made by `python benchmarks/planted_bugs.py --markdown benchmarks/PLANTED_BUGS.md`; the",
        "changes themselves stand in `planted_bugs.toml`. Only the test that fails first is named.",
        "",
        "| id | bug | caught by |",
        "|---|---|---|",
    ]
    for bug, tested in rows:
        file, _, test = caught_by(tested).partition("::")
        lines.append(f"| {bug.id} | {bug.what} | {f'`{file}` {test}' if test else f'**{file}**'} |")
    return "\n".join(lines) + "\n"


def plant_all(frozen: Path, bugs: Sequence[Bug], *, jobs: int, seconds: float) -> Iterator[tuple[Bug, Tested]]:
    """Each bug with how its tests ended, in the order of the list."""

    def one(bug: Bug) -> Tested:
        return tested_copy(frozen, bug.tests, bug, seconds=seconds)

    with ThreadPoolExecutor(jobs) as pool:
        yield from zip(bugs, pool.map(one, bugs), strict=True)


def reason_to_stop(frozen: Path, bugs: Sequence[Bug], *, seconds: float) -> str:
    """Why nothing would follow from planting these bugs; empty where the list and the tests are sound."""
    wrong = [f"{bug.id}: {what}" for bug in bugs for what in bug.wrong(frozen)]
    if wrong:
        return "\n".join(wrong)
    tests = list(dict.fromkeys(test for bug in bugs for test in bug.tests))
    sound = tested_copy(frozen, tests, None, seconds=seconds * len(tests))
    if sound.failed:
        return f"{sound.failed} fails without any bug: {sound.said}"
    return f"the tests do not pass without any bug: {sound.broken}\n{sound.said[-2000:]}" if sound.broken else ""


def parsed() -> argparse.Namespace:
    """What the user asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", metavar="ID", help="plant this bug alone; may be repeated")
    parser.add_argument("--jobs", type=int, default=1, help="bugs at work at once")
    parser.add_argument("--seconds", type=float, default=300.0, help="time limit of the tests of one bug")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there, too")
    return parser.parse_args()


def main() -> int:
    """Check the list, run the tests without a bug, then with each."""
    chosen, every, begun = parsed(), read_list(), time.perf_counter()
    bugs = [bug for bug in every if not chosen.only or bug.id in chosen.only]
    if unknown := set(chosen.only or ()) - {bug.id for bug in bugs}:
        raise SystemExit(f"{LIST.name} has no bug named {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as temporary:
        frozen = Path(temporary)
        freeze_tree(frozen)
        if reason := reason_to_stop(frozen, bugs, seconds=chosen.seconds):
            print(reason)
            return 1
        print(f"without any bug all tests pass ({time.perf_counter() - begun:.0f} s)", flush=True)
        rows = []
        for bug, tested in plant_all(frozen, bugs, jobs=chosen.jobs, seconds=chosen.seconds):
            rows.append((bug, tested))
            print(f"{bug.id:32} {bug.what}\n{'':32} {caught_by(tested)}", flush=True)
    lost = [bug.id for bug, tested in rows if not tested.failed]
    if chosen.markdown is not None:
        chosen.markdown.write_text(as_markdown(rows), encoding="utf-8")
    print(f"{len(rows)} bugs, {len(rows) - len(lost)} caught, {time.perf_counter() - begun:.0f} s")
    if lost:
        print(f"not caught: {', '.join(lost)}")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
