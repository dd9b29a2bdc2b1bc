"""The model card: a YAML head that nothing can break out of, and Markdown that nothing can turn into HTML."""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.report.card import render_card
from unfreeze.report.formats import tidy

sys.path.insert(0, str(Path(__file__).parent))
import sample

PAYLOADS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\n---\nlicense: mit\n<b>x</b>",
    '"\nlicense: mit\n- "',
    "```\n<script>alert(1)</script>\n```",
    "[click](javascript:alert(1))",
    "![x](//evil.example/x.png)",
    "| a | b |",
    "\\<b>",
)


class Elements(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)


def head_and_body(card):
    _, head, body = card.split("---\n", 2)
    fenced = re.compile(r"^(`{3,})python\n.*?^\1$", re.DOTALL | re.MULTILINE)
    return yaml.safe_load(head), fenced.sub("", body)


finished = [variant for variant in sample.VARIANTS if variant is not sample.nothing_handed_over]


@pytest.mark.parametrize("variant", finished, ids=lambda v: v.__name__)
def test_every_card_has_a_readable_head_and_names_no_licence(variant):
    head, body = head_and_body(render_card(variant()))
    assert head["library_name"] == "transformers"
    assert head["tags"][:2] == ["unfreeze", "bert"]
    assert "license" not in head
    assert re.findall("^## (.*)", body, re.MULTILINE) == [
        "Labels", "How to load it", "How it was chosen", "Scores", "Data", "Limits", "Made with",
    ]  # fmt: skip


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_text_of_the_user_changes_the_head_or_becomes_html_or_a_link(payload):
    made = sample.poisoned(payload)
    made["task"] = "classification"
    head, body = head_and_body(render_card(made))
    assert set(head) == {"library_name", "pipeline_tag", "tags", "base_model", "metrics"}
    assert head["base_model"] == tidy("sentence-transformers/all-MiniLM-L6-v2" + payload)
    assert len(head["tags"]) == 3
    assert Elements(body).found == []
    assert not re.search(r"(?<!\\)\]\(", body)
    rows = [line for line in body.splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {4, 5}


@given(st.text(max_size=40))
def test_any_name_stays_a_name(text):
    made = sample.better()
    made["handed_over"]["name"] = made["data"]["labels"][0] = made["encoder"]["name"] = text
    card = render_card(made)
    head, body = head_and_body(card)
    assert len(head["tags"]) == 3
    assert Elements(body).found == []
    card.encode("utf-8")


def test_the_base_model_is_named_where_the_hub_has_it_and_no_local_folder_is():
    made = sample.better()
    assert head_and_body(render_card(made))[0]["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    for encoder in (made["encoder"] | {"hub_id": None}, {k: v for k, v in made["encoder"].items() if k != "hub_id"}):
        assert "base_model" not in head_and_body(render_card(made | {"encoder": encoder}))[0]


def test_the_card_says_how_to_load_and_what_it_needs():
    assert "import transformers\ntransformers.AutoModelForSequenceClassification" in render_card(sample.better())
    assert "unfreeze is not needed" in render_card(sample.better())
    card = render_card(sample.not_settled())
    assert "import unfreeze.encoders.pooled\ntransformers." in card
    assert "must be installed" in card


def test_scores_stand_with_intervals_and_floors_are_named_as_such():
    card = render_card(sample.better())
    assert "| accuracy | 82.0 | 77.0 to 87.0 |" in card
    assert "| full | 83.1 | 80.5 to 85.6 | 22,713,986 |" in card
    assert "| majority class (floor) | 50.0 | 47.4 to 52.5 | – |" in card


def test_few_runs_bring_a_caution_and_a_missing_test_split_is_said():
    card = render_card(sample.one_run())
    assert "**Caution:** each way was trained in only 1 run" in card
    assert "no test split" in card
    assert "test split was opened" not in card
    assert "Caution" not in render_card(sample.better())


def test_no_file_name_stands_on_the_card():
    made = sample.better()
    made["data"]["sources"]["file"] = "/home/somebody/secret.csv"
    made["command"] = "unfreeze compare /home/somebody/secret.csv"
    assert "secret" not in render_card(made)


def test_nothing_handed_over_has_no_card():
    with pytest.raises(ValueError, match="no model"):
        render_card(sample.nothing_handed_over())
