"""The figures of every strategy: which trials are told of, and what their table says."""

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

keeping, telling = (importlib.import_module(name) for name in ("replay_kept", "strategy_scores"))


def made(strategy: str, rate: float, seed: int, *, validation: float, right: int, steps: int = 9) -> tuple[Any, Any]:
    """A trial of ten test rows, and its counts."""
    test = np.stack([np.arange(10) < right, np.ones(10)], axis=-1)
    row = {"strategy": strategy, "pooling": "standard", "layers": 1, "rate": rate, "seed": seed, "steps": steps}
    row |= {"epochs": 3, "cpu_seconds": 10.0 + seed, "trainable_parameters": 1000, "stored_bytes": 4000}
    row["scores"] = {"validation": {"accuracy": validation}, "test": {"accuracy": right / 10}}
    return row, {"validation": test, "test": test}


@pytest.fixture
def kept() -> Any:
    kept = keeping.Kept({"data": "made_up", "task": "classification", "metric": "accuracy"})
    for rate, validation in ((1e-4, 0.7), (3e-4, 0.8), (1e-3, 0.6)):
        kept.add(*made("full", rate, 0, validation=validation, right=6))
    kept.add(*made("full", 3e-4, 1, validation=0.9, right=8))
    kept.add(*made("full", 3e-4, 2, validation=0.7, right=7))
    for rate, validation in ((1e-4, 0.7), (3e-4, 0.8), (1e-3, 0.9)):
        kept.add(*made("top", rate, 0, validation=validation, right=9))
    kept.add(*made("untouched", 1.0, 0, validation=0.5, right=5, steps=0))
    return kept


def test_a_strategy_is_told_of_when_its_chosen_setting_has_all_its_seeds(kept: Any) -> None:
    assert [one.name for one in telling.found_in(kept)] == ["full", "untouched"]
    for seed in (1, 2):
        kept.add(*made("top", 1e-3, seed, validation=0.9, right=9))
    full, top = (next(o for o in telling.found_in(kept) if o.name == name) for name in ("full", "top"))
    assert [run["seed"] for run in full.runs] == [0, 1, 2]
    assert (full.best["rate"], full.edge, top.best["rate"], top.edge) == (3e-4, False, 1e-3, True)
    mean, low, high = full.test
    assert mean == pytest.approx(0.7)
    assert low < mean < high
    assert full.tuning == 10 * 3 + 11 + 12


def test_the_table_has_a_row_a_strategy_and_the_chart_a_point(kept: Any) -> None:
    found = telling.found_in(kept)
    _, _, full, untouched = telling.table(found, "accuracy")
    assert full.startswith("| full | 70.0 (")
    assert full.endswith(" | 60.0, 80.0, 70.0 | 80.0 | 0.0003 | 11 | 53 | 1,000 | 0.0 |")
    assert " | 50.0 | 50.0 | – | 10 | 10 | " in untouched
    drawn = telling.chart(found, "accuracy")
    assert drawn.startswith('<svg xmlns="http://www.w3.org/2000/svg"')
    assert drawn.count("<circle") == 2
