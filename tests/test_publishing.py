"""What is published replaces what was there; a kill between any two of its steps leaves the one or the other."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
from pathlib import Path

import pytest

from components.core import publishing
from components.core.publishing import also_as, held, publish, recover


class Killed(BaseException):
    """What nothing catches."""


def make(path: Path, kind: str, text: str) -> None:
    if kind == "folder":
        path.mkdir()
        for name in ("a", "b"):
            (path / name).write_text(text)
    elif kind == "file":
        path.write_text(text)


def content(path: Path) -> set[str]:
    return {f.read_text() for f in path.iterdir()} if path.is_dir() else {path.read_text()}


def dies_at(monkeypatch: pytest.MonkeyPatch, step: int) -> list[int]:
    """The process ends instead of the ``step``-th change of the disk; how many there were."""
    done = [0]

    def wrapped(call):
        def instead(*args, **named):
            done[0] += 1
            if done[0] > step:
                raise Killed
            return call(*args, **named)

        return instead

    for module, name in ((os, "rename"), (os, "replace"), (os, "unlink"), (os, "rmdir"), (os, "link")):
        monkeypatch.setattr(module, name, wrapped(getattr(module, name)))
    return done


KINDS = [k for k in itertools.product(("file", "folder"), ("file", "folder"), (publish, also_as))]


@pytest.mark.parametrize(("new", "old", "how"), KINDS)
def test_a_kill_at_any_step_leaves_the_old_or_the_new(tmp_path, new, old, how):
    for step in range(40):
        folder = tmp_path / str(step)
        folder.mkdir()
        make(folder / "fresh", new, "new")
        make(folder / "last.ckpt", old, "old")
        with pytest.MonkeyPatch.context() as patch:
            done = dies_at(patch, step)
            try:
                how(folder / "fresh", folder / "last.ckpt")
                ended = True
            except Killed:
                ended = False
        found = content(held(folder / "last.ckpt"))
        assert found in ({"old"}, {"new"})
        recover(folder)
        assert content(folder / "last.ckpt") == found
        assert held(folder / "last.ckpt") == folder / "last.ckpt"
        make(folder / "later", new, "later")
        publish(folder / "later", folder / "last.ckpt")
        assert content(folder / "last.ckpt") == {"later"}
        if ended:
            assert done[0] == step, "the last step was not reached"
            assert found == {"new"}
            left = {f.name for f in folder.iterdir()}
            assert left == ({"last.ckpt", "fresh"} if how is also_as else {"last.ckpt"})
            return
    pytest.fail("it does not end")


def test_a_link_is_replaced_and_not_followed(tmp_path):
    make(tmp_path / "elsewhere", "folder", "theirs")
    (tmp_path / "last.ckpt").symlink_to(tmp_path / "elsewhere")
    make(tmp_path / "fresh", "folder", "new")
    publish(tmp_path / "fresh", tmp_path / "last.ckpt")
    assert not (tmp_path / "last.ckpt").is_symlink()
    assert content(tmp_path / "last.ckpt") == {"new"}
    assert content(tmp_path / "elsewhere") == {"theirs"}


def test_what_cannot_be_put_in_place_leaves_what_is_there(tmp_path, monkeypatch):
    make(tmp_path / "fresh", "folder", "new")
    make(tmp_path / "last.ckpt", "folder", "old")
    rename = os.rename

    def refusing(source, target):
        if Path(source).name == "fresh":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(source, target)

    monkeypatch.setattr(publishing.os, "rename", refusing)
    with pytest.raises(OSError, match="Input/output"):
        publish(tmp_path / "fresh", tmp_path / "last.ckpt")
    assert content(tmp_path / "last.ckpt") == {"old"}
    assert {f.name for f in tmp_path.iterdir()} == {"fresh", "last.ckpt"}


def test_a_folder_is_copied_where_the_disk_has_no_links(tmp_path, monkeypatch):
    make(tmp_path / "fresh", "folder", "new")
    monkeypatch.setattr(publishing.os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EOPNOTSUPP, "no")))
    also_as(tmp_path / "fresh", tmp_path / "best.ckpt")
    shutil.rmtree(tmp_path / "fresh")
    assert content(tmp_path / "best.ckpt") == {"new"}
