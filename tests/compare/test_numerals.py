"""How numbers are written for people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.compare import numerals


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (numerals.points(0.8312), "83.1"),
        (numerals.points(-0.0001), "0.0"),
        (numerals.points(-0.013), "−1.3"),
        (numerals.points(None), "–"),
        (numerals.span([0.81, 0.8521]), "81.0 to 85.2"),
        (numerals.span((-0.2, 0.1)), "−20.0 to 10.0"),
        (numerals.span(None), "–"),
        (numerals.percent(0.95), "95\u00a0%"),
        (numerals.percent(1 - 0.05 / 3), "98.3\u00a0%"),
        (numerals.percent(0.0), "0\u00a0%"),
        (numerals.whole(22713986), "22,713,986"),
        (numerals.whole(None), "–"),
        (numerals.counted(1, "seed"), "1 seed"),
        (numerals.counted(0, "trial"), "0 trials"),
        (numerals.counted(1200, "row"), "1,200 rows"),
        (numerals.spelled(None), "–"),
        (numerals.spelled(0), "0 s"),
        (numerals.spelled(0.2), "under 1 s"),
        (numerals.spelled(1), "1 s"),
        (numerals.spelled(45.2), "45 s"),
        (numerals.spelled(90.0), "90 s"),
        (numerals.spelled(119.4), "119 s"),
        (numerals.spelled(119.6), "2 min"),
        (numerals.spelled(720.0), "12 min"),
        (numerals.spelled(3900.0), "1 h 5 min"),
        (numerals.spelled(3570.0), "1 h 0 min"),
    ],
)
def test_numbers_are_written_one_way(written, expected):
    assert written == expected


@given(st.floats(1, 1e6))
def test_a_time_in_words_is_off_by_half_a_second_below_two_minutes_and_by_half_a_minute_above(seconds):
    parts = numerals.spelled(seconds).split()
    said = sum(int(n) * {"h": 3600, "min": 60, "s": 1}[unit] for n, unit in zip(parts[::2], parts[1::2], strict=True))
    assert abs(said - seconds) <= (0.5 if said < 120 and parts[-1] == "s" else 30)
