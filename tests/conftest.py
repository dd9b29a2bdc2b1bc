"""What every test stands on: one thread, no network, repeatable examples, a tiny encoder, the shared data."""

import os

os.environ["COLUMNS"] = "110"  # tables are as wide as the terminal, which under pytest-xdist is another one
os.environ.update(
    OMP_NUM_THREADS="1",
    OMP_WAIT_POLICY="PASSIVE",  # spinning threads cost more than the small operations they wait for
    HF_HUB_OFFLINE="1",
    TOKENIZERS_PARALLELISM="false",
)

import ipaddress
import itertools
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # so that every test can import tiny.py

from reloader import Reloader
from tiny import tiny_encoder
from unfreeze.export import handing_over

torch.set_num_threads(1)
hypothesis.settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("repeatable")


_number = itertools.count()


class NetworkRefused(AssertionError):
    """A test tried to reach another machine; an assertion, so that no code under test takes it for a slow network."""


def _is_local(address: Any) -> bool:
    if not isinstance(address, tuple):
        return True  # a path: a Unix socket
    host = str(address[0])
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host in {"localhost", ""}


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Iterator[None]:
    """Refuse every connection that leaves this machine."""
    patch = pytest.MonkeyPatch()

    def guarded(real: Any) -> Any:
        def connect(self: socket.socket, address: Any) -> Any:
            if not _is_local(address):
                raise NetworkRefused(f"tests do not use the network; something connected to {address}")
            return real(self, address)

        return connect

    def lookup(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host is not None and not _is_local((host.decode() if isinstance(host, bytes) else host,)):
            raise NetworkRefused(f"tests do not use the network; something looked up {host!r}")
        return getaddrinfo(host, *args, **kwargs)

    getaddrinfo = socket.getaddrinfo
    patch.setattr(socket.socket, "connect", guarded(socket.socket.connect))
    patch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))
    patch.setattr(socket, "getaddrinfo", lookup)
    yield
    patch.undo()


@pytest.fixture(autouse=True, scope="session")
def fresh_process() -> Iterator[Callable[..., str]]:
    """One process loads all the models that are handed over; gives the product's own, which starts one for each."""
    reloader, real = Reloader(), handing_over.in_a_fresh_process
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handing_over, "in_a_fresh_process", reloader)
        yield real
    reloader.close()


@pytest.fixture(autouse=True, scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the user's own cache out of it, also for fixtures that outlive a test, and for processes that they start."""
    folder = tmp_path_factory.mktemp("caches")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNFREEZE_CACHE", str(folder / "shared"))
        yield folder


@pytest.fixture(autouse=True)
def own_cache(caches: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test begins with an empty cache of its own; its folder is not made before it is used."""
    folder = caches / f"{next(_number)}"
    monkeypatch.setenv("UNFREEZE_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets, or a skip where it is not at hand."""
    usual = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("UNFREEZE_SHARED_DATA", usual))
    if not folder.is_dir():
        pytest.skip("the shared data sets are not at hand; name their folder in UNFREEZE_SHARED_DATA")
    return folder


@pytest.fixture(scope="session")
def tiny_encoder_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved BERT of three layers with its tokenizer: read it, never write into it."""
    return tiny_encoder("bert", tmp_path_factory.mktemp("encoders") / "tiny-bert")
