"""GGUF files: numbers and logits are those that transformers makes of the same file; strangers' files end in one line."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import checkpoints as made
import pytest
import torch
from gguf_files import IDS, KINDS, by_transformers, model_of, written
from safetensors.torch import load_file

import components
from components.cli import main
from components.core.errors import UserError
from components.interop.gguf_file import read_gguf
from components.interop.gguf_header import read_header
from components.runs.gguf_tokenizer import read_in_gguf

gguf = pytest.importorskip("gguf")
transformers = pytest.importorskip("transformers")
TYPES = ("F32", "F16", "BF16", "Q8_0", "Q4_K", "Q6_K")


@pytest.mark.parametrize(("kind", "type_"), [*(("llama", t) for t in TYPES), ("qwen2", "F16"), ("qwen3", "Q8_0")])
def test_numbers_and_logits_are_those_of_transformers(kind, type_, tmp_path):
    file = written(tmp_path / "model.gguf", model_of(kind), kind, type_)
    theirs = by_transformers(file)
    config, tensors = read_gguf(file)
    held = theirs.state_dict()
    assert tensors.names == held.keys()
    assert all(torch.equal(tensors[n].float(), held[n]) for n in held)
    with torch.no_grad():
        wanted, ours = theirs(IDS).logits, components.load(file).model(IDS)
    assert (ours - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    assert config["rms_norm_eps"] == 1e-6  # as it was written; fp32 in the file


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_imported_and_comes_out_as_the_model_that_it_was_made_of(kind, tmp_path, capsys):
    model = model_of(kind, tied=kind == "qwen3")
    file = written(tmp_path / "model.gguf", model, kind, "F32")
    assert main(["import", str(file), "--to", str(tmp_path / "run")]) == 0
    assert f"{KINDS[kind]}: " in capsys.readouterr().out
    assert main(["export", str(tmp_path / "run"), "--to", str(tmp_path / "out")]) == 0
    found = load_file(tmp_path / "out" / "model.safetensors")
    held = {n: t for n, t in model.state_dict().items() if n in found}
    assert found.keys() == held.keys()
    assert all(torch.equal(found[n], held[n]) for n in found)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        assert torch.equal(again(IDS).logits, model(IDS).logits)


def test_the_tokenizer_beside_a_file_is_taken(tmp_path):
    folder = made.llama(tmp_path / "theirs", rows=96)
    file = written(folder / "model.gguf", model_of("llama"), "llama", "F16")
    assert components.load(file).tokenizer.encode("The fox") == components.load(folder).tokenizer.encode("The fox")


def test_the_tokenizer_inside_needs_transformers(tmp_path, monkeypatch):
    file = tmp_path / "model.gguf"
    out = gguf.GGUFWriter(file, "llama")
    out.add_token_list(["a", "b"])
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.close()
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"which transformers converts.*interop"):
        read_in_gguf(file)


def test_what_changes_the_numbers_is_refused_by_name(tmp_path):
    for name, value, said in (
        ("llama.expert_count", 8, r"llama\.expert_count=8 is not read"),
        ("llama.rope.scaling.type", "yarn", r"llama\.rope\.scaling\.type='yarn' is not read"),
        ("llama.attention.key_length", 16, "width of a head"),
    ):
        with pytest.raises(UserError, match=said):
            read_gguf(written(tmp_path / "model.gguf", model_of("llama"), "llama", "F32", **{name: value}))
    with pytest.raises(UserError, match=r"general\.architecture='mpt' is not read: there are llama"):
        read_gguf(headed(tmp_path, pairs=[key("general.architecture") + struct.pack("<IQ", 8, 3) + b"mpt"]))


def key(name: str) -> bytes:
    return struct.pack("<Q", len(name)) + name.encode()


def headed(
    folder: Path, *, pairs: list[bytes] | None = None, tensors: list[bytes] | None = None, counts: tuple[int, int] | None = None
) -> Path:
    file = folder / "hostile.gguf"
    n = counts or (len(tensors or []), len(pairs or []))
    file.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, *n) + b"".join([*(pairs or []), *(tensors or [])]) + b"\0" * 64)
    return file


HOSTILE = {
    "empty": b"",
    "magic alone": b"GGUF",
    "another file": b"PK\3\4" + b"\0" * 50,
    "version 9": b"GGUF" + struct.pack("<IQQ", 9, 0, 0),
    "10^18 values": b"GGUF" + struct.pack("<IQQ", 3, 0, 10**18),
    "10^18 tensors": b"GGUF" + struct.pack("<IQQ", 3, 10**18, 0),
    "a long key": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**62) + b"x" * 40,
    "no text": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 4) + b"\xff\xfe\xfd\xfc" + b"\0" * 40,
    "an array of 2^60": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + key("a") + struct.pack("<IIQ", 9, 0, 2**60) + b"\0" * 40,
    "texts 2^60": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + key("a") + struct.pack("<IIQ", 9, 8, 2**60) + b"\0" * 40,
    "arrays in arrays": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + key("a") + struct.pack("<IIQ", 9, 9, 1) * 9 + b"\0" * 40,
    "a value of no type": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + key("a") + struct.pack("<I", 77) + b"\0" * 40,
    "nine axes": b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + key("a") + struct.pack("<I9QIQ", 9, *[1] * 9, 0, 0),
    "beyond the end": b"GGUF"
    + struct.pack("<IQQ", 3, 1, 0)
    + key("a")
    + struct.pack("<I2QIQ", 2, 2**31, 2**31, 0, 0)
    + b"\0" * 40,
    "half a block": b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + key("a") + struct.pack("<IQIQ", 1, 7, 8, 0) + b"\0" * 40,
    "another type": b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + key("a") + struct.pack("<IQIQ", 1, 32, 10, 0) + b"\0" * 40,
    "alignment 0": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + key("general.alignment") + struct.pack("<II", 4, 0) + b"\0" * 40,
    "no architecture": b"GGUF" + struct.pack("<IQQ", 3, 0, 0) + b"\0" * 40,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_strangers_files_end_in_one_line(what, tmp_path, capsys):
    (tmp_path / "x.gguf").write_bytes(HOSTILE[what])
    assert main(["import", str(tmp_path / "x.gguf"), "--to", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert "x.gguf" in said or "GGUF tensor 'a'" in said
    assert [f.name for f in tmp_path.iterdir()] == ["x.gguf"]


def test_every_truncation_ends_in_one_line(tmp_path):
    whole = written(tmp_path / "model.gguf", model_of("llama"), "llama", "Q8_0").read_bytes()
    file = tmp_path / "cut.gguf"
    for length in [*range(0, 400, 7), len(whole) // 2, len(whole) - 33]:
        file.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"cut\.gguf"):
            read_header(file)
