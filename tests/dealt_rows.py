"""Rows to be dealt into splits: keys, strata and groups, some of them equal."""

from typing import Any

from hypothesis import strategies as st


@st.composite
def datasets(draw: st.DrawFn) -> dict[str, Any]:
    """Sixty to 120 rows, of which some share a text or a group."""
    n = draw(st.integers(60, 120))
    texts = st.integers(0, draw(st.sampled_from([40, 10_000])))
    groups = st.none() | st.integers(0, 200).map(str)
    return {
        "keys": [f"text {draw(texts)}" for _ in range(n)],
        "strata": [f"c{i % 3}" for i in range(n)],
        "groups": [draw(groups) for _ in range(n)],
    }
