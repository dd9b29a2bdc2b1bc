"""What is hidden: which units, how often, and what stands in their place."""

import math
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unfreeze.engine.masking import LONGEST_SPAN, SPAN_ENDS, masked, spans_among, unigram_loss, units_of
from unfreeze.errors import SettingsError
from unfreeze.plan import TASK, Masking, Objective
from unfreeze.tasks import IGNORED, Feature

UNITS = ("word", "span")
MASK, USABLE = 4, np.arange(200, 300)


def feature(length: int, spans: tuple[tuple[int, int], ...]) -> Feature:
    ids = list(range(10, 10 + length))
    inputs = {"input_ids": ids, "attention_mask": [1] * length}
    return Feature(0, inputs, (0,) * length, tuple(range(length)), spans)


def hidden(features: list[Feature], *, share: float = 0.5, seed: int = 0) -> list[Feature]:
    draw = np.random.default_rng(seed)
    return masked(features, Masking("entity", share), mask_token_id=MASK, usable=USABLE, draw=draw)


@given(seed=st.integers(0, 1000), share=st.floats(0.01, 1.0))
@settings(max_examples=50, deadline=None)
def test_only_whole_units_are_hidden_at_least_one_and_their_tokens_are_the_targets(seed: int, share: float) -> None:
    spans = ((1, 3), (4, 5), (7, 11))
    before = feature(12, spans)
    (after,) = hidden([before], share=share, seed=seed)
    ids, new = before.inputs["input_ids"], after.inputs["input_ids"]
    chosen = [span for span in spans if after.targets[span[0]] != IGNORED]
    assert chosen
    inside = {place for start, end in chosen for place in range(start, end)}
    for place in range(12):
        if place in inside:
            assert after.targets[place] == ids[place]
        else:
            assert after.targets[place] == IGNORED
            assert new[place] == ids[place]
    for start, end in chosen:  # all tokens of a unit go the same way
        kinds = {
            "mask" if new[i] == MASK else "random" if new[i] in USABLE else "same" if new[i] == ids[i] else "wrong"
            for i in range(start, end)
        }
        assert len(kinds) == 1
        assert "wrong" not in kinds
    assert after.inputs["attention_mask"] == before.inputs["attention_mask"]
    assert before.inputs["input_ids"] == list(range(10, 22)), "the text itself is left as it is"


def test_of_the_hidden_units_eight_tenths_are_masked_one_is_random_and_one_stays() -> None:
    many = [feature(4, ((1, 2), (2, 3))) for _ in range(4000)]
    found = hidden(many, share=0.5)
    kinds, chosen = Counter[str](), 0
    for before, after in zip(many, found, strict=True):
        for start, _ in before.spans:
            if after.targets[start] == IGNORED:
                continue
            chosen += 1
            new = after.inputs["input_ids"][start]
            kinds["mask" if new == MASK else "random" if new in USABLE else "same"] += 1
    # Of two units each is drawn half of the time; where none is (a quarter of the texts), one is all the same.
    expected = {"mask": 0.8, "random": 0.1, "same": 0.1}
    assert chosen / 4000 == pytest.approx(1 + 0.25, abs=4 * math.sqrt(0.2 / 4000))
    for kind, share in expected.items():
        assert kinds[kind] / chosen == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / chosen))


def text(words: int, seed: int) -> Feature:
    """A text of words of one to four tokens, between two special tokens."""
    ends = np.cumsum([1, *np.random.default_rng(seed).integers(1, 5, words)]).tolist()
    ids = list(range(10, 10 + ends[-1] + 1))
    whole = tuple(pairwise(ends))
    return Feature(0, {"input_ids": ids, "attention_mask": [1] * len(ids)}, (0,), whole_words=whole)


@given(words=st.integers(1, 40), seed=st.integers(0, 999), share=st.floats(0.01, 1.0), unit=st.sampled_from(UNITS))
def test_whole_words_are_hidden_and_special_tokens_never(words: int, seed: int, share: float, unit: Any) -> None:
    before = text(words, seed)
    draw = np.random.default_rng(seed)
    (after,) = masked([before], Masking(unit, share), mask_token_id=MASK, usable=USABLE, draw=draw)
    ids, new = before.inputs["input_ids"], after.inputs["input_ids"]
    chosen = {i for i, target in enumerate(after.targets) if target != IGNORED}
    assert chosen
    assert not chosen & {0, len(ids) - 1}
    assert all(after.targets[i] == ids[i] for i in chosen)
    assert all(new[i] == ids[i] for i in range(len(ids)) if i not in chosen)
    split = [place for place in before.whole_words if 0 < len(chosen & set(range(*place))) < place[1] - place[0]]
    assert not split
    if unit == "span":
        hidden_words = sum(start in chosen for start, _ in before.whole_words)
        assert hidden_words == max(1, round(share * words))


def test_of_the_words_a_share_is_hidden_on_average() -> None:
    draw = np.random.default_rng(0)
    many = [text(40, seed) for seed in range(200)]
    found = masked(many, Masking("word", 0.15), mask_token_id=MASK, usable=USABLE, draw=draw)
    hidden_words = sum(after.targets[start] != IGNORED for after in found for start, _ in after.whole_words)
    assert hidden_words / 8000 == pytest.approx(0.15, abs=4 * math.sqrt(0.15 * 0.85 / 8000))


def test_spans_are_apart_together_the_share_and_their_lengths_geometric() -> None:
    draw = np.random.default_rng(0)
    lengths = Counter[int]()
    for _ in range(300):
        spans = sorted(spans_among(2000, share=0.02, draw=draw))  # so few that hardly one is cut short by another
        assert all(earlier[1] <= later[0] for earlier, later in pairwise(spans))
        assert sum(end - start for start, end in spans) == 40
        lengths.update(end - start for start, end in spans)
    assert max(lengths) <= LONGEST_SPAN
    shares = np.array([SPAN_ENDS * (1 - SPAN_ENDS) ** (i - 1) for i in range(1, LONGEST_SPAN + 1)])
    expected = float((shares / shares.sum()) @ np.arange(1, LONGEST_SPAN + 1))
    assert expected == pytest.approx(3.8, abs=0.05), "what Joshi et al. give as the mean"
    found = sum(length * number for length, number in lengths.items()) / lengths.total()
    assert found == pytest.approx(expected, rel=0.08), "the last of a text is cut where the share is reached"
    assert lengths[1] / lengths[2] == pytest.approx(1 / (1 - SPAN_ENDS), rel=0.2)
    assert spans_among(1, share=0.15, draw=draw) == [(0, 1)]


def test_what_has_no_unit_takes_no_part() -> None:
    assert hidden([feature(5, ()), feature(5, ((0, 1),))])[0].spans == ((0, 1),)
    assert hidden([feature(5, ())]) == []


def test_the_same_draw_hides_the_same() -> None:
    some = [feature(9, ((1, 3), (5, 6))) for _ in range(20)]
    assert hidden(some, seed=3) == hidden(some, seed=3)
    assert hidden(some, seed=3) != hidden(some, seed=4)


def test_a_text_task_s_features_get_a_target_for_each_token() -> None:
    text = Feature(0, {"input_ids": [1, 2, 3], "attention_mask": [1, 1, 1]}, (2,), (), ((1, 2),))
    (after,) = hidden([text])
    assert after.targets == (IGNORED, 2, IGNORED)
    assert len(after.words) == 3


def test_units_are_all_tokens_that_could_be_hidden() -> None:
    assert units_of([feature(6, ((1, 3),)), feature(3, ()), feature(3, ((0, 1),))], Masking()) == [11, 12, 10]


def test_who_guesses_by_frequency_loses_the_cross_entropy_of_smoothed_frequencies() -> None:
    found = unigram_loss([1, 1, 2], [1, 2, 0], vocabulary=4)  # counts 1, 3, 2, 1 of 7
    assert found == pytest.approx(-(math.log(3 / 7) + math.log(2 / 7) + math.log(1 / 7)) / 3)


def test_a_masking_and_an_objective_say_what_they_cannot_be() -> None:
    wrong: Any = "token"
    with pytest.raises(SettingsError, match='"entity", a "word" or a "span"'):
        Masking(wrong, 0.5)
    for share in (0.0, 1.1, -0.5):
        with pytest.raises(SettingsError, match="share of the units"):
            Masking("entity", share)
    with pytest.raises(SettingsError, match="has a weight"):
        Objective(masked=1.0)
    with pytest.raises(SettingsError, match="has a weight"):
        Objective(masking=Masking())
    with pytest.raises(SettingsError, match="0 or more"):
        Objective(task=0.0)
    assert Objective() == TASK
