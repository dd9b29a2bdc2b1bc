"""Figures: everything that has a score is in them, inside the drawing, and readable."""

import sys
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.report.figures import cost_chart, interval_chart, learning_curves

sys.path.insert(0, str(Path(__file__).parent))
import sample


def parsed(svg):
    return ET.fromstring(str(svg))


def of_class(root, tag, *words):
    return [e for e in root.iter(tag) if set(words) <= set((e.get("class") or "").split())]


def test_the_interval_chart_shows_every_scored_arm_best_first_and_floors_last():
    root = parsed(interval_chart(sample.not_settled()))
    names = [e.text for e in of_class(root, "text", "name")]
    floors = ["TF-IDF + linear", "untouched", "scratch", "majority class"]
    assert names == ["full", "gradual", "last-k", "head-only", *floors]
    assert [e.text for e in of_class(root, "text", "name", "chosen")] == ["full"]
    assert len(of_class(root, "circle", "floor")) == 4


def test_bars_reach_from_end_to_end_of_their_intervals_on_the_labelled_axis():
    root = parsed(interval_chart(sample.better()))
    ticks = {float(e.text): float(e.get("x")) for e in of_class(root, "text", "tick")}
    (low, left), (high, right) = min(ticks.items()), max(ticks.items())
    bar = of_class(root, "line", "bar", "chosen")[0]
    value = [low + (float(bar.get(x)) - left) / (right - left) * (high - low) for x in ("x1", "x2")]
    assert value == pytest.approx([80.5, 85.6], abs=0.1)


def test_the_cost_chart_keeps_names_apart_and_has_a_logarithmic_axis():
    root = parsed(cost_chart(sample.better()))
    boxes = []
    for e in of_class(root, "text", "name"):
        x, y, width = float(e.get("x")), float(e.get("y")), 6.6 * len(e.text)
        boxes.append((x - width if e.get("text-anchor") == "end" else x, y, width))
    assert len(boxes) == 8
    for i, (x, y, width) in enumerate(boxes):
        assert x >= 0
        assert x + width <= 690
        assert not any(x < u + w and u < x + width and abs(y - v) < 13 for u, v, w in boxes[:i])
    ticks = [float(e.get("x")) for e in of_class(root, "text", "tick") if e.get("text-anchor") == "middle"]
    assert len({round(b - a, 0) for a, b in pairwise(ticks)}) == 1


def test_each_trained_arm_has_a_curve_with_a_line_a_run():
    curves = dict(learning_curves(sample.tie()))
    assert list(curves) == ["full", "gradual", "last-k", "head-only", "scratch"]
    assert len(list(parsed(curves["full"]).iter("polyline"))) == 5


def test_scores_that_were_no_number_leave_a_gap_and_no_score_at_all_leaves_no_figure():
    made = sample.better()
    points = made["arms"][0]["curves"][0]["points"]
    points[2]["score"] = None
    lines = list(parsed(dict(learning_curves(made))["full"]).iter("polyline"))
    assert len(lines[0].get("points").split()) == len(points) - 1
    made["arms"] = [sample.absent("full", "failed", "x")]
    assert interval_chart(made) is None
    assert cost_chart(made) is None
    assert learning_curves(made) == []


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 0.5), st.floats(0, 1e7)), min_size=1, max_size=12))
def test_whatever_the_figures_everything_stays_inside_the_drawing(values):
    made = sample.better()
    made["arms"] = []
    for place, (score, half, seconds) in enumerate(values):
        row = sample.arm((f"arm {place}", None, score, score, seconds, 5, "x"), floor=place % 3 == 2)
        made["arms"].append(row | {"interval": [score - half, score + half]})
    for svg in (interval_chart(made), cost_chart(made)):
        root = parsed(svg)
        width, height = (float(v) for v in root.get("viewBox").split()[2:])
        for e in root.iter():
            assert all(-1 <= float(e.get(k)) <= width + 1 for k in ("x1", "x2", "cx") if e.get(k))
            assert all(-1 <= float(e.get(k)) <= height + 1 for k in ("y1", "y2", "cy") if e.get(k))
