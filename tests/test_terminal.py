"""What stands behind the standard streams is not ours: no character, no reader that left and no full disk ends a training."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress

import pytest

from components.core import terminal
from components.core.errors import UserError
from components.core.option_types import parse_type

TYPED = b"caf\xe9".decode("utf8", "surrogateescape")


def console(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict", write_through=True)


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    monkeypatch.setattr(terminal, "LOST", [])


@pytest.mark.parametrize(("encoding", "there"), [("cp1252", "caf\xe9 ??"), ("ascii", "caf? ??"), ("utf-8", "caf\xe9 日█")])
def test_what_a_stream_cannot_hold_is_replaced(encoding, there, monkeypatch):
    out = console(encoding)
    monkeypatch.setattr(sys, "stdout", out)
    terminal.show("caf\xe9 日█", end="")
    terminal.tell("|caf\xe9 日█", out, end="")
    assert out.buffer.getvalue().decode(encoding) == f"{there}|{there}"


def test_a_name_that_is_no_utf8_is_printed(monkeypatch):
    out = console("utf-8")
    monkeypatch.setattr(sys, "stdout", out)
    terminal.show(f"{TYPED}.txt")
    assert out.buffer.getvalue() == b"caf?.txt\n"


def test_a_stream_with_a_way_of_its_own_keeps_it(monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="surrogateescape", write_through=True)
    monkeypatch.setattr(sys, "stdout", out)
    terminal.show(TYPED, end="")
    assert out.buffer.getvalue() == b"caf\xe9"


def test_without_a_stream_nothing_is_printed(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    terminal.show("a")
    terminal.tell("a")
    terminal.complain("a")
    assert not terminal.is_live(None)
    assert terminal.finish(0) == 0


def closed_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


def full_disk():
    return open("/dev/full", "w")


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("made", [closed_pipe, full_disk, closed])
def test_telling_is_never_an_error(made):
    stream = made()
    for _ in range(3):
        terminal.tell("step 5", stream)
    terminal.is_live(stream)
    with suppress(OSError):
        stream.close()


@pytest.mark.parametrize(("made", "error"), [(closed_pipe, BrokenPipeError), (full_disk, UserError)])
def test_a_command_whose_output_is_its_work_ends(made, error, monkeypatch):
    stream = made()
    monkeypatch.setattr(sys, "stdout", stream)
    with pytest.raises(error):
        terminal.show("a table", flush=True)
    monkeypatch.undo()
    with suppress(OSError):
        stream.close()


def test_text_is_told_from_bytes():
    terminal.require_text("x", "日本", ["caf\xe9"], {"role": "user"}, None)
    for given in (TYPED, ["a", TYPED], {"content": TYPED}, [{"content": TYPED}]):
        with pytest.raises(UserError, match="x: is no UTF-8: byte 0xe9 at character 4"):
            terminal.require_text("x", given)
    with pytest.raises(UserError, match=r"lone surrogate U\+D800 at character 1"):
        terminal.require_text("x", "\ud800")


def test_an_option_holds_text_and_a_path_any_bytes():
    assert "is no UTF-8" in parse_type("str").fault(TYPED)
    assert "is no UTF-8" in parse_type("tuple[str, ...]").fault(["a", TYPED])
    assert "is no UTF-8" in parse_type("str | None").fault(TYPED)
    assert parse_type("Path").fault(TYPED) is None
    assert parse_type("Path | None").fault(TYPED) is None
