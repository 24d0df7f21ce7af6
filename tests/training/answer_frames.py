"""What tests of losses over answers have in common: a policy of random values in fp64, answers read alone, a loss beside its formula, a run on answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from components import build
from components.corpus.rows import Row

VOCAB = 40


def policy(seed: int, **more: object) -> torch.nn.Module:
    torch.manual_seed(seed)
    model = build("model", "decoder", vocab_size=VOCAB, d_model=16, n_layers=2, context_length=32, **more).double()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return model


def row_of(prompt: Sequence[int], answer: Sequence[int]) -> Row:
    """Only the answer's tokens are targets."""
    return Row([*prompt, *answer][:-1], [-100] * (len(prompt) - 1) + list(answer))


def said_of(model: torch.nn.Module, prompt: Sequence[int], answer: Sequence[int]) -> Tensor:
    """The log-probabilities of an answer's tokens, alone in a row, by log_softmax over all its logits."""
    log_p = model(torch.tensor([[*prompt, *answer]])).log_softmax(-1)[0]
    return log_p[range(len(prompt) - 1, len(prompt) + len(answer) - 1), list(answer)]


def gradients(model: torch.nn.Module, loss: Tensor) -> dict[str, Tensor]:
    """{weight: its gradient}; the model has none afterwards."""
    loss.backward()
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def assert_same_loss(model: torch.nn.Module, loss: Tensor, got: dict[str, Tensor], wanted: Tensor) -> None:
    """``loss``, whose gradients were ``got``, is what the formula gives, to 1e-6, and so are the gradients of all weights."""
    again = gradients(model, wanted)
    assert float(loss.detach()) == pytest.approx(float(wanted.detach()), rel=1e-6)
    assert got
    assert got.keys() >= again.keys()
    for name, gradient in again.items():
        torch.testing.assert_close(got[name], gradient, rtol=1e-6, atol=1e-9)


def words_for(folder: Path, rows: Sequence[dict[str, object]]) -> list[str]:
    """Writes ``p.jsonl`` into the folder. Returns the words of a run on it."""
    (folder / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    size = ["model.d_model=16", "model.n_layers=1", "model.context_length=96", "task.samples=0", "trainer.precision=64-true"]
    data = [
        "data=preferences",
        "data.path=p.jsonl",
        "tokenizer=byte",
        "task.validation_every=2",
        "task.validation_fraction=0.2",
    ]
    return ["recipe=llama_tiny", *size, *data, "task=preference_tuning", "optimizer.lr=1e-2", "trainer.accelerator=cpu"]
