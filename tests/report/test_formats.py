"""How figures are written."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.engine.settings import TrainingSettings
from unfreeze.report import formats


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (formats.seconds(0.4), "0.40"),
        (formats.seconds(55.21), "55.2"),
        (formats.seconds(1234.5), "1,234"),
        (formats.seconds(None), "–"),
        (formats.stored(90855944), "90.9 MB"),
        (formats.stored(3100), "3.1 kB"),
        (formats.stored(999_900_000), "1,000 MB"),
        (formats.stored(5), "5 B"),
        (formats.stored(None), "–"),
        (formats.setting(2e-5), "2e-5"),
        (formats.setting(None), "–"),
        (formats.setting(True), "yes"),
        (formats.setting({"a": 1.0, "b": ["x", "y"]}), "a 1, b x, y"),
        (formats.metric_name("macro_f1"), "macro F1"),
    ],
)
def test_figures_are_written_one_way(written, expected):
    assert written == expected


def test_settings_are_shown_but_for_what_is_unknown_and_for_the_usual_optimizer_and_loss():
    usual = {"learning_rate": 2e-5, "layers": None, "weight_decay": 0.0}
    loss = {"optim": "adamw", "label_smoothing_factor": 0.0, "class_weights": "none"}
    assert formats.shown_settings(usual | loss) == {"learning_rate": "2e-5", "weight_decay": "0"}
    other = {"optim": "sgd", "label_smoothing_factor": 0.1, "class_weights": "balanced"}
    assert formats.shown_settings(other) == {
        "optim": "sgd",
        "label_smoothing_factor": "0.1",
        "class_weights": "balanced",
    }
    assert formats.shown_settings(None) == {}


def test_what_is_usual_is_what_settings_are_by_default():
    names = ("optim", "label_smoothing_factor", "class_weights", "weight_decay_towards")
    assert formats.shown_settings({name: getattr(TrainingSettings(), name) for name in names}) == {}


@given(st.text())
def test_tidy_text_is_one_line_without_control_characters(text):
    tidied = formats.tidy({text: [text, 1, None]})
    assert list(tidied.values()) == [[next(iter(tidied)), 1, None]]
    shown = next(iter(tidied))
    assert len(shown) == len(text)
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in shown)
    assert formats.tidy(shown) == shown


def test_marks_that_turn_the_direction_of_writing_are_made_visible():
    assert formats.tidy("a\u202eb\u2066c\nd") == "a\ufffdb\ufffdc d"
