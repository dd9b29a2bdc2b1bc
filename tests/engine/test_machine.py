"""What a process may use is what its container leaves it, in either version of Linux's control groups."""

import os

import pytest

from unfreeze.engine import machine

GIB = 2**30


@pytest.fixture
def container(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "CONTAINER", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)

    def write(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="ascii")

    return write


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 64),
        ({"cpu.max": "max 100000\n"}, 64),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "9900000 100000\n"}, 64),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
    ],
)
def test_cores_are_no_more_than_the_containers_share(files, cores, container):
    container(files)
    assert machine.usable_cores() == cores


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({}, None),
        ({"memory.max": "max\n", "memory.current": "5\n"}, None),
        ({"memory.max": f"{8 * GIB}\n", "memory.current": f"{3 * GIB}\n"}, 5 * GIB),
        (
            {
                "memory.max": f"{8 * GIB}\n",
                "memory.current": f"{7 * GIB}\n",
                "memory.stat": f"anon {GIB}\nfile {6 * GIB}\ninactive_file {4 * GIB}\nactive_file 7\n",
            },
            5 * GIB,
        ),
        (
            {"memory/memory.limit_in_bytes": f"{4 * GIB}\n", "memory/memory.usage_in_bytes": f"{GIB}\n"},
            3 * GIB,
        ),
    ],
)
def test_memory_that_holds_files_counts_as_free(files, left, container, monkeypatch):
    container(files)
    monkeypatch.setattr(machine, "_available", lambda: None)
    assert machine.free_memory() == left


def test_this_machine_has_some_of_both():
    assert machine.usable_cores() >= 1
    assert machine.free_memory() is None or machine.free_memory() > 10_000_000
