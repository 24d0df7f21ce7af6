"""Files: read without trust, written whole, never through a link."""

from __future__ import annotations

import os

import pytest

from components.core import files
from components.core.errors import UserError


@pytest.fixture
def odd(tmp_path):
    """Names in a folder that are no files."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    return tmp_path


@pytest.mark.parametrize("name", ["folder", "pipe", "endless", "circle", "missing", "nul\0l"])
def test_what_is_no_file_is_not_read(odd, name):
    with pytest.raises(UserError, match=r"is a folder|is a pipe|is a device|cannot be read"):
        files.read_bytes(odd / name)


def test_a_link_to_a_file_is_read_as_in_caches_of_checkpoints(tmp_path):
    (tmp_path / "blob").write_text("\ufeffhello", encoding="utf8")
    (tmp_path / "name").symlink_to("blob")
    assert files.read_text(tmp_path / "name") == "hello"


def test_size_encoding_and_depth_are_bounded(tmp_path):
    file = tmp_path / "x.json"
    file.write_bytes(b"caf\xe9")
    with pytest.raises(UserError, match=r"x\.json: is no UTF-8 \(byte 3\)"):
        files.read_text(file)
    with pytest.raises(UserError, match=r"x\.json: is larger than 3 bytes"):
        files.read_bytes(file, most=3)
    for text in ("[" * 100000, '{"a":' * 100000, "1" * 5000, "{", ""):
        file.write_text(text)
        with pytest.raises(UserError, match=r"x\.json: is no JSON"):
            files.read_json(file)


def test_written_whole_or_not_at_all(tmp_path):
    file = tmp_path / "x"
    files.write_text(file, "old\ud800")
    assert file.read_text() == "old?"

    def broken():
        with files.whole(file) as stream:
            stream.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    assert file.read_text() == "old?"
    assert os.listdir(tmp_path) == ["x"]


def test_a_link_is_replaced_or_refused_never_followed(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("mine")
    for name in ("x", "log"):
        (tmp_path / name).symlink_to(mine)
    files.write_text(tmp_path / "x", "theirs")
    with pytest.raises(UserError, match="is a link"):
        files.open_append(tmp_path / "log")
    assert mine.read_text() == "mine"
    assert (tmp_path / "x").read_text() == "theirs"


def test_adding_needs_a_regular_file(odd):
    with files.open_append(odd / "new") as f:
        f.write(b"a")
    with files.open_append(odd / "new") as f:
        f.write(b"b")
    assert (odd / "new").read_bytes() == b"ab"
    for name in ("folder", "pipe"):
        with pytest.raises(UserError, match=name):
            files.open_append(odd / name)


def test_what_cannot_be_written_is_said(odd):
    (odd / "file").write_text("x")
    for name in ("file/x", "missing/x", "folder"):
        with pytest.raises(UserError, match="cannot be written"):
            files.write_text(odd / name, "text")
    assert sorted(os.listdir(odd)) == ["circle", "endless", "file", "folder", "pipe"]


def test_parts_that_a_killed_process_left_are_removed(tmp_path):
    left, young = tmp_path / "x.00000000.part", tmp_path / "x.11111111.part"
    for part in (left, young):
        part.write_text("")
    os.utime(left, (0, 0))
    files.write_text(tmp_path / "x", "text")
    assert sorted(os.listdir(tmp_path)) == ["x", "x.11111111.part"]
