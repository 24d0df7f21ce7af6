"""Training is what it is in transformers: the same gradients, and the same losses over ten steps.

For decoders, mixtures of experts, an encoder and an encoder-decoder.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import oracles_encoder_decoders
import oracles_encoders
import oracles_gpt2_llama
import oracles_moe
import pytest
import torch
from parity import Oracle, Pair, made
from torch import Tensor, nn

from components import build
from components.core.sockets import Batch
from components.interop import convert

pytest.importorskip("transformers")
BY_NAME = {o.name: o for m in (oracles_encoders, oracles_encoder_decoders, oracles_gpt2_llama, oracles_moe) for o in m.ORACLES}
CLOSE = 1e-4
VOCAB, STEPS = 97, 10
ZERO = 1e-6  # of the largest gradient: biases of keys have none, and what rounding leaves of it is no gradient


@dataclass(frozen=True)
class Case:
    """``dropout``: fields that turn theirs off; ``batches``: a seed -> our batch and what their forward takes."""

    row: str
    loss: str
    dropout: tuple[str, ...]
    batches: Callable[[int], tuple[Batch, dict[str, Tensor]]]

    def __str__(self) -> str:
        return self.row


def drawn(seed: int, length: int = 24) -> Tensor:
    return torch.randint(5, VOCAB, (4, length), generator=torch.Generator().manual_seed(seed))


def next_tokens(seed: int) -> tuple[Batch, dict[str, Tensor]]:
    ids = drawn(seed)
    targets = torch.cat([ids[:, 1:], torch.full((len(ids), 1), -100)], 1)
    return Batch(ids, targets=targets), {"input_ids": ids, "labels": ids}


def masked_tokens(seed: int) -> tuple[Batch, dict[str, Tensor]]:
    """With padding on the right and two segments."""
    text = drawn(seed)
    chosen = torch.rand(text.shape, generator=torch.Generator().manual_seed(seed)) < 0.3
    valid = torch.ones_like(text)
    valid[0, -6:] = 0
    chosen &= valid.bool()
    ids, targets = text.masked_fill(chosen, 4), text.masked_fill(~chosen, -100)
    types = (torch.arange(text.shape[1]) >= 10).long().expand_as(text)
    theirs = {"input_ids": ids, "labels": targets, "attention_mask": valid, "token_type_ids": types}
    return Batch(ids, targets=targets, valid=valid.bool(), token_types=types), theirs


def pairs_of_texts(seed: int) -> tuple[Batch, dict[str, Tensor]]:
    source, target = drawn(seed, 15), drawn(seed + 1000, 12)
    begun = torch.cat([torch.zeros_like(target[:, :1]), target[:, :-1]], 1)
    return Batch(begun, targets=target, source=Batch(source)), {
        "input_ids": source,
        "labels": target,
        "decoder_input_ids": begun,
    }


CASES = [
    Case("GPT-2", "next_token", ("attn_pdrop", "resid_pdrop", "embd_pdrop"), next_tokens),
    Case("Llama 3", "next_token", (), next_tokens),
    Case("Mixtral", "next_token", (), next_tokens),
    Case("DeepSeek-V3", "next_token", (), next_tokens),
    Case("BERT", "masked_lm", ("hidden_dropout_prob", "attention_probs_dropout_prob"), masked_tokens),
    Case("T5 v1.0", "seq2seq", ("dropout_rate",), pairs_of_texts),
]
every = pytest.mark.parametrize("case", CASES, ids=str)


@pytest.fixture
def pair(case: Case, tmp_path) -> Pair:
    """Both models, about to be trained."""
    oracle: Oracle = BY_NAME[case.row]
    name, fields = oracle.config
    found = made(replace(oracle, config=(name, {**fields, **dict.fromkeys(case.dropout, 0.0)})), tmp_path)
    assert not [m for m in found.theirs.modules() if isinstance(m, nn.Dropout) and m.p]
    found.theirs.train()
    found.ours.train()
    return found


def our_loss(case: Case, model: nn.Module, batch: Batch) -> Tensor:
    total, weight = model(batch, build("loss", case.loss, vocab_size=VOCAB)).losses["loss"]
    return total / weight


def gradients_of_theirs(model: nn.Module, folder: Path) -> dict[str, Tensor]:
    """Under our names: saved and read as the weights are, fused experts and all."""
    changed = copy.deepcopy(model)
    for p, original in zip(changed.parameters(), model.parameters()):
        p.data = original.grad
    changed.save_pretrained(folder)
    return convert.read_folder(folder).weights


@every
def test_gradients_agree(case: Case, pair: Pair, tmp_path):
    batch, theirs = case.batches(0)
    loss, wanted = our_loss(case, pair.ours, batch), pair.theirs(**theirs).loss
    assert abs(loss.item() / wanted.item() - 1) <= 1e-6
    loss.backward()
    wanted.backward()
    found = {n: p.grad for n, p in pair.ours.named_parameters()}
    buffers = {n for n, _ in pair.ours.named_buffers()}
    expected = {n: g for n, g in gradients_of_theirs(pair.theirs, tmp_path / "gradients").items() if n not in buffers}
    assert found.keys() == expected.keys()
    largest = max(g.abs().max() for g in expected.values())
    seen = 0
    for name, gradient in expected.items():
        size = gradient.abs().max()
        assert (found[name] - gradient).abs().max() <= CLOSE * size + ZERO * largest, name
        seen += bool(size > 1e-3 * largest)
    assert seen > len(expected) / 2  # most are no rounding


@every
def test_ten_steps_of_adamw_give_the_same_losses(case: Case, pair: Pair):
    curves = []
    for model, ours in ((pair.ours, True), (pair.theirs, False)):
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
        curve = []
        for step in range(STEPS):
            batch, theirs = case.batches(step % 3)
            loss = our_loss(case, model, batch) if ours else model(**theirs).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
        curves.append(torch.tensor(curve))
    assert ((curves[0] - curves[1]).abs() / curves[1]).max() <= CLOSE
    assert curves[0][-1] < 0.995 * curves[0][0]  # the weights moved
