"""Hidden states on disk: the same training as without, never stale, and nothing breaks when the disk does."""

import os
import pickle
import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from runs import RUNTIME, SETTINGS, differing, farthest, make_data, make_features, make_model, weights_of
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.engine.prediction import logits_of
from unfreeze.engine.prefix import PrefixMemory
from unfreeze.engine.prefix_file import StatesFile
from unfreeze.engine.prefix_store import PrefixStore
from unfreeze.engine.runtime import Runtime
from unfreeze.engine.training import Run
from unfreeze.strategies import strategy_named

FEATURES = make_features(24)
DEPTH = sum(feature.length for feature in FEATURES) * 32 * 4
"""Bytes of the states at one depth."""


@pytest.fixture
def heard():
    return []


@pytest.fixture
def memory_of(tmp_path, heard):
    """Give a memory as another command would have it: with nothing in it but what is on disk."""

    def memory(*, features=FEATURES, limit_bytes=0, disk=10**6):
        store = PrefixStore(tmp_path / "cache", limit_bytes=disk, said=heard.append)
        return PrefixMemory(features, limit_bytes=limit_bytes, store=store)

    return memory


@pytest.fixture
def made(encoder_of):
    return make_model(encoder_of("bert"))


def serves(memory, model, outline, depth=3, **options):
    return memory.serves(model, outline, depth=depth, runtime=options.pop("runtime", RUNTIME), **options)


def serves_without_computing(memory, *made, **options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "_run_through", lambda *args: pytest.fail("states were computed"))
        return serves(memory, *made, **options)


def files(tmp_path):
    return sorted((tmp_path / "cache" / "states").glob("*.states"))


def trained(encoder, spelling, memory):
    model, outline = make_model(encoder)
    plan = strategy_named(spelling).plan(outline)
    settings = replace(SETTINGS, learning_rate=1e-3, num_train_epochs=3)
    run = Run(model, outline, plan=plan, settings=settings, data=make_data(FEATURES, memory), runtime=RUNTIME)
    run._is_best = lambda row: True
    run.run()
    return model, outline, run


@pytest.mark.parametrize(
    ("family", "spelling"),
    [
        ("bert", "head-only"),
        ("bert", "last-k:k=2"),
        ("bert", "gradual"),
        ("deberta-v2", "last-k:k=1"),
        ("modernbert", "head-only"),
    ],
)
def test_training_from_states_on_disk_gives_the_model_of_training_without(family, spelling, encoder_of, memory_of):
    whole, outline, run = trained(encoder_of(family), spelling, None)
    assert run._depth == 0
    cold, _, _ = trained(encoder_of(family), spelling, memory_of())
    memory = memory_of()
    memory._run_through = lambda *args: pytest.fail("states were computed again")
    warm, _, run = trained(encoder_of(family), spelling, memory)
    assert run._depth == outline.frozen_depth(strategy_named(spelling).plan(outline).ever_trainable)
    assert differing(weights_of(cold), weights_of(warm)) == set()
    without, cached = weights_of(whole), weights_of(warm)
    head = {name: without[name] for name in outline.head}, {name: cached[name] for name in outline.head}
    assert farthest(*head) <= (1e-5 if spelling == "gradual" else 1e-6)
    assert farthest(without, cached) <= (1e-6 if spelling == "head-only" else 1e-4)
    logits = [np.stack(logits_of(model, FEATURES, runtime=RUNTIME)) for model in (whole, warm)]
    assert np.array_equal(*(each.argmax(1) for each in logits))


@pytest.mark.parametrize("precision", ["fp32", "bf16-matmul", "bf16-autocast"])
def test_states_on_disk_are_the_bits_that_were_computed_in_the_type_of_the_run(made, memory_of, precision):
    runtime, kept = Runtime("cpu", 1, precision), torch.bfloat16 if "autocast" in precision else torch.float32
    in_memory = PrefixMemory(FEATURES)
    assert serves(in_memory, *made, runtime=runtime)
    assert serves(memory_of(), *made, runtime=runtime)
    again = memory_of()
    assert all(serves_without_computing(again, *made, depth=depth, runtime=runtime) for depth in (3, 2, 1))
    places = [5, 0, 23]
    for depth in (1, 2, 3):
        expected, found = in_memory.states_of(depth, places), again.states_of(depth, places)
        assert [states.dtype for states in (*expected, *found)] == [kept] * 6
        assert [tuple(states.shape) for states in found] == [(FEATURES[place].length, 32) for place in places]
        assert all(torch.equal(*pair) for pair in zip(expected, found, strict=True))
        assert again._states[depth][5].dtype == torch.float32, "layers hand on float32"
        assert found[0].untyped_storage().data_ptr() == found[1].untyped_storage().data_ptr(), "a view, no copy"


def test_every_head_depth_and_class_reads_the_same_files(encoder_of, memory_of, tmp_path):
    assert serves(memory_of(), *make_model(encoder_of("bert")))
    assert len(files(tmp_path)) == 3
    for head in (HeadSettings("mean"), HeadSettings("first", 3)):
        assert serves_without_computing(memory_of(), *make_model(encoder_of("bert"), head=head, seed=4))
    assert serves_without_computing(memory_of(), *make_model(encoder_of("bert"), "token"), depth=2)
    assert len(files(tmp_path)) == 3


def test_only_expected_depths_are_computed_and_the_rest_when_it_is_needed(made, memory_of, tmp_path):
    memory = memory_of()
    memory.expected = frozenset({0, 1, 3})
    assert serves(memory, *made, depth=3)
    assert len(files(tmp_path)) == 2
    assert serves_without_computing(memory, *made, depth=1)
    assert memory.depths == {1, 3}
    assert serves(memory, *made, depth=2)
    assert len(files(tmp_path)) == 3
    assert memory.depths == {1, 2, 3}


def test_depths_that_are_on_disk_are_not_computed_again_for_those_that_are_not(made, memory_of, monkeypatch):
    memory = memory_of()
    memory.expected = frozenset({1})
    assert serves(memory, *made, depth=1)
    seen = []
    real = PrefixMemory._run_through
    monkeypatch.setattr(PrefixMemory, "_run_through", lambda *args: seen.append(args[3]) or real(*args))
    assert serves(memory_of(), *made, depth=3)
    assert seen == [{2, 3}]


def test_a_changed_weight_a_changed_text_and_another_precision_find_nothing(made, memory_of, tmp_path):
    model, outline = made
    assert serves(memory_of(), *made)
    names = set(files(tmp_path))
    other = [replace(FEATURES[0], inputs=FEATURES[1].inputs), *FEATURES[1:]]
    assert serves(memory_of(features=other), *made)
    assert serves(memory_of(), *made, runtime=Runtime("cpu", 1, "bf16-autocast"))
    assert len(set(files(tmp_path)) - names) == 6
    with torch.no_grad():
        dict(model.named_parameters())[outline.layers[0][0]].view(-1)[0] += 1e-3
    memory = memory_of()
    assert serves(memory, *made)
    fresh = PrefixMemory(FEATURES)
    assert serves(fresh, *made)
    for depth in (1, 2, 3):
        assert torch.equal(memory.states_of(depth, [3])[0], fresh.states_of(depth, [3])[0])


@pytest.mark.parametrize("how", ["flip", "cut", "empty", "swap"])
def test_damaged_files_are_computed_again_and_never_served(made, memory_of, tmp_path, heard, how):
    assert serves(memory_of(), *made)
    before = [path.read_bytes() for path in files(tmp_path)]
    first, second, third = files(tmp_path)
    for path in (first, second, third):
        data = bytearray(path.read_bytes())
        data[-7] ^= 4
        path.write_bytes({"flip": data, "cut": data[:-100], "empty": b"", "swap": second.read_bytes()}[how])
    wrong = 2 if how == "swap" else 3
    memory = memory_of()
    assert all(serves(memory, *made, depth=depth) for depth in (3, 2, 1))
    assert len(heard) == wrong
    assert all("computed again" in sentence for sentence in heard)
    assert [path.read_bytes() for path in files(tmp_path)] == before
    assert serves_without_computing(memory_of(), *made)
    assert len(heard) == wrong


def test_a_cache_deleted_at_any_moment_changes_nothing(made, memory_of, tmp_path, heard):
    memory = memory_of()
    assert serves(memory, *made)
    before = memory.states_of(2, [4])[0].clone()
    shutil.rmtree(tmp_path / "cache")
    assert torch.equal(memory.states_of(2, [4])[0], before)
    assert serves_without_computing(memory, *made, depth=2)
    assert serves(memory_of(), *made)
    assert len(files(tmp_path)) == 3
    assert heard == []


def test_what_the_disk_has_no_room_for_is_held_in_memory_and_else_the_model_runs_whole(made, memory_of, tmp_path):
    memory = memory_of(disk=DEPTH // 2, limit_bytes=2 * DEPTH)
    assert serves(memory, *made, also=frozenset({2}))
    assert memory.depths == {2, 3}
    assert not files(tmp_path)
    memory = memory_of(disk=DEPTH // 2, limit_bytes=DEPTH - 1)
    assert not serves(memory, *made)
    assert not memory.depths


def test_mapped_states_take_nothing_of_what_memory_may_take(made, memory_of, tmp_path):
    memory = memory_of(disk=10 * DEPTH, limit_bytes=0)
    assert serves(memory, *made)
    assert memory.depths == {1, 2, 3}
    assert len(files(tmp_path)) == 3


def test_what_the_disk_has_no_room_for_beside_states_in_use_is_held_in_memory(made, memory_of, tmp_path):
    memory = memory_of(disk=2 * DEPTH + 4096, limit_bytes=DEPTH)
    assert serves(memory, *made, depth=3, also=frozenset({2}))
    assert serves(memory, *made, depth=1)
    assert memory.depths == {1, 2, 3}
    assert len(files(tmp_path)) == 2


def test_the_limit_on_disk_is_kept_and_the_lowest_depths_make_room_first(made, memory_of, tmp_path):
    room = 2 * DEPTH + 4096
    memory = memory_of(disk=room)
    assert serves(memory, *made, depth=3, also=frozenset({1}))
    assert memory.depths == {1, 3}
    assert serves(memory, *made, depth=2)
    assert memory.depths == {2, 3}
    assert serves_without_computing(memory, *made, depth=3)
    assert sum(path.stat().st_size for path in files(tmp_path)) <= room
    assert serves(memory, *made, depth=1)
    assert 1 in memory.depths
    assert sum(path.stat().st_size for path in files(tmp_path)) <= room


@pytest.mark.parametrize("memory_helps", [True, False])
def test_a_disk_that_fills_up_on_the_way_is_told_once_and_training_goes_on(
    made, memory_of, tmp_path, heard, monkeypatch, memory_helps
):
    def full(self, offset, data):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(StatesFile, "write", full)
    memory = memory_of(limit_bytes=10 * DEPTH if memory_helps else 0)
    assert serves(memory, *made, depth=2) == memory_helps
    assert serves(memory, *made, depth=3) == memory_helps
    assert len(heard) == 1
    assert "No space left on device" in heard[0]
    assert list((tmp_path / "cache" / "states").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told_once_and_training_goes_on(made, memory_of, tmp_path, heard):
    (tmp_path / "cache").write_text("no folder")
    memory = memory_of(limit_bytes=10 * DEPTH)
    assert serves(memory, *made, depth=3)
    assert serves(memory, *made, depth=2)
    assert len(heard) == 1


def test_who_waits_for_another_process_takes_what_it_has_computed(made, memory_of, tmp_path, heard):
    assert serves(memory_of(), *made)
    (tmp_path / "aside").mkdir()
    for path in files(tmp_path):
        path.rename(tmp_path / "aside" / path.name)
    memory = memory_of()
    begun, finish = threading.Event(), threading.Event()

    def other():
        common = memory._names.common(*made, runtime=RUNTIME)
        with PrefixStore(tmp_path / "cache", limit_bytes=10**6).turn(common):
            begun.set()
            finish.wait(20)
            for path in (tmp_path / "aside").iterdir():
                path.rename(tmp_path / "cache" / "states" / path.name)

    thread = threading.Thread(target=other)
    thread.start()
    begun.wait(20)
    threading.Timer(0.2, finish.set).start()
    assert serves_without_computing(memory, *made)
    thread.join()
    assert memory.depths == {3}
    assert heard == []


def test_states_forgotten_for_others_are_not_taken_for_those_of_another_encoder(made, memory_of):
    memory = memory_of(disk=0, limit_bytes=DEPTH)
    assert serves(memory, *made, depth=1)
    assert serves(memory, *made, depth=2)
    assert memory.depths == {2}
    model, outline = made
    with torch.no_grad():
        dict(model.named_parameters())[outline.layers[0][0]].view(-1)[0] += 1e-3
    assert serves(memory, *made, depth=1), "depth 1 was forgotten, so it belongs to whoever comes now"
    assert serves(memory, *made, depth=1)
    with torch.no_grad():
        dict(model.named_parameters())[outline.layers[0][0]].view(-1)[0] -= 1e-3
    assert not serves(memory, *made, depth=1)


def test_another_process_is_given_no_states_but_finds_them_on_disk(made, memory_of, heard):
    memory = memory_of()
    memory.expected = frozenset({1, 3})
    assert serves(memory, *made)
    sent = pickle.dumps(memory)
    assert len(sent) < DEPTH
    received = pickle.loads(sent)
    assert received.depths == frozenset()
    assert received.expected == {1, 3}
    assert serves_without_computing(received, *made, depth=3)
    assert serves_without_computing(received, *made, depth=1)
    received._store.said("nobody hears this")
    assert heard == []
