"""Words with their places, and the way between character spans and tags."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.data.words import overlapping_spans, spans_from_tags, split_words, tags_from_spans

AWKWARD = [
    "é",
    "e\u0301",
    "ß",
    "ﬁ",
    "❤\ufe0f",
    "👍🏽",
    "👩\u200d👧",
    "שָׁלוֹם",
    "\u0645\u0631\u062d\u0628\u0627",
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "हिन्दी",
    "日本",
    "\u00ad",
    "\u200b",
    "\ufffd",
]
TEXTS = st.lists(
    st.sampled_from([*AWKWARD, "a", "B2", " ", "\n", "\u00a0", "-", "'", "_", "\0"]) | st.characters(), max_size=20
).map("".join)


@given(TEXTS)
def test_words_stand_where_their_offsets_say_in_order_and_hold_all_that_is_visible(text):
    words, offsets = split_words(text)
    assert tuple(text[start:end] for start, end in offsets) == words
    ends = [0, *(place for pair in offsets for place in pair), len(text)]
    assert ends == sorted(ends)
    gaps = "".join(text[a:b] for a, b in zip(ends[0::2], ends[1::2], strict=True))
    assert not any(char.isprintable() and not char.isspace() for char in gaps)
    assert all(words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't pay 21.50!", ["Don", "'", "t", "pay", "21", ".", "50", "!"]),
        ("cafe\u0301 naïve", ["cafe\u0301", "naïve"]),
        ("I ❤\ufe0f it", ["I", "❤\ufe0f", "it"]),
        ("❤\ufe0fyou", ["❤\ufe0f", "you"]),
        ("👩\u200d👧", ["👩", "👧"]),
        ("שָׁלוֹם, \u0639\u0627\u0644\u0645", ["שָׁלוֹם", ",", "\u0639\u0627\u0644\u0645"]),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", ["\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"]),
        ("co\u00adop\u200b end\u200b", ["co\u00adop", "end"]),
        ("हिन्दी", ["हिन्दी"]),
        ("a_b", ["a", "_", "b"]),
        ("a\0b \0 c\x01", ["a\0b", "c"]),
        (" \n\u00a0\u200b", []),
        ("", []),
    ],
)
def test_words_are_runs_of_letters_marks_and_digits_or_single_signs(text, words):
    assert list(split_words(text)[0]) == words


@given(TEXTS, st.data())
def test_spans_on_word_boundaries_survive_to_the_character(text, data):
    offsets = split_words(text)[1]
    spans, word = [], 0
    while word < len(offsets):
        size = data.draw(st.integers(1, len(offsets) - word))
        if data.draw(st.booleans()):
            spans.append((offsets[word][0], offsets[word + size - 1][1], data.draw(st.sampled_from(["X", "Y"]))))
        word += size
    tags, cut = tags_from_spans(offsets, spans)
    assert cut == 0
    assert spans_from_tags(offsets, tags) == spans


@given(TEXTS, st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.just("X")), max_size=5))
def test_spans_that_fit_no_words_are_counted_and_the_others_are_exact(text, drawn):
    spans = [(min(a, b), max(a, b), label) for a, b, label in drawn if a != b]
    spans = [span for i, span in enumerate(spans) if not overlapping_spans([*spans[:i], span])]
    if overlapping_spans(spans):
        return
    offsets = split_words(text)[1]
    tags, cut = tags_from_spans(offsets, spans)
    starts = {start for start, _ in offsets}
    ends = {end for _, end in offsets}
    exact = [span for span in spans if span[0] in starts and span[1] in ends]
    assert set(exact) <= set(spans_from_tags(offsets, tags))
    assert cut <= len(spans) - len(exact)
    assert len(spans_from_tags(offsets, tags)) >= len(spans) - cut


OFFSETS = ((0, 6), (7, 10), (10, 11))  # "foobar baz."


@pytest.mark.parametrize(
    ("spans", "tags", "cut"),
    [
        ([(0, 6, "X")], "B-X O O", 0),
        ([(0, 10, "X")], "B-X I-X O", 0),
        ([(0, 7, "X")], "B-X O O", 0),  # a space at the end
        ([(1, 6, "X")], "B-X O O", 1),  # widened
        ([(0, 8, "X")], "B-X I-X O", 1),
        ([(0, 3, "X"), (3, 6, "Y")], "B-X O O", 2),  # one word cannot hold both
        ([(0, 3, "X"), (3, 10, "Y")], "B-X B-Y O", 2),  # the second keeps what lies wholly inside it
        ([(0, 8, "X"), (8, 11, "Y")], "B-X I-X B-Y", 2),
        ([(5, 8, "X"), (10, 11, "Y")], "B-X I-X B-Y", 1),
        ([(6, 7, "X")], "O O O", 1),  # nothing but a space: lost, and counted
        ([(10, 11, "Y"), (0, 6, "X")], "B-X O B-Y", 0),  # any order
        ([(0, 6, "X"), (7, 10, "X")], "B-X B-X O", 0),  # neighbours stay two
    ],
)
def test_spans_become_tags_and_misfits_are_counted(spans, tags, cut):
    assert tags_from_spans(OFFSETS, spans) == (tuple(tags.split()), cut)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 6)), max_size=7))
def test_overlapping_spans_are_found_exactly_where_two_share_a_character(drawn):
    spans = [(start, start + size, "X") for start, size in drawn]
    sharing = {
        j
        for j in range(len(spans))
        for i in range(len(spans))
        if i != j and spans[i][0] < spans[j][1] and spans[j][0] < spans[i][1]
    }
    pairs = overlapping_spans(spans)
    assert bool(pairs) == bool(sharing)
    assert all(spans[i][0] < spans[j][1] and spans[j][0] < spans[i][1] for i, j in pairs)
