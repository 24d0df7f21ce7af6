"""Whatever is wrong with a checkpoint is said in one line, with exit code 2, and nothing half written stays."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import checkpoints as made
import pytest
import torch
from safetensors.torch import load_file, save_file

import components
from components.cli import main
from components.core.errors import UserError

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return made.llama(tmp_path_factory.mktemp("sound") / "theirs")


@pytest.fixture(scope="module")
def run(sound, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    assert main(["import", str(sound), "--to", str(folder)]) == 0
    return folder


def tensors(change: Callable[[dict], None]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        held = load_file(folder / "model.safetensors")
        change(held)
        save_file(held, folder / "model.safetensors", metadata={"format": "pt"})

    return apply


def fields(**values) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))

    return apply


def text(name: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(content) and None


def truncated(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


class Hostile:
    """What makes a folder when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = str(place)

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (self.place,)


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"a": Hostile(folder.parent / "run")}, folder / "pytorch_model.bin")


def index(**content) -> Callable[[Path], None]:
    return text("model.safetensors.index.json", json.dumps(content))


Q0, DOWN1 = "model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.down_proj.weight"


def several(held: dict) -> None:
    del held["model.norm.weight"]
    held["model.layers.7.mlp.up_proj.weight"] = torch.zeros(2, 2)
    held[Q0] = torch.zeros(3, 5)


WRONG = {
    "a tensor is missing": (tensors(lambda t: t.pop(Q0)), [f"{Q0} is missing"]),
    "a tensor too many": (tensors(lambda t: t.update(extra=torch.zeros(2))), ["extra has no place in the model"]),
    "another shape": (tensors(lambda t: t.update({DOWN1: torch.zeros(4, 64)})), [f"{DOWN1} is 4x64, not 32x64"]),
    "several at once": (
        tensors(several),
        ["model.norm.weight is missing", "model.layers.7.mlp.up_proj.weight has no place", f"{Q0} is 3x5, not 32x32"],
    ),
    "a truncated file": (truncated, ["model.safetensors", "is damaged"]),
    "no safetensors file": (text("model.safetensors", "hello"), ["is damaged"]),
    "an empty file": (text("model.safetensors", ""), ["is damaged"]),
    "an index of a missing file": (
        index(weight_map={Q0: "model-00001-of-00002.safetensors"}),
        ["names model-00001-of-00002.safetensors, which is not there"],
    ),
    "an index without names": (index(metadata={}), ["weight_map"]),
    "an index that leads elsewhere": (index(weight_map={Q0: "../other/model.safetensors"}), ["outside of the folder"]),
    "pickled weights alone": (pickled, ["pytorch_model.bin", "could run code", "safetensors version"]),
    "no weights": (without("model.safetensors"), ["no weights"]),
    "an unknown architecture": (
        fields(architectures=["LamaForCausalLM"]),
        ["LamaForCausalLM", "did you mean 'LlamaForCausalLM'"],
    ),
    "no architecture": (fields(architectures=None, model_type=None), ["names no architecture"]),
    "architectures that are no list": (fields(architectures="LlamaForCausalLM"), ["architectures"]),
    "an unsupported value": (fields(hidden_act="gelu"), ["hidden_act='gelu'", "'silu'"]),
    "two unsupported values": (
        fields(hidden_act="gelu", rope_parameters={"rope_type": "wavy"}),
        ["hidden_act='gelu'", "rope_type='wavy'"],
    ),
    "an unknown field": (fields(head_twist=3), ["head_twist=3", "may change the numbers"]),
    "a value of another type": (fields(hidden_size="wide"), ["config.json: gives no model: model.d_model", "'wide'"]),
    "sizes that do not go together": (fields(num_attention_heads=5), ["n_heads=5"]),
    "a needed field is missing": (lambda f: made.changed(f, hidden_size=None), ["hidden_size is missing"]),
    "no config.json": (without("config.json"), ["config.json", "is not there"]),
    "a broken config.json": (text("config.json", '{"architectures": ['), ["config.json", "is no JSON that can be read"]),
    "a config.json that is a list": (text("config.json", "[]"), ["no JSON object"]),
    "a broken tokenizer.json": (text("tokenizer.json", "{}"), ["tokenizer.json"]),
    "a broken tokenizer_config.json": (text("tokenizer_config.json", "{"), ["tokenizer_config.json", "no JSON"]),
    "a broken generation_config.json": (text("generation_config.json", "{"), ["generation_config.json", "no JSON"]),
}


@pytest.mark.parametrize("what", WRONG)
def test_said_in_one_line_and_nothing_is_written(what, sound, tmp_path, capsys):
    break_it, said = WRONG[what]
    folder = tmp_path / "theirs"
    shutil.copytree(sound, folder)
    break_it(folder)
    assert main(["import", str(folder), "--to", str(tmp_path / "run")]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    for words in said:
        assert words in shown.err
    assert [f.name for f in tmp_path.iterdir()] == ["theirs"]
    if folder.joinpath("config.json").exists():
        with pytest.raises(UserError):
            components.load(folder)


def test_faults_of_equal_layers_are_one(sound, tmp_path, capsys):
    shutil.copytree(sound, tmp_path / "theirs")
    tensors(lambda t: [t.pop(n) for n in list(t) if "q_proj" in n])(tmp_path / "theirs")
    assert main(["import", str(tmp_path / "theirs"), "--to", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert said.endswith("LlamaForCausalLM: model.layers.{i}.self_attn.q_proj.weight is missing (layers 0_1)\n")


def test_many_faults_are_counted(sound, tmp_path, capsys):
    shutil.copytree(sound, tmp_path / "theirs")
    tensors(lambda t: t.update({f"of_{i}_kinds": torch.zeros(2) for i in range(20)}))(tmp_path / "theirs")
    assert main(["import", str(tmp_path / "theirs"), "--to", str(tmp_path / "run")]) == 2
    assert " and 8 more" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["import", "export"])
def test_a_target_that_is_there_is_left_alone(name, sound, run, tmp_path, capsys):
    target = tmp_path / "target"
    target.mkdir()
    (target / "mine.txt").write_text("keep")
    assert main([name, str(sound if name == "import" else run), "--to", str(target)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert [f.name for f in target.iterdir()] == ["mine.txt"]
    (tmp_path / "file").write_text("keep")
    assert main([name, str(sound if name == "import" else run), "--to", str(tmp_path / "file")]) == 2
    assert (tmp_path / "file").read_text() == "keep"
    capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["import", "{sound}"], "needs either --to RUN or --config-only"),
        (["import", "{sound}", "--to", "x", "--config-only"], "needs either --to RUN or --config-only"),
        (["import", "./nowhere", "--to", "x"], "there is no such folder"),
        (["export", "{run}"], "needs a run and --to PLACE"),
        (["export", "nowhere", "--to", "x"], "no such run"),
        (["export", "{sound}", "--to", "x"], "no such run"),
        (["export", "{run}", "--to", "x", "--shard-size", "large"], "'large' is not a size"),
        (["export", "{run}", "--to", "x", "--shard-size", "0GB"], "is not a size"),
    ],
)
def test_a_wrong_word(words, said, sound, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([w.format(sound=sound, run=run) for w in words]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["import", "export"])
def test_an_error_while_writing_leaves_nothing(name, sound, run, tmp_path, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.save" if name == "import" else "components.interop.files.save_file", full)
    assert main([name, str(sound if name == "import" else run), "--to", str(tmp_path / "it")]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_imported_run_cannot_be_resumed(run, capsys):
    assert main(["train", f"resume={run}"]) == 2
    said = capsys.readouterr().err
    assert "was imported" in said
    assert f"init_from={run}" in said
