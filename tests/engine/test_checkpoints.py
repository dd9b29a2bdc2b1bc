import errno
import json
import resource
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from runs import RUNTIME, SETTINGS, differing, make_data, make_features, make_model, weights_of
from unfreeze import files
from unfreeze.engine.checkpoints import STATE, TENSORS, Checkpoints
from unfreeze.engine.training import Run, Watch
from unfreeze.errors import Interrupted, StorageError
from unfreeze.files import MANIFEST, is_whole
from unfreeze.strategies import strategy_named

FEATURES = make_features(24)
FINGERPRINT = {"trial": "one", "rate": 0.1, "pair": (1, 2)}  # a tuple, which JSON gives back as a list


def make_run(encoder, folder, *, fingerprint=FINGERPRINT, spelling="last-k:k=1", **changes):
    model, outline = make_model(encoder)
    checkpoints = Checkpoints(folder, fingerprint) if folder else None
    plan, settings = strategy_named(spelling).plan(outline), replace(SETTINGS, num_train_epochs=3, **changes)
    data = make_data(FEATURES)
    run = Run(model, outline, plan=plan, settings=settings, data=data, runtime=RUNTIME, checkpoints=checkpoints)
    return model, run


def interrupt(encoder, folder, step=4, **changes):
    asked = iter(range(100))
    model, run = make_run(encoder, folder, **changes)
    with pytest.raises(Interrupted):
        run.run(Watch(stop=lambda: next(asked) == step))
    return model, run


def steps_taken(run):
    taken = []
    run.run(Watch(progress=taken.append))
    return len(taken)


@pytest.mark.parametrize(
    ("optim", "kept"),
    [
        ("adamw", {"step", "exp_avg", "exp_avg_sq"}),
        ("adam", {"step", "exp_avg", "exp_avg_sq"}),
        ("sgd", {"momentum_buffer"}),
    ],
)
def test_what_learns_is_stored_and_nothing_else(optim, kept, encoder_of, tmp_path):
    _, run = interrupt(encoder_of("bert"), tmp_path, optim=optim)
    from safetensors.torch import load_file

    stored = load_file(tmp_path / "checkpoint" / TENSORS)
    learning = run._plan.ever_trainable
    assert {key.partition("/")[2] for key in stored} == learning
    assert {key.partition("/")[0] for key in stored} == {"weight", "best", *kept}
    assert sorted(path.name for path in (tmp_path / "checkpoint").iterdir()) == sorted([TENSORS, STATE, MANIFEST])
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_a_whole_checkpoint_of_just_this_run_is_gone_on_from(encoder_of, tmp_path):
    interrupt(encoder_of("bert"), tmp_path)
    assert steps_taken(make_run(encoder_of("bert"), tmp_path)[1]) == 9 - 4


@pytest.fixture(scope="module")
def uninterrupted(encoder_of):
    """Weights and curve of the run that nothing disturbs."""
    model, run = make_run(encoder_of("bert"), None)
    curve = run.run().curve
    return weights_of(model), curve


def truncate(path):
    path.write_bytes(path.read_bytes()[:-7])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [truncate, flip, Path.unlink, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("name", [TENSORS, STATE, MANIFEST])
def test_a_damaged_checkpoint_is_not_gone_on_from_and_the_result_is_the_same(
    name, damage, uninterrupted, encoder_of, tmp_path
):
    whole, curve = uninterrupted
    interrupt(encoder_of("bert"), tmp_path)
    damage(tmp_path / "checkpoint" / name)
    model, run = make_run(encoder_of("bert"), tmp_path)
    assert steps_taken(run) == 9
    assert differing(whole, weights_of(model)) == set()
    assert run._state.curve == curve


@pytest.mark.parametrize(
    "content", ["[]", "null", '{"complete": true, "files": []}', '{"complete": false, "files": {}}']
)
def test_a_manifest_of_another_shape_is_no_whole_folder(content, encoder_of, tmp_path):
    interrupt(encoder_of("bert"), tmp_path)
    (tmp_path / "checkpoint" / MANIFEST).write_text(content)
    assert not is_whole(tmp_path / "checkpoint")


@pytest.mark.parametrize("change", [{"rate": 0.1 + 1e-16 * 2}, {"trial": "two"}, {"more": None}])
def test_a_checkpoint_of_another_run_is_not_gone_on_from(change, encoder_of, tmp_path):
    interrupt(encoder_of("bert"), tmp_path)
    _model, run = make_run(encoder_of("bert"), tmp_path, fingerprint=FINGERPRINT | change)
    assert steps_taken(run) == 9


def fail_at(patch, number):
    """The n-th operation that changes the disk fails, as on a full one; gives a list with one entry an operation."""
    calls = []

    def failing(real):
        def call(*args, **kwargs):
            calls.append(real)
            if len(calls) == number:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*args, **kwargs)

        return call

    patch.setattr(files.os, "fsync", failing(files.os.fsync))
    patch.setattr(Path, "mkdir", failing(Path.mkdir))
    patch.setattr(Path, "rename", failing(Path.rename))
    patch.setattr(Path, "replace", failing(Path.replace))
    patch.setattr("unfreeze.engine.checkpoints.save_file", failing(sys.modules["safetensors.torch"].save_file))
    return calls


def error_of(run):
    try:
        run._save(0.0)
    except StorageError as error:
        return str(error)
    return None


def test_a_disk_that_fills_at_any_write_leaves_a_whole_checkpoint_and_a_plain_sentence(encoder_of, tmp_path):
    _, run = interrupt(encoder_of("bert"), tmp_path, step=4)
    number, failures, kept = 0, 0, run._state.loss_sum
    while True:
        number += 1
        run._state.loss_sum += 1.0
        with pytest.MonkeyPatch.context() as patch:
            calls = fail_at(patch, number)
            said = error_of(run)
        if said is None:
            assert len(calls) < number, f"operation {number} failed without a word"
            break
        assert "the disk is full; free some space and run the same command again" in said
        failures += 1
        folder = tmp_path / "checkpoint"
        assert is_whole(folder), number
        stored = json.loads((folder / STATE).read_text())["state"]["loss_sum"]
        assert stored in {kept, run._state.loss_sum}, number
        kept = stored
        assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")], number
    assert failures >= 8
    assert make_run(encoder_of("bert"), tmp_path)[1]._checkpoints.load(run._optimizer) is not None


@pytest.mark.skipif(sys.platform != "linux", reason="file size limits are set as on Linux")
def test_a_full_disk_that_only_safetensors_sees_is_said_plainly_too(encoder_of, tmp_path):
    _, run = interrupt(encoder_of("bert"), tmp_path)
    before = (tmp_path / "checkpoint" / MANIFEST).read_bytes()
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, usual[1]))
    try:
        with pytest.raises(StorageError, match="cannot be written: File too large"):
            run._save(0.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert (tmp_path / "checkpoint" / MANIFEST).read_bytes() == before
    assert is_whole(tmp_path / "checkpoint")


def test_the_best_weights_travel_with_the_checkpoint(encoder_of, tmp_path):
    scores = iter([0.9, 0.1, 0.1])
    _model, run = make_run(encoder_of("bert"), tmp_path)
    run._data = replace(run._data, score=lambda logits: next(scores))
    asked = iter(range(100))
    with pytest.raises(Interrupted):
        run.run(Watch(stop=lambda: next(asked) == 7))
    best = {name: tensor.clone() for name, tensor in run._best.items()}
    again, resumed = make_run(encoder_of("bert"), tmp_path)
    resumed._data = replace(resumed._data, score=lambda logits: 0.1)
    assert resumed.run().best_epoch == 1
    found = weights_of(again)
    assert best
    assert all(torch.equal(found[name], tensor) for name, tensor in best.items())
