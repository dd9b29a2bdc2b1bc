"""The most probable valid tags, against trying every sequence."""

from itertools import product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.data.tags import repair_iob2
from unfreeze.tasks._decoding import most_probable_tags

LABELS = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")


@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_the_tags_are_the_best_of_all_valid_sequences(words: int, seed: int) -> None:
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(len(LABELS)) * 0.5, size=words)
    path = most_probable_tags(probabilities, LABELS)
    tags = tuple(LABELS[number] for number in path)
    assert tuple(repair_iob2(tags)) == tags, "the tags are valid as they are"
    worth = [
        np.log(np.maximum(probabilities[np.arange(words), list(numbers)], 1e-300)).sum()
        for numbers in product(range(len(LABELS)), repeat=words)
        if tuple(repair_iob2([LABELS[n] for n in numbers])) == tuple(LABELS[n] for n in numbers)
    ]
    got = np.log(np.maximum(probabilities[np.arange(words), path], 1e-300)).sum()
    assert np.isclose(got, max(worth))


def test_a_stray_inside_tag_joins_or_leaves_by_what_is_more_probable() -> None:
    unsure_start = np.array([[0.5, 0.45, 0.05, 0, 0], [0.1, 0.0, 0.9, 0, 0]])
    assert [LABELS[n] for n in most_probable_tags(unsure_start, LABELS)] == ["B-LOC", "I-LOC"]
    surely_outside = np.array([[0.999, 0.001, 0, 0, 0], [0.45, 0.0, 0.55, 0, 0]])
    assert [LABELS[n] for n in most_probable_tags(surely_outside, LABELS)] == ["O", "O"]


def test_no_words_give_no_tags() -> None:
    assert most_probable_tags(np.zeros((0, 5)), LABELS) == []
