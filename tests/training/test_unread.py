"""Weights that nothing reads: refused where parts declare it, said after the first step where they do not, one line under ddp."""

from __future__ import annotations

import json

import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from components import build
from components.compose import compose
from components.core.errors import UserError
from components.training.experiment import Job, fit
from components.training.stepping import Stepping

READER = "model.attention.value=embedding"
LAST = "model.layers.last.attention.value=embedding"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (["model/embedding=value_embeddings"], r"model.embedding: .*no part reads it.*value/embedding"),
        (["model/embedding=per_layer_embeddings"], r"model.embedding: .*no part reads it.*ffn/per_layer_input"),
        (["model/head=multi_token"], r"model.head: .*no part reads it.*loss/multi_token"),
        (["model/head=multi_token", "loss=next_token"], "no part reads it"),
        (["model/embedding=value_embeddings", "model/attention=mla"], "no part reads it"),
        (["model/embedding=value_embeddings", READER, "model/head=multi_token"], r"model.head"),
    ],
)
def test_a_part_that_writes_for_nobody_is_refused(said, reason):
    with pytest.raises(UserError, match=reason):
        compose("llama_tiny", said)


@pytest.mark.parametrize(
    "said",
    [
        ["model/embedding=value_embeddings", READER],
        ["model/embedding=value_embeddings", LAST],
        ["model/embedding=per_layer_embeddings", "model/ffn=per_layer_input"],
        ["model/embedding=per_layer_embeddings", "model/stack=altup", "model/stack/side_ffn=per_layer_input"],
        ["model/head=multi_token", "loss=multi_token"],
        ["model/attention=rwkv7", "model/position=none", "model.n_layers=1"],
    ],
)
def test_a_reader_anywhere_is_enough(said):
    compose("llama_tiny", said)


def test_a_part_or_a_model_alone_is_not_whole_yet():
    sizes = {"vocab_size": 40, "d_model": 16, "n_layers": 1, "context_length": 8}
    assert build("embedding", "value_embeddings", vocab_size=40, d_model=16)
    assert build("model", "decoder", **sizes, attention={"name": "gqa", "n_heads": 2}, head="multi_token")
    with pytest.raises(UserError, match="no part reads it"):
        build("model", "decoder", **sizes, attention={"name": "gqa", "n_heads": 2}, embedding="value_embeddings")


class Beside(nn.Module):
    """Declares nothing, and nobody asks for its second matrix."""

    axes = {"up": ("d_model", "d_ff"), "out": ("d_ff", "d_model"), "spare": ("d_model", "d_ff")}

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.up, self.out = nn.Linear(d_model, 8), nn.Linear(8, d_model)
        self.spare = nn.Linear(d_model, 8, bias=False)

    def forward(self, x, info):
        del info
        return self.out(self.up(x).relu())


def test_a_run_says_and_counts_what_no_part_has_declared(tiny, capsys, monkeypatch):
    config = tiny(trainer={"max_steps": 5})
    whole = Stepping._without_gradient
    monkeypatch.setattr(Stepping, "_without_gradient", lambda self: ("model.spare.weight", *whole(self)))
    done = fit(Job(config, "unread"))
    said = capsys.readouterr().out
    assert said.count("no gradient reaches model.spare.weight: nothing reads them") == 1
    assert done.figures["unread_weights"] == 1
    assert json.loads((done.folder / "summary.json").read_text())["unread_weights"] == 1


@pytest.mark.parametrize("ddp", [False, True])
def test_they_are_found_by_the_gradients_of_the_first_step(ddp):
    class Trainer:
        strategy = DDPStrategy.__new__(DDPStrategy) if ddp else object()

    task = Stepping()
    task.trainer, task.model = Trainer(), Beside(4)
    task.model.up.bias.requires_grad_(False)
    task.model(torch.ones(1, 4), None).sum().backward()
    if ddp:
        with pytest.raises(UserError, match=r"nothing reads spare.weight, and under ddp each rank waits"):
            task._without_gradient()
    else:
        assert task._without_gradient() == ("spare.weight",)
