"""Turns: waited for, but not for ever, and the lock file is gone afterwards."""

import threading
import time

from unfreeze.engine import prefix_turn
from unfreeze.engine.prefix_turn import turn


def test_a_turn_is_waited_for(tmp_path):
    order = []

    def first():
        with turn(tmp_path / "lock", seconds=9) as held:
            order.append(("first", held))
            started.set()
            time.sleep(0.2)
            order.append(("first is done", held))

    started = threading.Event()
    thread = threading.Thread(target=first)
    thread.start()
    started.wait()
    with turn(tmp_path / "lock", seconds=9) as held:
        order.append(("second", held))
    thread.join()
    assert order == [("first", True), ("first is done", True), ("second", True)]
    assert list(tmp_path.iterdir()) == []


def test_a_turn_that_never_comes_is_done_without(tmp_path):
    with turn(tmp_path / "lock", seconds=9) as first, turn(tmp_path / "lock", seconds=0.1) as second:
        assert (first, second) == (True, False)
    with turn(tmp_path / "lock", seconds=0) as again:
        assert again


def test_a_turn_whose_file_was_deleted_and_made_anew_is_the_new_files(tmp_path):
    with turn(tmp_path / "lock", seconds=9):
        (tmp_path / "lock").unlink()
        with turn(tmp_path / "lock", seconds=0) as new:
            assert new
            with turn(tmp_path / "lock", seconds=0) as third:
                assert not third


def test_a_lock_that_its_former_holder_deletes_while_it_is_being_taken_is_no_turn(tmp_path, monkeypatch):
    real, times = prefix_turn.lock, []

    def late(descriptor):
        if not times:
            (tmp_path / "lock").unlink()
        times.append(descriptor)
        real(descriptor)

    monkeypatch.setattr(prefix_turn, "lock", late)
    with turn(tmp_path / "lock", seconds=9) as held:
        assert held
        assert (tmp_path / "lock").exists(), "others would else hold another file of that name"
    assert len(times) == 2
