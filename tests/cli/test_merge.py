"""``components merge``: a run that every other verb takes, or one line that names the first difference."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tiny_recipe
import torch

from components.cli import main
from components.runs import checkpoints

TRAIN = ["train", "recipe=./tiny.yaml", "trainer.max_steps=2", "task.validation_every=2", "task.samples=0"]
# a model that is exported as Llama, over the ids of bytes
LLAMA = ["model/norm=rms", "model/ffn=glu", "model.attention.bias=false", "model/head=linear", "model/position=rope"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with runs a, b and c: b and c go on from a."""
    folder = tmp_path_factory.mktemp("merged")
    with pytest.MonkeyPatch.context() as patch:
        tiny_recipe.write(folder, patch)
        for name, words in (
            ("a", []),
            ("b", ["init_from=a", "optimizer.lr=0.02"]),
            ("c", ["init_from=a", "seed=3", "model.embedding.dropout=0.1"]),
            ("lora", ["init_from=a", "adapter=lora"]),
            ("relu", ["model.ffn.activation=relu"]),
            ("wide", ["model.d_model=32"]),
            ("long", ["model/position=learned", "model.context_length=32"]),
            ("short", ["model/position=learned", "model.context_length=16"]),
            ("bpe", ["tokenizer=bpe", "tokenizer.vocab_size=260"]),
            ("bpe2", ["tokenizer=bpe", "tokenizer.vocab_size=260", "data.path=./other.txt"]),
        ):
            Path("other.txt").write_text("quite other words stand on these hills\n\n" * 40)
            assert main([*TRAIN, *words, f"paths.runs=at_{name}"]) == 0, name
            shutil.move(next(Path(f"at_{name}").glob("*/*")), name)
    return folder


@pytest.fixture
def here(made, monkeypatch):
    monkeypatch.chdir(made)
    for old in ("out", "again"):
        shutil.rmtree(made / old, ignore_errors=True)
    return made


def weights(name: str) -> dict[str, torch.Tensor]:
    file = Path(name) / "checkpoints"
    file = file / "best.ckpt" if (file / "best.ckpt").exists() else file / "last.ckpt"
    return checkpoints.weights_in(checkpoints.read(file, "weights"))


def test_the_mean_of_three(here, capsys):
    assert main(["merge", "a", "b", "c", "--weights", "2,1,1", "--to", "out"]) == 0
    assert "linear of 3 runs, weights 2,1,1" in capsys.readouterr().out
    a, b, c, out = map(weights, ("a", "b", "c", "out"))
    assert out.keys() == a.keys()
    for name in a:
        want = (2 * a[name].double() + b[name].double() + c[name].double()) / 4
        assert out[name].dtype == a[name].dtype
        assert (out[name] - want).abs().max() <= 1e-7 * want.abs().max(), name
    assert not a["model.layers.0.ffn.out.weight" if "model.layers.0.ffn.out.weight" in a else next(iter(a))].equal(
        out["model.layers.0.ffn.out.weight" if "model.layers.0.ffn.out.weight" in a else next(iter(a))]
    )


