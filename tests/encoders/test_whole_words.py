"""Where the words of a text lie among its tokens: told in another way by each kind of tokenizer."""

import re
from typing import Any

import pytest

from tiny import FAMILIES
from unfreeze.data.example import Example
from unfreeze.encoders.tokenizing import whole_words
from unfreeze.tasks import Feature
from unfreeze.tasks.classification import Classification

TEXT = "Anna's boats don't sail; well-known harbours, 12,345.6 letters (wonderful!) café"


def encoded(encoder: Any, text: str) -> Feature:
    return Classification(("a", "b")).encode([Example(text, "a")], encoder).features[0]


def pieces(encoder: Any, feature: Feature) -> list[list[str]]:
    tokens = encoder.tokenizer.convert_ids_to_tokens(feature.inputs["input_ids"])
    return [tokens[start:end] for start, end in feature.whole_words]


@pytest.mark.parametrize("family", FAMILIES)
def test_all_tokens_but_special_ones_belong_to_one_word(encoder_of: Any, family: str) -> None:
    encoder = encoder_of(family)
    feature = encoded(encoder, TEXT)
    inside = [i for start, end in feature.whole_words for i in range(start, end)]
    special = set(encoder.tokenizer.all_special_ids)
    assert inside == [i for i, number in enumerate(feature.inputs["input_ids"]) if number not in special]
    assert len(feature.whole_words) < len(inside), "some words have several tokens"


@pytest.mark.parametrize("family", ["bert", "mpnet"])
def test_pieces_that_go_on_a_word_stay_with_it(encoder_of: Any, family: str) -> None:
    """The rule of Devlin et al.'s release: a piece that begins with ## belongs to the word before it."""
    encoder = encoder_of(family)
    found = pieces(encoder, encoded(encoder, TEXT))
    expected: list[list[str]] = []
    for token in encoder.tokenizer.tokenize(TEXT):
        if token.startswith("##"):
            expected[-1].append(token)
        else:
            expected.append([token])
    assert found == expected


@pytest.mark.parametrize("family", ["roberta", "modernbert"])
def test_byte_level_words_are_what_its_expression_cuts(encoder_of: Any, family: str) -> None:
    encoder = encoder_of(family)
    found = ["".join(word) for word in pieces(encoder, encoded(encoder, TEXT))]
    cut = re.findall(r"'(?:s|t|re|ve|m|ll|d)| ?[^\W\d_]+| ?\d+| ?[^\s\w]+", TEXT)
    assert [encoder.tokenizer.convert_tokens_to_string([word]) for word in found] == cut


def test_sentencepiece_words_are_what_stands_between_spaces(encoder_of: Any) -> None:
    encoder = encoder_of("deberta-v3")
    found = ["".join(word).replace("▁", "") for word in pieces(encoder, encoded(encoder, TEXT))]
    assert found == TEXT.split()


@pytest.mark.parametrize("family", ["bert", "roberta", "deberta-v3"])
def test_special_tokens_typed_into_a_text_are_no_words(encoder_of: Any, family: str) -> None:
    encoder = encoder_of(family)
    tokenizer = encoder.tokenizer
    feature = encoded(encoder, f"the boat {tokenizer.mask_token} left {tokenizer.sep_token} the harbour")
    ids = feature.inputs["input_ids"]
    assert tokenizer.mask_token_id in ids
    assert not {ids[i] for start, end in feature.whole_words for i in range(start, end)} & set(
        tokenizer.all_special_ids
    )


def test_words_end_where_their_numbers_change_and_none_is_a_special_one() -> None:
    words = [None, 0, 0, 1, 2, 2, 3, None, None]
    assert whole_words([1, 5, 6, 7, 3, 8, 9, 2, 0], words, special={0, 1, 2, 3}) == ((1, 3), (3, 4), (6, 7))
    assert whole_words([], [], special=()) == ()


def test_of_a_text_that_is_cut_only_what_is_read_has_words(encoder_of: Any) -> None:
    encoder = encoder_of("bert")
    feature = encoded(encoder, "boat " * 200)
    assert feature.whole_words[-1][1] == encoder.window - 1
