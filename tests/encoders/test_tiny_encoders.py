"""The tiny encoders are what the other tests take them for."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny import CHARACTERS, FAMILIES, tiny_encoder
from unfreeze.encoders.loading import load_encoder


@pytest.mark.parametrize("family", FAMILIES)
def test_ordinary_text_has_no_unknown_token(family, encoder_of):
    tokenizer = encoder_of(family).tokenizer

    @given(st.lists(st.text(CHARACTERS, min_size=1, max_size=12), min_size=1, max_size=8))
    def check(words):
        ids = tokenizer(" ".join(words), add_special_tokens=False)["input_ids"]
        assert ids
        assert tokenizer.unk_token_id not in ids

    check()


def test_the_same_seed_gives_the_same_encoder_and_another_seed_another(tmp_path):
    folders = [tiny_encoder("bert", tmp_path / str(i), seed=seed) for i, seed in enumerate((0, 0, 1))]
    digests = [load_encoder(str(folder)).digest for folder in folders]
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def test_no_test_reaches_another_machine():
    with socket.socket() as s, pytest.raises(AssertionError, match="do not use the network"):
        s.connect(("192.0.2.1", 80))
    with pytest.raises(AssertionError, match="do not use the network"):
        socket.getaddrinfo("example.org", 80)
