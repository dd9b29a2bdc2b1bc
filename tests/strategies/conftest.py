"""Tiny encoders of every family, built once for all tests here."""

from collections.abc import Callable
from functools import cache

import pytest

from tiny import tiny_encoder
from unfreeze.encoders.loading import Encoder, load_encoder


@pytest.fixture(scope="session")
def encoder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Encoder]:
    """Give the tiny encoder of a family, loaded; its folder is for reading only."""
    folder = tmp_path_factory.mktemp("families")
    return cache(lambda family: load_encoder(str(tiny_encoder(family, folder / family))))
