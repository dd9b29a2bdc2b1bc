"""The floors: what they say by hand-made rows, and their known scores on real ones."""

import csv
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unfreeze.tasks._floors import chance, majority_class, tfidf_linear, token_linear


def _rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["text"] for row in rows], [row["label"] for row in rows]


def test_the_majority_class_is_the_most_frequent_and_of_equals_the_first_by_name():
    assert majority_class(["b", "a", "b"], 3) == ["b", "b", "b"]
    assert majority_class(["b", "a"], 2) == ["a", "a"]
    with pytest.raises(ValueError, match="at least one training label"):
        majority_class([], 1)


def test_chance_is_one_over_the_number_of_classes():
    assert chance(4) == 0.25
    with pytest.raises(ValueError, match="got 0"):
        chance(0)


def test_tfidf_learns_words_and_pairs_and_gives_strings():
    texts = ["good film", "bad film", "not good", "very good"] * 5
    labels = ["1", "0", "0", "1"] * 5
    assert tfidf_linear(texts, labels, texts=["a good film", "not good at all"]) == ["1", "0"]


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.text(max_size=8), st.sampled_from("abc")), min_size=1, max_size=8),
    st.lists(st.text(max_size=8), max_size=3),
)
def test_tfidf_labels_any_text_with_a_training_label_and_repeats_itself(rows, texts):
    train = [text for text, _ in rows]
    labels = [label for _, label in rows]
    given_labels = tfidf_linear(train, labels, texts=texts)
    assert len(given_labels) == len(texts)
    assert set(given_labels) <= set(labels)
    assert given_labels == tfidf_linear(train, labels, texts=texts)


def test_tfidf_without_a_word_in_training_says_the_majority():
    assert tfidf_linear(["", " "], ["x", "x"], texts=["word"]) == ["x"]
    with pytest.raises(ValueError, match="one label a training text"):
        tfidf_linear(["a"], [], texts=["b"])


@pytest.mark.parametrize(("folder", "known"), [("cls_customer_reviews", 0.825)])
def test_tfidf_reaches_its_known_accuracy_on_real_reviews(shared_data, folder, known):
    test_texts, gold = _rows(shared_data / folder / "test.csv")
    found = tfidf_linear(*_rows(shared_data / folder / "train.csv"), texts=test_texts)
    accuracy = sum(a == b for a, b in zip(found, gold, strict=True)) / len(gold)
    assert accuracy == pytest.approx(known, abs=0.02)


SENTENCES = [["Mr", "Smith", "met", "Anna"], ["the", "dog", "of", "Anna"], ["rain", "fell", "on", "Paris"]] * 6
TAGS = [["O", "B-PER", "O", "B-PER"], ["O", "O", "O", "B-PER"], ["O", "O", "O", "B-LOC"]] * 6


def test_token_linear_tags_every_word_and_knows_training_words():
    found = token_linear(
        SENTENCES, TAGS, sentences=[["rain", "fell", "on", "Paris"], [], ["Mr", "Smith", "met", "Anna"]]
    )
    assert found == [("O", "O", "O", "B-LOC"), (), ("O", "B-PER", "O", "B-PER")]


def test_token_linear_never_continues_an_entity_that_was_not_begun():
    words = [["New", "York", "City"], ["York"], ["of", "York", "City"]]
    tags = [["B-LOC", "I-LOC", "I-LOC"], ["O"], ["O", "O", "O"]]
    found = token_linear(words[:2] * 8, tags[:2] * 8, sentences=[*words, ["City", "of", "New", "York", "York"]])
    assert found[0] == ("B-LOC", "I-LOC", "I-LOC")
    for row in found:
        for before, tag in zip(("O", *row), row, strict=False):
            assert not tag.startswith("I-") or before[2:] == tag[2:]


def test_token_linear_with_one_tag_or_nothing_to_tag_does_not_fail():
    assert token_linear([["a", ""]], [["O", "O"]], sentences=[["b", "\u200b"]]) == [("O", "O")]
    assert token_linear(SENTENCES, TAGS, sentences=[]) == []
    assert token_linear(SENTENCES, TAGS, sentences=[[""]])[0][0] in Counter(tag for row in TAGS for tag in row)


def test_token_linear_refuses_words_without_tags():
    with pytest.raises(ValueError, match="one tag a word"):
        token_linear([["a", "b"]], [["O"]], sentences=[])
    with pytest.raises(ValueError, match="at least one training word"):
        token_linear([[]], [[]], sentences=[["a"]])
    with pytest.raises(ValueError, match="IOB2"):
        token_linear([["Anna"]], [["I-PER"]], sentences=[["a"]])


def _iob2(tags):
    """IOB1, as the file has it, to IOB2."""
    return [
        f"B-{tag[2:]}" if tag != "O" and before[2:] != tag[2:] else tag
        for before, tag in zip(["O", *tags], tags, strict=False)
    ]


def test_token_linear_finds_entities_in_real_sentences_far_above_nothing(shared_data):
    sentences = (shared_data / "ner_wikigold" / "train.txt").read_text(encoding="utf-8").split("\n\n")
    rows = [[line.split() for line in sentence.splitlines() if line.strip()] for sentence in sentences]
    rows = [row for row in rows if row][:400]
    words = [[row[0] for row in sentence] for sentence in rows]
    tags = [_iob2([row[-1] for row in sentence]) for sentence in rows]
    found = [tag for sentence in token_linear(words[:300], tags[:300], sentences=words[300:]) for tag in sentence]
    gold = [tag for sentence in tags[300:] for tag in sentence]
    inside = [(a[2:], b[2:]) for a, b in zip(found, gold, strict=True) if b != "O"]
    assert sum(a == b for a, b in inside) / len(inside) > 0.3
