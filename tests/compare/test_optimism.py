"""How much too good a score is whose rows have also chosen: the table of the decision record, simulated again."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

RECORD = Path(__file__).resolve().parents[2] / "docs" / "adr" / "0019-nested-choices-are-an-option.md"
ROWS = re.findall(r"^\| (\d+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", RECORD.read_text(), re.M)


def optimism(settings: int, rows: int, *, apart: float, worlds: int = 1500) -> float:
    """Points by which the chosen setting's score on the rows that chose it lies above its true score, on average."""
    draw = np.random.default_rng([settings, rows])
    true = 0.8 - apart * np.linspace(0, 1, settings)
    hard = np.sqrt(0.8) * draw.standard_normal((worlds, 1, rows))
    own = np.sqrt(0.2) * draw.standard_normal((worlds, settings, rows))
    seen = (hard + own < norm.ppf(true)[:, None]).mean(axis=2)
    best = (seen + 1e-9 * draw.standard_normal(seen.shape)).argmax(axis=1)
    return float(100 * np.mean(seen[np.arange(worlds), best] - true[best]))


@pytest.mark.parametrize("row", ROWS, ids=[f"{row[0]} settings, {row[1]} rows" for row in ROWS])
def test_the_table_of_the_decision_record_is_what_a_simulation_gives(row: tuple[str, ...]) -> None:
    settings, rows = int(row[0]), int(row[1])
    for told_of_all, told_of_one, apart in ((row[2], row[3], 0.0), (row[4], row[5], 0.01)):
        found = optimism(settings, rows, apart=apart)
        assert float(told_of_one) == pytest.approx(found, abs=0.5)
        assert float(told_of_all) == pytest.approx(found / 5, abs=0.15)


def test_the_table_is_whole() -> None:
    assert [(int(m), int(n)) for m, n, *_ in ROWS] == [(m, n) for n in (40, 200) for m in (3, 6, 12)]
