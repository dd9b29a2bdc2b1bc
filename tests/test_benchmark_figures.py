"""The arithmetic of the measurements of speed, on made-up answers of the sides."""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

cases, clock, figures = (importlib.import_module(name) for name in ("cases", "clock", "figures"))
Figure = figures.Figure
NUMBERS = st.floats(min_value=0.01, max_value=1e4)


def only_row(pairs: Sequence[Any]) -> dict[str, Any]:
    (row,) = figures.summarised([[figure] for figure in pairs])
    return row


def test_a_ratio_is_taken_within_each_pair_and_not_between_medians() -> None:
    row = only_row([Figure("peer", ours, theirs) for ours, theirs in ((1, 6), (2, 6), (3, 30))])
    # The medians are 2 and 6; the pairs' own ratios 6, 3 and 10.
    assert (row["ours"], row["theirs"]) == (2, 6)
    assert row["value"] == {"median": 6, "min": 3, "max": 10}


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=7))
def test_the_median_ratio_lies_between_the_smallest_and_the_largest(pairs: list[tuple[float, float]]) -> None:
    value = only_row([Figure("peer", ours, theirs) for ours, theirs in pairs])["value"]
    assert value["min"] <= value["median"] <= value["max"]
    assert value["min"] == pytest.approx(min(theirs / ours for ours, theirs in pairs))


@pytest.mark.parametrize(
    ("figure", "met"),
    [
        (Figure("peer", 1, 4, at_least=4), True),
        (Figure("peer", 1, 3.9, at_least=4), False),
        (Figure("help", 0.3, at_most=0.3), True),
        (Figure("help", 0.31, at_most=0.3), False),
        (Figure("labels", 99.4, at_least=99.5), False),
        (Figure("peer", 1, 4), None),
    ],
)
def test_a_target_is_met_or_missed_or_not_set(figure: Any, met: bool | None) -> None:
    assert only_row([figure])["met"] is met


def test_scores_are_means_of_what_is_known() -> None:
    pairs = [Figure("peer", 1, 1, scores=(0.5, None)), Figure("peer", 1, 1, scores=(0.7, None))]
    assert only_row(pairs)["scores"] == [pytest.approx(0.6), None]


def test_the_table_shows_ratio_spread_target_and_quality() -> None:
    pairs = [[Figure("HF tuned", 1, theirs, "CPU s", 1.35, scores=(0.79, 0.78))] for theirs in (2, 3)]
    lines = figures.table([("P1", figures.summarised(pairs)), ("P9", [only_row([Figure("help", 0.2, at_most=0.3)])])])
    _, _, first, second = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines.splitlines())
    assert first == ["P1", "HF tuned", "1.00", "2.50", "CPU s", "2.50× (2.00–3.00)", "1.35: met", "79.0 / 78.0", "2"]
    assert second == ["P9", "help", "0.20", "–", "CPU s", "–", "at most 0.30: met", "–", "1"]


@given(st.floats(min_value=0, max_value=3), NUMBERS)
def test_the_exponent_of_a_power_is_found(power: float, scale: float) -> None:
    sizes = [64, 128, 512]
    assert figures.exponent(sizes, [scale * size**power for size in sizes]) == pytest.approx(power, abs=1e-6)


def test_one_size_gives_no_exponent() -> None:
    with pytest.raises(ValueError, match="different sizes"):
        figures.exponent([64, 64], [1, 2])


def test_the_first_steps_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([10.0, 20.0, 25.0, 26.0, 27.0, 29.0])
    monkeypatch.setattr(clock, "cpu_seconds", lambda: next(seconds))
    stopwatch = clock.StepClock("cpu")
    stopwatch.start()
    for _ in range(5):
        stopwatch.stepped(last=False)
    told = stopwatch.told()
    assert (told["steps"], told["counted_steps"], told["steps_cpu_s"]) == (5, 3, 19.0)
    assert told["cpu_ms_a_step"] == pytest.approx(1e3 * (29 - 25) / 3)


def training(steps: int, *, first: float, others: float, again: float | None = None) -> dict[str, Any]:
    """A side's answer whose first two steps took ``first`` seconds together and each other one ``others``."""
    told = {"steps": steps, "steps_cpu_s": first + (steps - 2) * others, "cpu_ms_a_step": 1e3 * others}
    return told | {"again": again and {"cpu_ms_a_step": again}, "test_score": {"accuracy": steps / 10}}


def test_sides_that_took_other_numbers_of_steps_are_not_compared() -> None:
    answers = {"ours": training(9, first=1, others=1), "HF tuned": training(8, first=1, others=1)}
    with pytest.raises(ValueError, match="9 steps, HF tuned 8"):
        cases.CASES["P1"].figures(answers | {"HF default": answers["ours"]})


def test_all_of_our_steps_count_and_of_theirs_all_but_the_first_two() -> None:
    answers = {"ours": training(6, first=4, others=1), "HF tuned": training(6, first=9, others=2)}
    answers["HF default"] = training(4, first=90, others=8)
    for case, tuned in (("P1", 2), ("P1b", (9 + 4 * 2) / 6)):  # with long tails the first two hold the longest rows
        default, grouped = cases.CASES[case].figures(answers)
        assert default.ours == grouped.ours == pytest.approx(1e3 * (4 + 4) / 6)
        assert (default.theirs, grouped.theirs) == (pytest.approx(8e3), pytest.approx(1e3 * tuned))
        # The default side stopped early: what it scored is no quality of a run as long as ours.
        assert (default.scores, grouped.scores) == ((0.6, None), (0.6, 0.6))


def test_a_cached_prefix_is_charged_with_its_building_where_the_target_stands() -> None:
    ours = training(10, first=4, others=0, again=50.0)
    theirs = training(10, first=0, others=0.8)
    found = {f.name: f for f in cases.CASES["P4"].figures({"ours": ours, "HF default": theirs, "HF tuned": theirs})}
    assert (found["HF default"].value, found["HF default"].at_least) == (pytest.approx(2.0), 8)
    assert (found["HF default, cache at hand"].value, found["HF default, cache at hand"].at_least) == (16.0, None)


def test_the_peer_trains_each_frozen_setting_by_itself() -> None:
    ours: dict[str, Any] = {"cpu_s": 2.0, "steps": 900, "settings_tried": 9, "folds": 1, "together": True}
    ours["test_score"] = {"accuracy": 0.7}
    peer = {"steps": 10, "cpu_ms_a_step": 400.0, "test_score": {"accuracy": 0.5}}
    answers = {"ours": ours, "HF default": peer, "HF tuned": peer, "encode once + scikit-learn": {"cpu_s": 12.0}}
    found = cases.CASES["P3"].figures(answers | {"ours, folds": ours | {"cpu_s": 2.3, "folds": 5}})
    values = {figure.name: figure.value for figure in found}
    assert values == {
        "HF default": 180.0,  # 900 steps of 0.4 s, against 2 s
        "HF tuned": 180.0,
        "encode once + scikit-learn": 6.0,
        "5 folds against 1": pytest.approx(1.15),
    }
    assert found[0].scores == (0.7, None)  # ten steps of a hundred say nothing of the peer's quality


@pytest.mark.parametrize("steps", [10, 20])
def test_a_comparison_is_told_with_and_without_the_frozen_arms(steps: int) -> None:
    arms = {
        "full": {"cpu_s": 10.0, "trials": 9, "steps": 90, "accuracy": 0.8, "best": {"validation": 0.8, "test": 0.7}},
        "head-only": {
            "cpu_s": 1.0,
            "trials": 9,
            "steps": 90,
            "accuracy": 0.6,
            "best": {"validation": 0.7, "test": 0.66},
        },
    }
    answers: dict[str, Any] = {"ours": {"cpu_s": 11.0, "process_cpu_s": 18.0, "arms": arms}}
    answers["race"] = {"cpu_s": 4.05, "chosen": "head-only", "verdict": "tie", "test_score": {"accuracy": 0.69}}
    for side in ("HF default", "HF tuned"):
        for arm, seconds, score in (("full", 0.4, 0.7), ("head-only", 0.1, 0.5)):
            run = {"steps": steps, "steps_cpu_s": steps * seconds + 1, "cpu_ms_a_step": 1e3 * seconds}
            run |= {"worked_cpu_s": steps * seconds + 3, "process_cpu_s": steps * seconds + 8}
            answers[f"{side}: {arm}"] = run | {"test_score": {"accuracy": score}}
    found = {figure.name: figure for figure in cases.CASES["P6"].figures(answers)}
    # 90 steps of 0.4 s and nine evaluations of 2 s are 54 s, those of the frozen arm 27 s; 18 processes start in 5 s.
    assert (found["HF tuned"].ours, found["HF tuned"].theirs) == (11.0, pytest.approx(54 + 27))
    assert found["HF tuned, frozen arms left out"].value == pytest.approx(54 / 10)
    assert found["HF tuned, whole processes"].value == pytest.approx((54 + 27 + 18 * 5) / 18)
    # Ours took ten steps a run; a peer that took others has no score to be held against ours.
    assert found["HF tuned"].scores == (pytest.approx(0.7), pytest.approx(0.6) if steps == 10 else None)
    assert "gradual with decayed rates" in found["HF tuned"].detail
    raced = found["HF tuned, racing"]
    assert (raced.value, raced.at_least, raced.scores) == (pytest.approx(20), 7.0, (0.69, 0.7))
    assert raced.detail == "the race chose head-only (tie), all trials full; +4.0 points on test"


def test_the_first_steps_of_gradual_count_because_they_are_the_cheapest() -> None:
    ours = {"cpu_s": 1.0, "process_cpu_s": 1.0, "arms": {"gradual": {"cpu_s": 1.0, "trials": 1, "steps": 10}}}
    ours["arms"]["gradual"] |= {"accuracy": None, "best": {"validation": 0.0, "test": 0.0}}
    race = {"cpu_s": 1.0, "chosen": "gradual", "verdict": "not settled", "test_score": {"accuracy": 0.5}}
    run = {"steps": 10, "steps_cpu_s": 4.0, "cpu_ms_a_step": 450.0, "worked_cpu_s": 4.0, "process_cpu_s": 9.0}
    found = cases.CASES["P6"].figures(
        {"ours": ours, "race": race, "HF default: gradual": run, "HF tuned: gradual": run}
    )
    assert found[0].theirs == pytest.approx(4.0)


def test_on_a_gpu_the_share_of_the_product_rate_counts_real_tokens_only() -> None:
    # 100 tokens a step and 6 * 84,934,656 weights of the layers: 51 GFLOP in 1 ms are 51 TFLOP/s, half of 102.
    ours = {"wall_ms_a_step": 1.0, "tokens": 1000, "steps": 10}
    answers = {"ours": ours, "HF tuned": {"wall_ms_a_step": 1.5}}
    answers["matrix products"] = {"flop_a_second": 2 * 6 * 84_934_656 * 100 / 1e-3}
    ratio, share = cases.CASES["P7"].figures(answers)
    assert (ratio.value, share.value) == (pytest.approx(1.5), pytest.approx(50.0))


def test_memory_is_compared_on_the_same_rows() -> None:
    answers = {
        f"{side}, {rows}": {"peak_mb": peak} for side, rows, peak in (("ours", "a", 500.0), ("HF default", "a", 900.0))
    }
    (figure,) = cases.CASES["P8"].figures(answers)
    assert (figure.name, figure.value, figure.at_least) == ("HF default, a", pytest.approx(1.8), 1)


def test_labels_are_kept_as_their_share_that_equals_float32() -> None:
    answers = {"ours": {"labels": list("0110")}, "sorted by length, fp32": {"labels": list("0111")}, "model": {}}
    tidied = cases.CASES["P5"].tidied(answers)
    assert tidied["ours"] == {"same_labels": 0.75}
    assert tidied["sorted by length, fp32"] == {"same_labels": 1.0}


def test_growth_gives_an_exponent_for_each_thing_from_three_sizes() -> None:
    answers = {f"seeds {n}": {"cpu_s": 3.0 * n} for n in (1, 2, 4)}
    answers |= {f"tokens {n}": {"cpu_s": 1.0, "tokens": 100 * n} for n in (10, 40, 160)}
    found = {figure.name: figure for figure in cases.CASES["growth"].figures(answers)}
    assert found["seeds"].ours == pytest.approx(1.0)
    assert found["tokens"].ours == pytest.approx(0.0)
    assert found["tokens"].detail.startswith("1,000: 1.0 s, 4,000: 1.0 s")
