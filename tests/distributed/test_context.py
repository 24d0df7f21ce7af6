"""Context parallelism: ranks that have a stretch of each row compute what one does of whole rows; parts that cannot are refused by name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from components.core.errors import UserError
from components.core.makers import make
from components.core.sockets import Layer
from components.core.traits import each_turn
from components.training.strategy._context import Stretches, check_rows
from components.training.strategy._pieces import Pieces
from components.training.strategy._tensor import lay_out
from components.training.strategy.cp import ContextParallel

sys.path.insert(0, str(Path(__file__).parent))
import pieces
import threaded

LENGTH = 12
OPTIONS = [
    *("attention/gqa bias=[q,k,v,out] sinks=true", "attention/gqa qk_norm=rms qk_norm_over=full", "attention/gqa soft_cap=5"),
    *("mask/sliding_window window=3", "attention/mla q_rank=8"),
]
# where something is read of other positions; an expert_choice router and pooling stand in encoders
KINDS = ("attention", "ffn", "embedding", "head", "position", "mask", "value", "sharing", "gate", "stack", "residual", "model")
NO_LOGITS = ("head/none", "head/value")
REFUSED = {
    "attention": ("both_ways",),
    "ffn": ("moe", "side_by_side"),
    "head": ("classification", "regression"),
    "model": ("electra", "encoder", "encoder_decoder", "recurrent"),
}


def loss_of(model, host, **given):
    """The loss of whole rows and its gradients, with targets that a stretch may have none of."""
    ids = pieces.ids(rows=2, length=LENGTH)
    targets = pieces.ids(rows=2, length=LENGTH, seed=3)
    targets[:, :4] = -100
    if "valid" in given:
        targets[~given["valid"]] = -100
    torch.manual_seed(0)
    objective = make({"name": "next_token", "z_loss": 0.1}, "loss", vocab_size=pieces.VOCAB)
    loss = torch.zeros((), dtype=torch.float64)
    for _ in each_turn(model.train()):
        one = pieces.total_loss(model(host.batch(ids, targets=targets, **given), objective))
        one.backward()
        loss += one.detach()
    grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return loss.item(), {n: g.full_tensor() if isinstance(g, DTensor) else g for n, g in grads.items()}


def check(words, count=2, recompute=False, **given):
    part, *options = words.split()
    host = pieces.Host.of(pieces.subject_of(part, options or pieces.OPTIONS.get(part, ())))
    with torch.device("meta"):
        meta = host.build(length=LENGTH)
    try:
        check_rows(meta, count)
    except UserError as e:
        return str(e)
    whole, grads = loss_of(host.model(length=LENGTH), host, **given)
    models = [host.model(length=LENGTH) for _ in range(count)]

    def one(rank):
        model, mesh = models[rank], init_device_mesh("cpu", (count,), mesh_dim_names=("context",))
        for layer in (m for m in model.modules() if isinstance(m, Layer)):
            layer.checkpointing = recompute
        lay_out(model, mesh, Pieces(within={id(p) for p in model.parameters()}))
        Stretches(model, mesh.get_group())
        return loss_of(model, host, **given)

    for found in threaded.on_ranks(count, one):
        if isinstance(found, Exception):
            raise found
        assert found[0] == pytest.approx(whole, abs=1e-12)
        assert found[1].keys() == grads.keys()
        for name, grad in grads.items():
            torch.testing.assert_close(found[1][name], grad, rtol=1e-9, atol=1e-9, msg=f"{words}: {name}")
    return None


@pytest.mark.parametrize("part", [p for p in pieces.PARTS if p.partition("/")[0] in KINDS and p not in NO_LOGITS])
def test_every_part_is_exact_or_refused(part):
    told = check(part)
    kind, _, name = part.partition("/")
    assert (told is not None) == (name in REFUSED.get(kind, ())), told
    if kind in ("attention", "ffn") and told and name != "both_ways":
        assert told.startswith(f"stack.layers.0.block.{kind}")


@pytest.mark.parametrize("words", OPTIONS)
def test_options(words):
    assert check(words) is None


# each of those that keep a state in a way of its own: keys, matrices, sums, a scan, cells, tokens before
STATES = [
    f"attention/{name}" for name in ("gqa", "gated_delta_net", "mamba", "mamba2", "forgetting", "min_gru", "lstm", "rwkv7")
]


@pytest.mark.parametrize("part", [*STATES, "ffn/channel_mix", "embedding/ngram_hash"])
def test_documents_and_layers_computed_twice_on_three_ranks(part):
    documents = torch.tensor([[0] * 5 + [1] * 7, [0] * 8 + [1] * 4])
    assert check(part, 3, recompute=True, documents=documents) is None


@pytest.mark.parametrize("part", STATES)
def test_padding(part):
    valid = torch.ones(2, LENGTH, dtype=torch.bool)
    valid[0, 4:9] = False  # around the border of two stretches
    valid[1, 9:] = False
    assert check(part, valid=valid) is None


def test_what_does_not_divide_and_losses_of_more_than_a_position_are_refused():
    with torch.device("meta"):
        model = make({"name": "decoder", "d_model": 32, "n_layers": 1, "context_length": 30}, "model", vocab_size=41)
    with pytest.raises(UserError, match=r"model\.context_length: 30 positions do not divide into 4 stretches"):
        check_rows(model, 4)
    strategy = ContextParallel(context_size=2)
    assert strategy.tensor_devices(6) == 2
    with pytest.raises(UserError, match=r"trainer\.strategy\.context_size: 3 devices"):
        strategy.tensor_devices(3)
    for options in ({"name": "multi_token"}, {"name": "distillation", "teacher": "a run"}):
        with pytest.raises(UserError, match=r"loss: .* looks beyond a position"):
            strategy.check_loss(make(options, "loss", vocab_size=41))
    strategy.check_loss(make({"name": "next_token"}, "loss", vocab_size=41))
