"""The report page: complete, self-contained, and deaf to what users write."""

import json
import re
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.report.formats import tidy
from unfreeze.report.page import render_page

sys.path.insert(0, str(Path(__file__).parent))
import sample

PAYLOADS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></text></svg><iframe src=javascript:alert(1)></iframe>",
    "]]><!--<b>",
    "{{ 7*7 }}{% raw %}",
    "</style><link rel=stylesheet href=//evil.example/x>",
    "\x00\u202e<a href=//evil.example>x</a>",
    "&lt;b&gt;&#60;i&#62;",
)
VOID = {"meta", "br", "link", "img", "hr", "input"}


class Seen(HTMLParser):
    """Every element with its attributes' names, the text, and whether the tags pair up."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.open, self.text, self.values, self.stray = Counter(), [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements[(tag, tuple(sorted(key for key, _ in attrs)))] += 1
        self.values += [(key, value) for key, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.stray.append(tag)

    def handle_data(self, data):
        self.text.append(data)

    def handle_comment(self, data):
        self.elements[("comment", ())] += 1


@pytest.mark.parametrize("variant", sample.VARIANTS, ids=lambda v: v.__name__)
def test_every_variant_is_whole_html_that_loads_nothing(variant):
    seen = Seen(render_page(json.loads(json.dumps(variant()))))
    assert not seen.stray
    assert not seen.open
    tags = {tag for tag, _ in seen.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "form", "base", "a", "image", "use"}
    keys = {key for key, _ in seen.values}
    assert not keys & {"src", "href", "srcset", "style"}
    assert not any(key.startswith("on") for key in keys)
    policy = next(value for key, value in seen.values if key == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_text_of_the_user_becomes_an_element_or_an_attribute(payload):
    harmless = Seen(render_page(sample.poisoned("zzz")))
    attacked = Seen(render_page(sample.poisoned(payload)))
    assert attacked.elements == harmless.elements
    assert not attacked.stray
    assert tidy(payload) in "".join(attacked.text)


@given(st.text(min_size=1, max_size=30))
def test_no_text_at_all_changes_what_the_page_is_made_of(text):
    made = sample.better()
    before = Seen(render_page(made)).elements
    made["data"]["labels"][0] = made["data"]["sources"]["file"] = made["encoder"]["name"] = made["command"] = text
    made["arms"][0]["summary"] = made["arms"][1]["name"] = made["recommendation"]["rivals"][0]["rival"] = text
    page = render_page(made)
    assert Seen(page).elements == before
    page.encode("utf-8")


@pytest.mark.parametrize(
    ("variant", "label"),
    [(sample.better, "Better"), (sample.tie, "Tie"), (sample.not_settled, "Not settled"),
     (sample.nothing_handed_over, "No verdict")],
)  # fmt: skip
def test_the_verdict_comes_first_with_all_its_sentences(variant, label):
    made = variant()
    text = "\n".join(Seen(render_page(made)).text)
    start = text.index(label, text.index("unfreeze report ·"))
    places = [text.index(sentence, start) for sentence in made["recommendation"]["sentences"]]
    assert places == sorted(places)
    assert places[-1] < text.index("What is handed over")


def test_the_sections_stand_in_the_order_of_a_readers_questions():
    headings = re.findall(r"<h2[^>]*>([^<]+)", render_page(sample.better()))
    assert headings == [
        "What is handed over", "All arms", "Scores with their intervals", "Score against cost", "Learning curves",
        "Tuning", "Data", "Settings and versions", "To repeat it, and what to try next", "What the words mean",
    ]  # fmt: skip


def test_few_runs_bring_a_caution_and_many_do_not():
    assert "Caution" in render_page(sample.one_run())
    assert "Caution" not in render_page(sample.better())


def test_whatever_is_wrong_with_an_arm_stands_beside_it_with_its_reason():
    made = sample.not_settled()
    made["arms"][1]["diverged_runs"] = 2
    page = render_page(made)
    for word, reason in (
        ("starved", "its best learning rate is the highest tried"),
        ("collapsed", "1 of 3 runs gave one label to every text"),
        ("short memory", "in 1 of 3 runs batches were cut in parts; no gradient differs"),
        ("diverged", "2 of 3 runs stopped at a loss that was not finite"),
        ("dropped", "does not fit the budget"),
        ("failed", "the loss was not finite in every run"),
    ):
        assert f'<span class="mark">{word}</span> {reason}' in page


def test_figures_are_in_points_and_test_scores_are_marked_as_not_used():
    page = render_page(sample.better())
    assert ">83.1<" in page
    assert ">80.5 to 85.6<" in page
    assert "Test, not used for the choice" in page
    assert '<td class="number unused">82.4</td>' in page


def test_floors_stand_in_a_group_of_their_own_below_the_arms():
    page = render_page(sample.floor_wins())
    table = page[page.index('<table class="arms">') : page.index("</table>", page.index('<table class="arms">'))]
    assert table.index(">head-only<") < table.index("never handed over") < table.index(">TF-IDF + linear<")
    assert "is not shown to beat this floor" in page


def test_a_floor_that_lies_ahead_is_said_to_with_its_interval_turned():
    made = sample.floor_wins()
    pair = next(p for p in made["recommendation"]["floors"] if p["rival"] == "TF-IDF + linear")
    pair |= {"difference": -0.276, "interval": pair["interval"] | {"low": -0.301, "high": -0.25}}
    page = render_page(made)
    assert '27.6 ahead<span class="under">25.0 to 30.1</span>' in page
    assert page.count(" ahead<") == 1


def test_it_says_what_it_took_in_how_many_goes_and_why_nothing_is_handed_over():
    made = sample.better()
    assert "Planned: at most 13 min. Took: 13 min.<" in render_page(made)
    assert "Took: 13 min.<" in render_page(made | {"goes": 1})
    assert "Took: 13 min in 3 goes.<" in render_page(made | {"goes": 3})
    nothing = sample.nothing_handed_over()
    assert "Nothing: floors are never handed over, and no other arm finished.<" in render_page(nothing)
    diverged = nothing | {"not_handed_over": "full, trained on all rows that are not test: the loss became nan"}
    assert "Nothing: full, trained on all rows that are not test: the loss became nan.<" in render_page(diverged)


def test_no_line_breaks_between_a_number_and_its_percent_sign():
    shown = "\n".join(Seen(render_page(sample.floor_wins() | {"data": sample.data(1, "ab") | {"splits": ""}})).text)
    assert "95\u00a0% interval" in shown
    assert not re.search(r"\d[ \n]%", shown)


def test_what_was_lost_is_listed_with_line_numbers():
    page = render_page(sample.better())
    assert "2 of 1,000 texts cut at 512 tokens" in page
    assert "(lines 17, 90)" in page
    assert "20, 21 …)" in page


def test_tables_name_their_headers_and_figures_have_titles():
    page = render_page(sample.better())
    assert not re.findall(r"<th(?![^>]*scope=)[ >]", page)
    assert len(re.findall(r"<svg[^>]*role=\"img\"", page)) == len(re.findall(r"<svg[^>]*><title>", page)) == 7


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("unfreeze compare a.csv --model x/y --seed 5", "unfreeze compare a.csv --seed 5 --model N --output-dir O"),
        ("unfreeze compare 'a b.csv' --output-dir=z", "unfreeze compare 'a b.csv' --model N --output-dir O"),
        ("unfreeze demo", "unfreeze compare YOUR_FILE.csv --model N --output-dir O"),
        ("unfreeze compare 'broken", "unfreeze compare YOUR_FILE.csv --model N --output-dir O"),
    ],
)
def test_the_next_command_is_this_one_with_another_encoder(command, expected):
    from unfreeze.report.view import view

    made = sample.better() | {"command": command}
    expected = expected.replace(" N ", " google-bert/bert-base-uncased ").replace(" O", " unfreeze-other-encoder")
    assert view(made)["next_command"] == expected


def test_tries_that_differ_in_their_epochs_alone_can_be_told_apart():
    made = sample.better()
    made["arms"][0]["tuning"] = [made["arms"][0]["tuning"][0] | {"num_train_epochs": n} for n in (8, 3)]
    page = render_page(made)
    assert re.findall(r'<td class="number">2e-5</td><td class="number">(\d)</td>', page)[:2] == ["8", "3"]


def test_the_sentence_on_the_splits_stands_once():
    page = render_page(sample.better())
    assert page.count("Made here (seed 0)") == 1
    assert "What was recognised" in page
    made = sample.better()
    made["data"]["says"] = made["data"]["says"][1:]
    assert "What was recognised" not in render_page(made)


def test_unequal_numbers_of_trials_are_said_aloud():
    made = sample.better()
    assert "had the same budget: 6 trials at the most, of a grid." in render_page(made)
    made["settings"]["search"] = "random"
    made["arms"][0] |= {"tuning_trials": 8}
    assert "drawn at random from its own ranges; trials at the most: full 8, gradual 6," in render_page(made)
    for arm in made["arms"]:
        arm["tuning"] = []
    assert "No arm had settings to choose." in render_page(made)


def test_the_tried_settings_that_differ_are_columns_and_the_others_are_not():
    from unfreeze.report.tuning import tuning_table

    usual = {"learning_rate": 1e-4, "pooling": "standard", "layers": 1, "patience": 3, "score": 0.5}
    tried = [usual, usual | {"per_device_train_batch_size": 32, "optim": "sgd", "score": None}]
    table = tuning_table(
        {"name": "full", "tuning": [t | {"per_device_train_batch_size": 16, "optim": "adamw"} | t for t in tried]}
    )
    assert table["columns"] == [("Learning rate", True), ("Batch size", True), ("Optimizer", False), ("Score", True)]
    assert table["rows"] == [["0.0001", "16", "adamw", "50.0"], ["0.0001", "32", "sgd", "–"]]
    alone = tuning_table({"name": "full", "tuning": [usual]})
    assert [title for title, _ in alone["columns"]] == ["Learning rate", "Score"]


def test_a_model_that_reloads_to_other_logits_is_not_passed_over():
    made = sample.better()
    made["handed_over"]["reload_check"] = {"equal": False, "largest_difference": 0.3}
    assert "gives other logits" in render_page(made)


def test_optimizer_and_loss_are_told_where_they_are_not_the_usual_ones():
    usual = sample.better()
    for arm in usual["arms"]:
        if arm["settings"]:
            arm["settings"] |= {"optim": "adamw", "label_smoothing_factor": 0.0, "class_weights": "none"}
    page = render_page(usual)
    assert page == render_page(sample.better())
    assert "Optimizer: AdamW with bias correction, warm-up" in page
    other = json.loads(json.dumps(usual))
    for arm in other["arms"]:
        if arm["settings"]:
            arm["settings"] |= {"optim": "sgd", "class_weights": "balanced"}
    page = render_page(other)
    assert "Optimizer: SGD with momentum 0.9" in page
    assert "AdamW" not in page
    assert page.count("<span>optim sgd</span><span>class_weights balanced</span>") > 1


def test_a_decay_towards_the_start_is_told_and_where_nothing_decays_so_that_too():
    made = json.loads(json.dumps(sample.better()))
    said = "no weight decays towards its start"
    assert said not in render_page(made)
    for arm in made["arms"]:
        if arm["settings"]:
            arm["settings"]["weight_decay_towards"] = "pretrained"
            arm["pulled_back"] = 100 if arm["name"] == made["recommendation"]["best"] else 0
    page = render_page(made)
    others = sum(bool(arm["settings"]) for arm in made["arms"]) - 1
    assert others > 0
    assert page.count(said) == others
    assert page.count("<span>weight_decay_towards pretrained</span>") == others + 1


def test_what_gates_decided_is_told_a_line_each():
    made = json.loads(json.dumps(sample.better()))
    arm = next(arm for arm in made["arms"] if arm["name"] == made["recommendation"]["best"])
    asked = {"start": 0.3, "opens": "layers 4–5"}
    arm["gates"] = [
        asked | {"opened": True, "because": "good, below the target", "runs": 2, "scores": [0.712, 0.7]},
        asked | {"opened": False, "because": "the target is reached", "runs": 1, "scores": [0.961]},
    ]
    arm["runs"] = 3
    page = " ".join(render_page(made).split())
    opened = "layers 4–5 opened in 2 of 3 runs, at 70.0 to 71.2 points: good, below the target"
    assert f"30 % into training, {opened}" in page.replace("\u202f", " ").replace("\xa0", " ")
    assert "stayed frozen, and training ended there in 1 of 3 runs, at 96.1 points: the target is reached" in page
