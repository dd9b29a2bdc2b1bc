"""Words as tokens and back: nothing is lost, nothing is said twice, whatever the tokenizer."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny import FAMILIES
from unfreeze.data.example import Example
from unfreeze.data.tags import spans_of
from unfreeze.tasks import IGNORED
from unfreeze.tasks._windows import windows_of
from unfreeze.tasks.ner import NamedEntities

TASK = NamedEntities(("O", "B-LOC", "I-LOC", "B-PER", "I-PER"))
AWKWARD = [
    "", " ", "\u2028", "\u200b", "\u00ad", "\x00", "\ufffd", "a\u00adb", "\u200dx", "\ufe0f", "e\u0301", "\u0301",
    "Zoë", "👩🏽\u200d🚀", "🇨🇭", "北京市", "שלום", "مرحبا", "\u202eabc", "don't", "New York", "[SEP]", "</s>", "<mask>",
    "▁", "x" * 40, "Donaudampfschifffahrt" * 8, "\n", "\t", "Ġ", "A", "the", "boat", ".", "12,345.6", "ﬁ", "İ", "ß",
]  # fmt: skip
"""What people really have in their files, and what tokenizers drop, split, merge or take for their own."""


def sentence(words, tags=None):
    return Example(" ".join(words), None if tags is None else tuple(tags), tuple(words))


def valid(tags):
    """Random tags made valid IOB2 by dropping an inside tag that continues nothing."""
    out = []
    for tag in tags:
        ok = not tag.startswith("I-") or (out and out[-1][2:] == tag[2:] and out[-1] != "O")
        out.append(tag if ok else "O")
    return tuple(out)


def as_logits(features):
    """Logits of a model that says each target, and something else wherever nothing is asked."""
    out = []
    for feature in features:
        logits = np.zeros((feature.length, len(TASK.labels)), np.float32)
        logits[:, 3] = 5.0
        for place, target in enumerate(feature.targets):
            if target != IGNORED:
                logits[place] = np.eye(len(TASK.labels))[target] * 9
        out.append(logits)
    return out


SENTENCES = st.lists(
    st.tuples(st.sampled_from(AWKWARD) | st.text(max_size=6), st.sampled_from(TASK.labels)), max_size=60
)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=12)
@given(rows=st.lists(SENTENCES, min_size=1, max_size=3))
def test_each_word_with_a_token_speaks_once_and_gold_tags_come_back(encoder_of, family, rows):
    encoder = encoder_of(family)
    examples = [sentence([w for w, _ in row], valid([t for _, t in row])) for row in rows]
    encoded = TASK.encode(examples, encoder)
    speaking = Counter((f.example, word) for f in encoded.features for word in f.words if word >= 0)
    assert set(speaking.values()) <= {1}
    words_alone = encoder.for_words().tokenizer
    for i, example in enumerate(examples):
        with_token = {w for w, _ in enumerate(example.words) if (i, w) in speaking}
        for w, word in enumerate(example.words):
            alone = words_alone([word], is_split_into_words=True, add_special_tokens=False)["input_ids"]
            assert (w in with_token) == bool(alone), word
    for feature in encoded.features:
        assert feature.length <= encoder.window
        assert len(feature.words) == len(feature.targets) == feature.length
        assert {len(values) for values in feature.inputs.values()} == {feature.length}
    decoded = TASK.decode(examples, encoded.features[::-1], logits=as_logits(encoded.features)[::-1])
    for i, (example, prediction) in enumerate(zip(examples, decoded, strict=True)):
        heard = [
            (tag, said)
            for w, (tag, said) in enumerate(zip(example.target, prediction.value, strict=True))
            if (i, w) in speaking
        ]
        assert all(said == tag for tag, said in heard)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_inputs_of_a_short_sentence_are_the_tokenizers_own(encoder_of, family):
    encoder = encoder_of(family)
    words = ["Anna", "Berg", "works", "in", "Öslo", "."]
    own = encoder.for_words().tokenizer([words], is_split_into_words=True)
    (feature,) = TASK.encode([sentence(words)], encoder).features
    assert {key: list(values) for key, values in feature.inputs.items()} == {k: v[0] for k, v in own.items()}
    first = [own.word_ids(0).index(w) for w in range(len(words))]
    assert [place for place, word in enumerate(feature.words) if word >= 0] == first
    assert set(feature.targets) == {IGNORED}


@given(
    st.integers(2, 60).flatmap(lambda room: st.tuples(st.just(room), st.lists(st.integers(0, room // 2), max_size=120)))
)
@settings(max_examples=300)
def test_windows_speak_for_every_word_once_within_their_room(case):
    room, lengths = case
    windows = windows_of(lengths, room)
    assert [w for window in windows for w in range(window.first, window.last)] == list(range(len(lengths)))
    assert (windows[0].start, windows[-1].end) == (0, len(lengths))
    for window in windows:
        assert sum(lengths[window.start : window.end]) <= room
        assert window.start <= window.first <= window.last <= window.end
    for left, right in pairwise(windows):
        assert left.start < right.start <= left.end < right.end
        shared = sum(lengths[right.start : left.end])
        assert shared <= room // 4
        before = lengths[right.start - 1]
        assert shared + before > room // 4 or right.start - 1 == left.start  # as much is shared as may be
        assert left.last - right.start in {(left.end - right.start) // 2, (left.end - right.start + 1) // 2}
        assert sum(lengths[left.start : left.end]) + lengths[left.end] > room  # no window ends early


def test_every_word_is_spoken_for_with_context_on_both_sides():
    room = 40
    for left, right in pairwise(windows_of([1] * 500, room)):
        assert left.end - left.last == right.first - right.start == room // 8


def test_where_windows_are_cut_does_not_depend_on_the_tags(encoder_of):
    words = [f"boat{i}" for i in range(300)]
    plain = TASK.encode([sentence(words, ["O"] * 300)], encoder_of("bert")).features
    tagged = TASK.encode([sentence(words, ["B-PER", "I-PER", "I-PER"] * 100)], encoder_of("bert")).features
    unknown = TASK.encode([sentence(words)], encoder_of("bert")).features
    assert [(f.inputs, f.words) for f in plain] == [(f.inputs, f.words) for f in tagged]
    assert [(f.inputs, f.words) for f in plain] == [(f.inputs, f.words) for f in unknown]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_spans_of_a_feature_are_all_tokens_of_the_entities_that_it_speaks_for(encoder_of, family):
    words = ["The", "Harbour", "extraordinarily", "Anna", "Berg", "in", "Oslo"] * 30
    tags = ["O", "B-PER", "I-PER", "B-PER", "I-PER", "O", "B-PER"] * 30
    (whole,) = TASK.encode([sentence(words[:7], tags[:7])], encoder_of(family)).features
    firsts = [whole.words.index(word) for word in (1, 3, 5, 6)]
    end = whole.length - (whole.length - whole.words.index(6) - (whole.spans[2][1] - whole.spans[2][0]))
    assert whole.spans == ((firsts[0], firsts[1]), (firsts[1], firsts[2]), (firsts[3], end))
    ids = whole.inputs["input_ids"]
    tokenizer = encoder_of(family).tokenizer
    assert [tokenizer.decode(ids[a:b]).replace(" ", "").lower() for a, b in whole.spans] == [
        "harbourextraordinarily", "annaberg", "oslo"
    ]  # fmt: skip
    features = TASK.encode([sentence(words, tags)], encoder_of(family)).features
    assert len(features) > 1
    for feature in features:
        for start, stop in feature.spans:
            assert 0 < start < stop < feature.length, "special tokens are never hidden"
            first = feature.words[start]
            assert first >= 0
            assert tags[first] == "B-PER"
    spoken = [f.words[start] for f in features for start, _ in f.spans]
    assert len(spoken) == len(set(spoken)), "no entity is hidden in two windows"
    assert not TASK.encode([sentence(words[:7])], encoder_of(family)).features[0].spans


@pytest.mark.parametrize("family", FAMILIES)
def test_every_word_of_the_data_is_a_whole_word_of_one_window(encoder_of, family):
    words = ["Anna", "works", "harbours", "[SEP]", "", "\u200b", "don't", "wonderful"] * 12
    encoder = encoder_of(family)
    special = set(encoder.tokenizer.all_special_ids)
    features = TASK.encode([sentence(words)], encoder).features
    assert len(features) > 1
    said = []
    for feature in features:
        ids = feature.inputs["input_ids"]
        for start, end in feature.whole_words:
            assert not special & set(ids[start:end])
            assert feature.words[start] >= 0
            assert all(word == -1 for word in feature.words[start + 1 : end])
            said.append(feature.words[start])
    assert said == sorted(set(said))
    assert set(said) >= {i for i, word in enumerate(words) if word.isascii() and word not in ("", "[SEP]")}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sentence_of_two_thousand_words_loses_no_entity(encoder_of, family):
    generator = np.random.default_rng(1)
    words = [str(generator.choice(["Anna", "Berg", "boat", "harbour", "Geneva", "."])) for _ in range(2000)]
    tags = valid([TASK.labels[i] for i in generator.integers(0, 5, 2000)])
    encoded = TASK.encode([sentence(words, tags)], encoder_of(family))
    said = Counter(TASK.labels[t] for f in encoded.features for t in f.targets if t != IGNORED)
    assert said == Counter(tags)
    (back,) = TASK.decode([sentence(words, tags)], encoded.features, logits=as_logits(encoded.features))
    assert spans_of(back.value) == spans_of(tags)
    (count,) = encoded.counts
    assert (count.number, count.of) == (1, 1)
    assert f"window of {encoder_of(family).window} tokens" in count.what


@pytest.mark.parametrize("family", ["bert", "roberta", "deberta-v3"])
@settings(max_examples=10)
@given(a=SENTENCES, b=SENTENCES)
def test_a_sentence_is_encoded_alike_whatever_its_neighbours(encoder_of, family, a, b):
    first, second = (sentence([w for w, _ in row], valid([t for _, t in row])) for row in (a, b))
    alone = TASK.encode([first], encoder_of(family)).features
    among = TASK.encode([second, first, second], encoder_of(family)).features
    bare = [(f.inputs, f.targets, f.words) for f in alone]
    assert [(f.inputs, f.targets, f.words) for f in among if f.example == 1] == bare


def test_words_without_a_token_and_words_that_are_cut_are_counted(encoder_of):
    encoder = encoder_of("bert")
    rows = [sentence(["Anna", "\u200b", "\x00"]), sentence(["boat"]), sentence(["x" * 40, "boat"])]
    silent, cut = TASK.encode(rows, encoder).counts
    assert (silent.number, silent.of, silent.what) == (2, 6, "words give no token, so their tag is always O")
    assert (cut.number, cut.of) == (1, 3)
    assert "longer than half" in cut.what
    predicted = TASK.decode(
        rows, TASK.encode(rows, encoder).features, logits=as_logits(TASK.encode(rows, encoder).features)
    )
    assert predicted[0].value[1:] == ("O", "O")
    assert [len(p.value) for p in predicted] == [3, 1, 2]


def test_sentences_without_words_give_a_feature_and_no_tags(encoder_of):
    examples = [sentence([]), sentence(["Anna"]), sentence([])]
    features = TASK.encode(examples, encoder_of("bert")).features
    assert [f.example for f in features] == [0, 1, 2]
    assert [len(p.value) for p in TASK.decode(examples, features, logits=as_logits(features))] == [0, 1, 0]
    assert TASK.encode([], encoder_of("bert")).features == ()


def test_tags_that_training_has_not_shown_are_not_learned(encoder_of):
    (feature,) = TASK.encode([sentence(["Anna", "boat"], ["B-ORG", "O"])], encoder_of("bert")).features
    assert [t for w, t in zip(feature.words, feature.targets, strict=True) if w >= 0] == [IGNORED, 0]
    assert TASK.unseen(sentence(["Anna"], ["B-ORG"])) == "ORG"
    assert TASK.unseen(sentence(["Anna"], ["B-PER"])) is None
