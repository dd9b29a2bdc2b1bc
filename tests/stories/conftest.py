"""Runs that the stories share: a worker of the test run makes each of them once."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from commands import LEARN, Said, only_head, say, write_csv
from rows import opinions


@dataclass(frozen=True)
class Run:
    """A finished command: what it said, how it was spelled, where its files are."""

    said: Said
    command: tuple[object, ...]
    folder: Path


@pytest.fixture(scope="session")
def reviews_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ninety opinions as a CSV, the first of them with quotes, a line end and other scripts in it."""
    rows = opinions(90)
    rows[0]["text"] = 'The "film" was good,\nthey said: Żółć, 日本 🎉'
    return write_csv(tmp_path_factory.mktemp("stories") / "reviews.csv", rows)


@pytest.fixture(scope="session")
def compared(reviews_csv: Path, tiny_encoder_dir: Path) -> Run:
    """A comparison of three ways on two folds whose heads are the family's own; for reading only."""
    folder = reviews_csv.parent / "compared"
    command = ("compare", reviews_csv, "--model", tiny_encoder_dir, "--output-dir", folder, "--folds", "2", "--tuning")
    command = (
        *command,
        "1",
        "--strategies",
        "full,head-only,untouched",
        "--set",
        "num_train_epochs=8",
        "--budget",
        "none",
        *LEARN,
    )
    with only_head("standard"):
        return Run(say(*command), command, folder)


@pytest.fixture(scope="session")
def fitted(reviews_csv: Path, tiny_encoder_dir: Path) -> Run:
    """One way on given splits, with a head that is not the family's own; for reading only."""
    base, rows = reviews_csv.parent, opinions(60, seed=8)
    for name, part in (("train", rows[:36]), ("validation", rows[36:48]), ("test", rows[48:])):
        write_csv(base / f"{name}.csv", part)
    files = [item for name in ("train", "validation", "test") for item in (f"--{name}", base / f"{name}.csv")]
    command = ("fit", *files, "--strategy", "full", "--model", tiny_encoder_dir, "--output-dir", base / "fitted")
    command = (*command, "--json", "--set", "num_train_epochs=4", *LEARN)
    with only_head("mean"):
        return Run(say(*command), command, base / "fitted")
