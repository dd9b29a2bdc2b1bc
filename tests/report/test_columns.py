"""Every figure in the table of arms stands below the header that says what it is."""

import sys
from html.parser import HTMLParser
from pathlib import Path

from unfreeze.compare.numerals import points, span, whole
from unfreeze.report.formats import seconds, stored
from unfreeze.report.page import render_page

sys.path.insert(0, str(Path(__file__).parent))
import sample


class ArmsTable(HTMLParser):
    """The cells of the table of arms, a list a row."""

    def __init__(self, page):
        super().__init__()
        self.rows, self.inside = [], False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.inside = ("class", "arms") in attrs
        elif self.inside and tag == "tr":
            self.rows.append([])
        elif self.inside and tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self.inside &= tag != "table"

    def handle_data(self, text):
        if self.inside and self.rows and self.rows[-1]:
            self.rows[-1][-1] += text.replace("\xa0", " ").strip()


def test_every_figure_of_an_arm_stands_in_the_column_of_its_name():
    record = sample.better()
    for n, arm in enumerate(record["arms"]):
        arm["predict_seconds_per_1000"] = 0.5 + n  # no two figures of a line are alike
    headers, *rows = ArmsTable(render_page(record)).rows
    pairs = {pair["rival"]: pair for pair in record["recommendation"]["rivals"]}
    for arm in record["arms"]:
        (row,) = (row for row in rows if len(row) == len(headers) and row[0].startswith(arm["name"]))
        found = dict(zip(headers, row, strict=True))
        assert found["Score"] == points(arm["score"])
        assert found["95 % interval"] == span(arm["interval"])
        assert found["Seconds of a run"] == seconds(arm["train_seconds"])
        assert found["Trainable parameters"] == whole(arm["trainable_parameters"])
        assert found["To store"] == stored(arm["stored_bytes"]).replace("\xa0", " ")
        assert found["Seconds to predict 1,000"] == seconds(arm["predict_seconds_per_1000"])
        assert found["Test, not used for the choice"] == points(arm["test"]["mean"])
        if arm["name"] in pairs:
            low, high = (pairs[arm["name"]]["interval"][end] for end in ("low", "high"))
            assert found["Behind the best by"].startswith(points(pairs[arm["name"]]["difference"]) + span([low, high]))
    assert pairs
