"""How numbers are written for people, one way for each: in sentences, in tables of the terminal, in the report."""

from collections.abc import Sequence

NOTHING = "–"
"""Stands where there is no figure."""


def points(fraction: float | None) -> str:
    """A score or difference (a fraction) in points with one decimal, never -0.0; the minus is a real one."""
    return NOTHING if fraction is None else f"{round(100 * fraction, 1) + 0.0:.1f}".replace("-", "−")


def span(interval: Sequence[float] | None) -> str:
    """An interval (fractions) in points: "81.0 to 85.2"."""
    return NOTHING if interval is None else f"{points(interval[0])} to {points(interval[1])}"


def percent(share: float) -> str:
    """A share or a confidence level as people say it: "95 %", "97.5 %"; no line breaks before the sign."""
    return f"{100 * share:.3g}\u00a0%"


def whole(value: float | None) -> str:
    """A whole number with thousands set apart."""
    return NOTHING if value is None else f"{value:,.0f}"


def counted(number: int, noun: str) -> str:
    """A number and its noun: "1 seed", "3 seeds"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def sized(number: int) -> str:
    """A number of bytes as people say it: "3.1 GB", "850 MB", "2 GB"."""
    unit, name = (1e9, "GB") if number >= 1e9 else (1e6, "MB")
    return f"{number / unit:.{1 if number >= 1e9 else 0}f}".removesuffix(".0") + f" {name}"


def spelled(seconds: float | None) -> str:
    """A time as people say it: "under 1 s", "90 s", "12 min", "1 h 5 min"."""
    if seconds is None:
        return NOTHING
    if 0 < seconds < 1:
        return "under 1 s"
    if round(seconds) < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def listed(names: Sequence[str]) -> str:
    """Names as people say them: "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def capitalised(text: str) -> str:
    """A text with a capital at its beginning, all else as it is."""
    return text[:1].upper() + text[1:]
