import platform
import subprocess
import sys

import pytest
import torch

from unfreeze.engine import runtime
from unfreeze.engine.runtime import Runtime, prepare_process
from unfreeze.errors import SettingsError


@pytest.fixture(autouse=True)
def one_thread_again():
    yield
    torch.set_num_threads(1)


@pytest.fixture
def processor(monkeypatch):
    def pretend(*, amx=False, avx=False):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    return pretend


@pytest.mark.parametrize(
    ("asked", "amx", "avx", "precision"),
    [
        ("auto", False, False, "fp32"),
        ("auto", False, True, "bf16-autocast"),
        ("auto", True, True, "bf16-matmul"),
        ("bf16", False, False, "bf16-autocast"),
        ("bf16", True, True, "bf16-matmul"),
        ("fp32", True, True, "fp32"),
    ],
)
def test_the_precision_is_the_fastest_that_the_processor_has_and_the_user_allows(asked, amx, avx, precision, processor):
    processor(amx=amx, avx=avx)
    assert prepare_process(1, asked) == Runtime("cpu", 1, precision)


@pytest.mark.parametrize(("variable", "threads"), [("3", 3), ("2,1", 2), ("", 7), ("many", 7), (" 4 ", 4)])
def test_threads_are_those_asked_for_by_the_environment_or_the_cores(variable, threads, monkeypatch, processor):
    processor()
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    monkeypatch.setattr(runtime, "usable_cores", lambda: 7)
    assert prepare_process().threads == threads == torch.get_num_threads()
    assert prepare_process(2).threads == 2 == torch.get_num_threads()


@pytest.mark.parametrize(
    ("arguments", "said"), [((0,), "--threads must be at least 1; got 0"), ((1, "fp16"), "'fp16'")]
)
def test_what_makes_no_sense_is_refused(arguments, said):
    with pytest.raises(SettingsError, match=said):
        prepare_process(*arguments)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such setting")
def test_memory_that_a_step_frees_is_there_for_the_next_one():
    """Page faults of twenty steps that each need 40 MB, in a process that has not computed before."""
    steps = """
import resource
import torch
for _ in range(20):
    torch.ones(10_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""
    ours = "from unfreeze.engine.machine import reuse_freed_memory; reuse_freed_memory()"
    usual, reused = (
        int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for code in (steps, ours + steps)
    )
    assert usual - reused > 15 * 10_000_000 * 4 // 4096 // 2


def test_a_precision_holds_only_while_computing():
    products = torch.backends.mkldnn.matmul
    before = products.fp32_precision
    for precision, inside in [("fp32", "ieee"), ("bf16-matmul", "bf16")]:
        with Runtime("cpu", 1, precision).computing():
            assert products.fp32_precision == inside
            assert not torch.is_autocast_enabled("cpu")
        assert products.fp32_precision == before
        with pytest.raises(ZeroDivisionError), Runtime("cpu", 1, precision).computing():
            raise ZeroDivisionError
        assert products.fp32_precision == before


def test_autocast_covers_the_forward_pass_alone():
    with Runtime("cpu", 1, "bf16-autocast").computing():
        assert torch.is_autocast_enabled("cpu")
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    with Runtime("cpu", 1, "bf16-autocast").computing(backward=True):
        assert not torch.is_autocast_enabled("cpu")
