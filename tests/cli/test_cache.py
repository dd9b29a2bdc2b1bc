"""The cache of hidden states as a user meets it: options, and the command that shows and clears it."""

import json

import pytest

from commands import LEARN, only_head, refused, say, write_csv
from rows import opinions
from unfreeze.compare.options import bytes_of
from unfreeze.engine.prefix import PrefixMemory
from unfreeze.errors import SettingsError
from unfreeze.front import cache


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_csv(tmp_path_factory.mktemp("cache") / "reviews.csv", opinions(40))


@pytest.fixture
def fit(file, tiny_encoder_dir, tmp_path):
    """Give a command that trains one way into a folder of its own."""

    def run(name, *more, saying=False):
        out = ("--output-dir", tmp_path / name)
        command = ("fit", file, "--strategy", "last-k:k=1", "--model", tiny_encoder_dir, *out, *LEARN)
        with only_head("standard"):
            said = say(*command, "--set", "num_train_epochs=2", *more)
        assert said.code == 0, said.err
        record = json.loads((tmp_path / name / "record.json").read_text(encoding="utf-8"))
        return (record, said.err) if saying else record

    return run


@pytest.fixture
def passes(monkeypatch):
    """The depths of each pass that computed states."""
    seen = []
    real = PrefixMemory._run_through
    monkeypatch.setattr(PrefixMemory, "_run_through", lambda *args: seen.append(sorted(args[3])) or real(*args))
    return seen


def states(folder):
    return sorted((folder / "states").glob("*.states"))


def test_a_second_command_on_the_same_text_computes_no_frozen_layer(fit, passes, own_cache, tmp_path):
    first = fit("first")
    assert passes == [[2]], "one pass, and of the depths that will be asked for only"
    (kept,) = states(own_cache)
    second = fit("second")
    assert passes == [[2]]
    assert first["handed_over"]["weights_sha256"] == second["handed_over"]["weights_sha256"]
    assert not any("cache" in name for name in first["settings"]), "a record names no folder of this machine"
    data = bytearray(kept.read_bytes())
    data[-1] ^= 1
    kept.write_bytes(data)
    third = fit("third")
    assert passes == [[2], [2]]
    assert third["handed_over"]["weights_sha256"] == first["handed_over"]["weights_sha256"]


def test_the_cache_is_where_and_as_large_as_the_user_says(fit, passes, own_cache, tmp_path):
    fit("first", "--cache-dir", tmp_path / "mine")
    assert len(states(tmp_path / "mine")) == 1
    fit("second", "--cache-size", "0")
    fit("third", "--cache-size", "1KB")
    assert passes == [[2], [2], [2]]
    assert not own_cache.exists() or not states(own_cache)


def test_a_dry_run_leaves_the_cache_alone(file, tiny_encoder_dir, own_cache):
    command = ("fit", file, "--strategy", "last-k:k=1", "--model", tiny_encoder_dir, "--dry-run")
    said = say(*command, "--cache-dir", own_cache)
    assert said.code == 0, said.err
    assert not own_cache.exists()


def test_a_cache_that_cannot_be_written_is_told_once_and_the_model_is_trained(fit, own_cache):
    own_cache.write_text("a file is in the way")
    record, said = fit("out", saying=True)
    assert record["handed_over"] is not None
    assert said.count("going on without it") == 1


def test_the_command_shows_what_is_kept_and_deletes_it(fit, own_cache):
    assert say("cache").out == f"{own_cache / 'states'}: nothing is kept\n"
    fit("out")
    shown = say("cache")
    assert shown.code == 0
    assert "BertModel, 32 wide" in shown.out
    assert "fp32 on cpu" in shown.out
    assert "1 file" in shown.out
    found = json.loads(say("cache", "--json").out)
    assert [file["depth"] for file in found["files"]] == [2]
    assert found["bytes"] == sum(path.stat().st_size for path in states(own_cache)) > 0
    assert found == cache(cache_dir=own_cache)
    cleared = say("cache", "--clear", "--cache-dir", own_cache)
    assert (cleared.code, cleared.err) == (0, "")
    assert "deleted" in cleared.out
    assert list((own_cache / "states").iterdir()) == []
    assert cache()["files"] == []


def test_a_file_that_cannot_be_read_is_shown_as_such_and_other_peoples_files_stay(own_cache):
    (own_cache / "states").mkdir(parents=True)
    (own_cache / "states" / "0.states").write_bytes(b"nonsense")
    (own_cache / "states" / "notes.txt").write_text("mine")
    assert "cannot be read" in say("cache").out
    assert say("cache", "--clear").code == 0
    assert [path.name for path in (own_cache / "states").iterdir()] == ["notes.txt"]


def test_what_cannot_be_deleted_is_told_in_one_line(own_cache):
    (own_cache / "states" / "0.states").mkdir(parents=True)
    refused(say("cache", "--clear"), 3, "0.states", "--cache-dir names another folder")


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("2GB", 2 * 10**9),
        ("500MB", 5 * 10**8),
        ("1.5 kb", 1500),
        ("2G", 2 * 10**9),
        ("1TB", 10**12),
        ("3MiB", 3 * 1024**2),
        ("7B", 7),
        ("0", 0),
        (4096, 4096),
    ],
)
def test_sizes_are_bytes(written, number):
    assert bytes_of(written) == number


@pytest.mark.parametrize("written", ["", "GB", "2XB", "-1", "1e9", "two", "1,5GB", "nan", -5])
def test_what_is_no_size_is_refused_with_its_spelling(written, file):
    with pytest.raises(SettingsError, match=r"a size is a number of bytes such as 500MB or 2GB, 0 for none; got"):
        bytes_of(written)
    refused(say("fit", file, "--strategy", "full", f"--cache-size={written}"), 2, "500MB")
