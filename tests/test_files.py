import errno
import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError

from unfreeze import files
from unfreeze.errors import StorageError
from unfreeze.files import (
    MANIFEST,
    digest_of,
    is_whole,
    publish_folder,
    read_json,
    told_plainly,
    whole_file,
    write_bytes,
    write_json,
    write_text,
)


def with_fault(act, number):
    """Act while the n-th operation that changes the disk fails; gives whether one failed."""
    calls = 0

    def failing(real):
        def call(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == number:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*args, **kwargs)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files.os, "fsync", failing(os.fsync))
        for name in ("open", "mkdir", "rename", "replace"):
            patch.setattr(Path, name, failing(getattr(Path, name)))
        said = error_of(act)
    assert (said is not None) == (calls >= number), f"operation {number} failed without a word"
    assert said is None or "the disk is full; free some space" in said
    return said is not None


def error_of(act):
    try:
        act()
    except StorageError as error:
        return str(error)
    return None


@pytest.mark.parametrize("before", [None, b"old"])
def test_a_file_is_the_old_or_the_new_one_whatever_fails(before, tmp_path):
    path, number, held = tmp_path / "folder" / "file", 0, set()
    path.parent.mkdir()
    while True:
        number += 1
        path.write_bytes(before) if before else path.unlink(missing_ok=True)
        failed = with_fault(lambda: write_bytes(path, b"new"), number)
        held.add(path.read_bytes() if path.exists() else None)
        assert held <= {before, b"new"}
        assert {p.name for p in path.parent.iterdir()} <= {"file"}, "nothing is left over"
        if not failed:
            break
    assert number > 4
    assert held == {before, b"new"}


def test_a_file_in_pieces_appears_at_the_end_or_not_at_all(tmp_path):
    path = tmp_path / "folder" / "file"
    with whole_file(path) as write:
        write(b"one, ")
        write(b"two")
        assert not path.exists()
    assert path.read_bytes() == b"one, two"

    def interrupted(error):
        with whole_file(path) as write:
            write(b"three")
            raise error

    for error in (ValueError("a bug"), KeyboardInterrupt(), OSError(errno.EIO, "of another file")):
        with pytest.raises(type(error)) as caught:
            interrupted(error)
        assert caught.value is error, "what goes wrong elsewhere is not told of this file"
        assert [p.read_bytes() for p in path.parent.iterdir()] == [b"one, two"], "nothing is left over"


def fill_with(content):
    def fill(folder):
        (folder / "inner").mkdir()
        write_text(folder / "inner" / "file.txt", content)
        write_json(folder / "state.json", {"is": content})

    return fill


@pytest.mark.parametrize("before", [None, "old"])
def test_a_folder_is_the_old_or_the_new_one_whatever_fails(before, tmp_path):
    folder, number, held = tmp_path / "folder", 0, set()
    while True:
        number += 1
        if before:
            publish_folder(folder, fill_with(before))
        failed = with_fault(lambda: publish_folder(folder, fill_with("new")), number)
        held.add(read_json(folder / "state.json")["is"] if folder.exists() else None)
        assert not folder.exists() or is_whole(folder)
        assert held <= {before, "new"}, number
        assert {p.name for p in tmp_path.iterdir()} <= {"folder"}, "nothing is left over"
        if not failed:
            break
        if not before and folder.exists():  # published, though the last sync failed
            folder.rename(tmp_path / "gone")
            shutil.rmtree(tmp_path / "gone")
    assert number > 10
    assert held == {before, "new"}


def test_a_failing_fill_leaves_the_former_folder(tmp_path):
    publish_folder(tmp_path / "a", fill_with("old"))

    def broken(folder):
        write_text(folder / "half", "x")
        raise ValueError("a bug in what fills the folder")

    with pytest.raises(ValueError, match="a bug"):
        publish_folder(tmp_path / "a", broken)
    assert is_whole(tmp_path / "a")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "your disk quota is used up"),
        (errno.EACCES, "there is no permission to write here"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
def test_each_failure_of_the_file_system_is_said_in_one_sentence(number, said, tmp_path):
    for error in (OSError(number, "x"), SafetensorError(f"Error while serializing: I/O error: x (os error {number})")):
        with pytest.raises(StorageError, match=f"^{tmp_path}: cannot be written: {said}"), told_plainly(tmp_path):
            raise error


def test_a_place_that_cannot_be_written_names_the_option_of_the_command(tmp_path):
    for error in (errno.EACCES, errno.EROFS):
        with pytest.raises(StorageError, match=r"choose another place with --output-dir$"), told_plainly(tmp_path):
            raise OSError(error, "x")
        with pytest.raises(StorageError, match=r"--output$"), told_plainly(tmp_path, option="--output"):
            raise OSError(error, "x")


def test_an_error_without_a_number_is_told_in_its_own_words(tmp_path):
    with pytest.raises(StorageError, match="cannot be written: tensors share memory"), told_plainly(tmp_path):
        raise SafetensorError("tensors share memory")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(content=json_values)
def test_json_comes_back_exactly(content, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "content.json"
    try:
        write_json(path, content)
    except UnicodeEncodeError:
        return  # half a surrogate pair is no text
    assert read_json(path) == content


def test_json_that_other_readers_could_not_read_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [None, b"{", b"\xff\xfe"])
def test_json_that_cannot_be_read_is_named(content, tmp_path):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StorageError, match=r"a\.json: cannot be read: "):
        read_json(path)


def test_a_folder_with_a_changed_or_missing_file_is_not_whole(tmp_path):
    folder = tmp_path / "a"
    assert not is_whole(folder)
    publish_folder(folder, fill_with("x"))
    assert is_whole(folder)
    listed = json.loads((folder / MANIFEST).read_text())["files"]
    assert listed["state.json"] == digest_of(folder / "state.json")
    assert len(listed) == 2
    (folder / "inner" / "file.txt").write_text("y")
    assert not is_whole(folder)
    (folder / "inner" / "file.txt").unlink()
    assert not is_whole(folder)
