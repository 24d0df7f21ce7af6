"""What others wrote is plain, bounded data before anything is built from it; lines for a terminal are short and printable."""

from __future__ import annotations

import zipfile

import pytest

from components.compose import compose
from components.compose.yaml_files import parse_yaml
from components.core import content, files, memory
from components.core.errors import UserError, found_in


def nested(levels: int) -> list:
    value: list = []
    for _ in range(levels):
        value = [value]
    return value


def test_plain_data_stays_as_it_is():
    held = {"a": [1, 2.5, None, True, "x"], 3: {"b": {}}}
    assert content.plain(held, "x.json") is held
    assert content.plain(nested(content.DEPTH - 1), "x.json")


@pytest.mark.parametrize(
    ("held", "says"),
    [
        (nested(content.DEPTH), "nested deeper than 64"),
        ({"a": {"b": 10**400}}, r"a\.b: holds a whole number of 1329 bits"),
        ({"a": b"x"}, "holds a bytes"),
        ({"a": "\ud800"}, "surrogate"),
        ({(1, 2): 3}, "holds a tuple"),
        ([[0] * 1000] * 1000, "more than 500,000 values"),
    ],
)
def test_anything_else_is_refused_with_the_file(held, says):
    with pytest.raises(UserError, match=r"^x\.json.*" + says):
        content.plain(held, "x.json")


def test_aliases_are_counted_before_they_are_followed():
    lines = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    for i in range(8):
        lines.append(f"b{i}: &b{i} [{', '.join(['*' + (f'b{i - 1}' if i else 'a')] * 10)}]")
    with pytest.raises(UserError, match=r"x\.yaml: stands for more than"):
        parse_yaml("\n".join(lines), "x.yaml")
    assert parse_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}", "x.yaml") == {"a": {"x": 1}, "b": {"x": 1, "y": 2}}
    with pytest.raises(UserError, match=r"x\.yaml"):
        parse_yaml("a: &a [*a]", "x.yaml")


def test_a_line_is_short_and_printable():
    error = UserError("dir/x.ckpt", "has \x1b[2J\u202e in it\n" + "y" * 10_000, "instead " + "z" * 10_000)
    line = error.line()
    assert len(line) <= 300
    assert line.isprintable()
    assert line.startswith("dir/x.ckpt: has \\x1b[2J\\u202e in it ")
    assert "instead" in line
    assert UserError("a", "b", "c").line() == "a: b; c"
    assert len(UserError("w" * 10_000, "x").line()) <= 300


def test_the_file_is_named_once():
    with pytest.raises(UserError, match=r"^x\.ckpt: model: is wrong; mend it$"), found_in("x.ckpt"):
        raise UserError("model", "is wrong", "mend it")
    with pytest.raises(UserError, match=r"^x\.ckpt: is wrong$"), found_in("x.ckpt"):
        raise UserError("x.ckpt", "is wrong")


def test_memory_is_held_against_what_is_asked():
    memory.hold(1, "model", "its weights", "make it smaller")
    with pytest.raises(UserError, match=r"^model: needs 8\.0 TB for its weights, and this machine has .*; make it smaller$"):
        memory.hold(8 * 10**12, "model", "its weights", "make it smaller")
    assert [memory.shown(n) for n in (5, 1500, 24 * 10**9, 10**15)] == ["5 bytes", "1.5 kB", "24.0 GB", "1.0 PB"]


@pytest.mark.parametrize("word", ["model.n_layers=1000000000", "model.d_model=" + "9" * 36, "task.num_workers=100000"])
def test_numbers_have_ranges(word):
    with pytest.raises(UserError, match="out of range"):
        compose("llama_tiny", [word])


def test_paths_and_environment_of_a_stranger(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET", "7")
    (tmp_path / "recipes").mkdir()
    said = "# Mine.\ndefaults: [llama_tiny]\nseed: ${oc.env:SECRET}\npaths: {runs: elsewhere}\n"
    for file in (tmp_path / "recipes" / "mine.yaml", tmp_path / "r.yaml"):
        file.write_text(said)
    own = compose("mine", cwd=tmp_path).config
    assert (str(own["seed"]), own["paths"]["runs"]) == ("7", "elsewhere")
    with pytest.raises(UserError, match=r"r\.yaml.*oc\.env"):
        compose("./r.yaml", cwd=tmp_path)
    (tmp_path / "r.yaml").write_text(said.replace("${oc.env:SECRET}", "1"))
    with pytest.raises(UserError, match=r"r\.yaml: paths: .*does not say where"):
        compose("./r.yaml", cwd=tmp_path)
    assert compose(None, base=own, cwd=tmp_path).config["paths"]["runs"] == "runs"
    with pytest.raises(UserError, match=r"x\.ckpt: .*oc\.env"):
        compose(None, base={**own, "seed": "${oc.env:SECRET}"}, cwd=tmp_path, source="x.ckpt")


def test_a_flipped_byte_is_seen(tmp_path):
    import torch

    from components.runs.archive import check_archive

    file = tmp_path / "x.ckpt"
    torch.save({"state_dict": {"a": torch.arange(1000.0)}}, file)
    check_archive(file)
    with zipfile.ZipFile(file) as archive:
        member = next(m for m in archive.infolist() if "/data/" in m.filename)
    held = bytearray(files.read_bytes(file))
    at = held.find(torch.arange(1000.0).numpy().tobytes())
    assert member.file_size == 4000
    held[at + 2001] ^= 4
    file.write_bytes(held)
    assert torch.load(file, weights_only=True, mmap=True)["state_dict"]["a"].shape == (1000,)
    with pytest.raises(UserError, match="checksum"):
        check_archive(file)
