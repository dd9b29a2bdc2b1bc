"""The cache folder: whole or absent, private, within its limit, and never in the way."""

import errno
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from unfreeze.engine import prefix_file, prefix_store
from unfreeze.engine.prefix_store import NotStored, PrefixStore, default_folder

SIZE = 40_000
BLOCK = 4096


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(prefix_file, "BLOCK", BLOCK)


@pytest.fixture
def heard():
    return []


@pytest.fixture
def store(tmp_path, heard):
    return PrefixStore(tmp_path / "cache", limit_bytes=10**6, said=heard.append)


def key(number=0, **more):
    return {"weights": f"w{number}", "depth": number, **more}


def content(number=0, size=SIZE):
    return np.random.default_rng(number).integers(0, 256, size, dtype=np.uint8).tobytes()


def put(store, *numbers, size=SIZE, keep=()):
    with store.writing([key(n) for n in numbers], size=size, keep=[key(n) for n in keep]) as files:
        for number, file in zip(numbers, files, strict=True):
            data = memoryview(content(number, size))
            file.write(size // 2, data[size // 2 :])
            file.write(0, data[: size // 2])
    return files


def taken(store, number=0, size=SIZE):
    states = store.read(key(number), size=size)
    return None if states is None else bytes(states)


def on_disk(store):
    return sum(path.stat().st_size for path in store.folder.iterdir()) if store.folder.exists() else 0


def file_of(store, number=0):
    return store._path(key(number))


def test_what_was_written_is_read_by_another_store_in_one_sweep_and_by_its_writer_at_once(store, tmp_path, heard):
    files = put(store, 1, 2)
    assert [bytes(file.states) for file in files] == [content(1), content(2)]
    other = PrefixStore(tmp_path / "cache", limit_bytes=10**6)
    assert (taken(other, 1), taken(other, 2), taken(other, 3)) == (content(1), content(2), None)
    assert (other.holds(key(1)), other.holds(key(3))) == (True, False)
    assert heard == []


def test_making_a_store_and_looking_for_something_makes_no_folder(store, tmp_path):
    assert taken(store) is None
    assert not store.holds(key())
    assert store.entries() == []
    assert store.clear() == 0
    assert list(tmp_path.iterdir()) == []


def test_nobody_else_can_read_the_cache(store, tmp_path):
    before = os.umask(0)
    try:
        put(store, 1)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in store.folder.iterdir()} == {0o600}


def test_a_folder_that_others_could_read_is_closed_before_anything_is_put_there(store):
    store.folder.mkdir(parents=True, mode=0o755)
    put(store, 1)
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700


def test_a_file_is_not_there_before_it_is_whole(store):
    with store.writing([key(1)], size=SIZE) as (file,):
        file.write(0, memoryview(content(1)))
        assert not store.holds(key(1))
        assert taken(store, 1) is None
    assert taken(store, 1) == content(1)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_on_the_way_leaves_nothing_behind(store, error):
    def interrupted():
        with store.writing([key(1), key(2)], size=SIZE) as files:
            files[0].write(0, memoryview(content(1)))
            raise error

    with pytest.raises(error):
        interrupted()
    assert list(store.folder.iterdir()) == []


def damage(path, how, place):
    data = bytearray(path.read_bytes())
    if how == "cut":
        data = data[:place]
    elif how == "longer":
        data += b"x"
    else:
        data[place] ^= 1 << (place % 8)
    path.write_bytes(data)


def test_every_flipped_bit_and_every_cut_is_noticed_and_the_file_goes(store, heard):
    put(store, 1)
    whole = file_of(store, 1).read_bytes()
    places = np.random.default_rng(0).integers(0, len(whole), 150).tolist()
    cases = [("flip", place) for place in (*range(0, 64, 5), *places, len(whole) - 1)]
    cases += [("cut", place) for place in (*range(0, len(whole), BLOCK), 10, len(whole) - 1)] + [("longer", 0)]
    for how, place in cases:
        damage(file_of(store, 1), how, place)
        assert taken(store, 1) is None, (how, place)
        assert not store.holds(key(1))
        assert len(heard) == 1
        assert str(file_of(store, 1)) in heard.pop()
        file_of(store, 1).write_bytes(whole)
    assert taken(store, 1) == content(1)
    assert heard == []


def test_a_file_under_anothers_name_is_not_served(store, heard):
    put(store, 1, 2)
    file_of(store, 2).replace(file_of(store, 1))
    assert taken(store, 1) is None
    assert "other states than its name says" in heard[0]
    put(store, 1)
    assert store.read(key(1), size=SIZE - 4) is None, "of another size"


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_what_is_no_plain_file_is_not_opened(store, tmp_path, kind):
    put(store, 1)
    path = file_of(store, 1)
    moved = path.rename(tmp_path / "moved")
    {"folder": path.mkdir, "link": lambda: path.symlink_to(moved), "pipe": lambda: os.mkfifo(path)}[kind]()
    assert taken(store, 1) is None


def test_a_mapped_file_stays_readable_when_it_is_deleted(store):
    states = put(store, 1)[0].states
    again = store.read(key(1), size=SIZE)
    assert store.clear() == pytest.approx(SIZE, abs=1000)
    assert list(store.folder.iterdir()) == []
    assert bytes(states) == bytes(again) == content(1)
    assert taken(store, 1) is None


def test_writing_into_mapped_states_changes_no_file(store):
    states = store.read(key(1), size=SIZE) if put(store, 1) else None
    states[0] ^= 255
    assert taken(store, 1) == content(1)


def test_the_cache_may_be_deleted_while_it_is_being_written(store, heard):
    with store.writing([key(1)], size=SIZE) as (file,):
        file.write(0, memoryview(content(1)))
        shutil.rmtree(store.folder)
    assert bytes(file.states) == content(1)
    assert taken(store, 1) is None
    put(store, 1)
    assert taken(store, 1) == content(1)
    assert heard == []


def test_the_limit_is_kept_and_what_was_used_last_stays(store):
    store.limit_bytes = 3 * SIZE + BLOCK
    for number in (1, 2, 3):
        put(store, number)
        os.utime(file_of(store, number), (number, number))
    taken(store, 1)
    put(store, 4)
    assert [store.holds(key(n)) for n in (1, 2, 3, 4)] == [True, False, True, True]
    put(store, 5, 6)
    assert [store.holds(key(n)) for n in (1, 3, 4, 5, 6)] == [False, False, True, True, True]
    assert on_disk(store) <= store.limit_bytes + BLOCK


def test_what_is_in_use_makes_no_room(store):
    store.limit_bytes = 2 * SIZE + BLOCK
    put(store, 1, 2)
    with pytest.raises(NotStored):
        put(store, 3, keep=(1, 2))
    assert (taken(store, 1), taken(store, 2)) == (content(1), content(2))
    put(store, 3, keep=(1,))
    assert [store.holds(key(n)) for n in (1, 2, 3)] == [True, False, True]


def test_what_can_never_fit_deletes_nothing_and_needs_no_word(store, heard):
    store.limit_bytes = 2 * SIZE + BLOCK
    put(store, 1, 2)
    with pytest.raises(NotStored):
        put(store, 3, 4, 5)
    assert [store.holds(key(n)) for n in (1, 2)] == [True, True]
    assert heard == []


def test_files_under_way_count_against_the_limit(store, tmp_path):
    store.limit_bytes = 2 * SIZE + BLOCK
    other = PrefixStore(tmp_path / "cache", limit_bytes=store.limit_bytes)
    with store.writing([key(1)], size=SIZE) as (file,):
        file.write(0, memoryview(content(1)))
        with pytest.raises(NotStored):
            put(other, 2, 3)
        put(other, 2)
        assert on_disk(store) <= store.limit_bytes + BLOCK
    assert (taken(store, 1), taken(store, 2)) == (content(1), content(2))


def test_what_a_killed_process_left_is_deleted_and_what_a_living_one_writes_is_not(store, tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from unfreeze.engine.prefix_store import PrefixStore\n"
        f"with PrefixStore(Path(sys.argv[1]), limit_bytes=10**6).writing([{key(9)!r}], size={SIZE}) as files:\n"
        " files[0].write(0, memoryview(b'abc')); os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "cache"], check=False, timeout=60)
    (left,) = store.folder.glob(".*.part")
    with store.writing([key(1)], size=SIZE) as (file,):
        file.write(0, memoryview(content(1)))
        assert not left.exists()
        put(PrefixStore(tmp_path / "cache", limit_bytes=10**6), 2)
    assert (taken(store, 1), taken(store, 2), taken(store, 9)) == (content(1), content(2), None)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_disk_that_fails_on_the_way_is_told_once_and_not_tried_again(store, heard, monkeypatch, number):
    real = prefix_file.StatesFile.write
    calls = []

    def failing(self, offset, data):
        calls.append(offset)
        if len(calls) == 4:
            raise OSError(number, os.strerror(number))
        real(self, offset, data)

    monkeypatch.setattr(prefix_file.StatesFile, "write", failing)
    for _ in range(2):
        with pytest.raises(NotStored):
            put(store, 1, 2)
    assert len(calls) == 4
    assert len(heard) == 1
    assert os.strerror(number) in heard[0]
    assert "--cache-dir" in heard[0]
    assert list(store.folder.iterdir()) == []


def test_a_nearly_full_disk_is_left_alone(store, heard, monkeypatch):
    monkeypatch.setattr(prefix_store.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 2 * SIZE - 1}))
    with pytest.raises(NotStored):
        put(store, 1)
    assert os.strerror(errno.ENOSPC) in heard[0]


def test_a_place_that_cannot_be_a_folder_is_told_once(tmp_path, heard):
    (tmp_path / "cache").write_text("a file")
    store = PrefixStore(tmp_path / "cache", limit_bytes=10**6, said=heard.append)
    for _ in range(2):
        assert taken(store) is None
        with pytest.raises(NotStored):
            put(store, 1)
        with store.turn(key()):
            pass
    assert len(heard) == 1
    assert store.entries() == []


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="owners are told by number on POSIX only")
def test_another_users_folder_is_neither_read_nor_written(store, heard, monkeypatch):
    put(store, 1)
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    assert taken(store, 1) is None
    with pytest.raises(NotStored):
        put(store, 2)
    assert len(heard) == 1
    assert "another user's" in heard[0]


def test_a_link_in_place_of_the_folder_is_not_followed(store, tmp_path, heard):
    (tmp_path / "elsewhere").mkdir()
    store.folder.parent.mkdir()
    store.folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotStored):
        put(store, 1)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert len(heard) == 1


def test_a_store_of_no_bytes_neither_reads_nor_writes(store, tmp_path):
    put(store, 1)
    off = PrefixStore(tmp_path / "cache", limit_bytes=0)
    assert taken(off, 1) is None
    assert not off.holds(key(1))
    with pytest.raises(NotStored):
        put(off, 2)
    assert len(off.entries()) == 1, "but it can be looked at"


def test_entries_come_last_used_first_and_damaged_ones_have_no_key(store):
    put(store, 1, 2, 3)
    for number, used in ((1, 50), (2, 70), (3, 60)):
        os.utime(file_of(store, number), (used, used))
    file_of(store, 3).write_bytes(b"nonsense")
    os.utime(file_of(store, 3), (60, 60))
    assert [(entry.used, entry.key) for entry in store.entries()] == [(70, key(2)), (60, {}), (50, key(1))]
    size = on_disk(store)
    assert store.clear() == size > 2 * SIZE


RACE = f"""
import random, sys
from pathlib import Path
from unfreeze.engine.prefix_store import NotStored, PrefixStore

store = PrefixStore(Path(sys.argv[1]), limit_bytes={4 * SIZE + 4096}, said=lambda text: sys.exit(text))
chance = random.Random(int(sys.argv[2]))
for _ in range(60):
    number = chance.randrange(6)
    key, data = {{"depth": number}}, bytes([number]) * {SIZE}
    with store.turn({{"depth": -number}}):
        states = store.read(key, size={SIZE})
        if states is None:
            try:
                with store.writing([key], size={SIZE}) as files:
                    for begin in range(0, {SIZE}, 8000):
                        files[0].write(begin, memoryview(data[begin : begin + 8000]))
                states = files[0].states
            except NotStored:
                states = data
    assert bytes(states) == data
    if chance.random() < 0.05:
        store.clear()
    # A folder that is emptied forgets what the two others have under way, and a list is no snapshot.
    total = sum(entry.size for entry in store.entries())
    assert total <= {6 * SIZE + 8192}, total
"""


def test_processes_that_fill_evict_and_empty_one_cache_at_once_all_read_what_is_right(tmp_path):
    commands = [[sys.executable, "-c", RACE, tmp_path / "cache", str(number)] for number in range(3)]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    for process in running:
        _, said = process.communicate(timeout=100)
        assert (process.returncode, said) == (0, "")


def test_the_default_folder_is_the_users_folder_of_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("UNFREEZE_CACHE", str(tmp_path / "own"))
    assert default_folder() == tmp_path / "own"
    monkeypatch.setenv("UNFREEZE_CACHE", "~/own")
    assert default_folder() == Path.home() / "own"
    monkeypatch.setenv("UNFREEZE_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "unfreeze"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_folder() == Path.home() / ".cache" / "unfreeze"
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert default_folder().is_absolute()
