"""The contract of a part on a model's path, over everything that is registered: each is put into a small decoder and held to it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hosts import HOSTED, LENGTH, decoder, ids, scramble

from components import build
from components.sockets import Batch, Layer
from components.weights import initialise, roles

every_part = pytest.mark.parametrize("part", HOSTED)


def test_there_are_parts():
    assert len(HOSTED) >= 29


@every_part
def test_shape_dtype_and_finite(part):
    for dtype in (torch.float32, torch.bfloat16):
        logits = scramble(decoder(part)).to(dtype)(ids())
        assert logits.shape == (2, LENGTH, 40)
        assert logits.dtype == dtype
        assert torch.isfinite(logits).all()


@every_part
def test_bf16_autocast_forward_and_backward(part):
    model = scramble(decoder(part)).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(ids())
        loss = F.cross_entropy(logits.float().flatten(0, 1), ids(seed=3).flatten())
    loss.backward()
    assert all(
        p.grad is not None and p.grad.dtype == torch.float32 and torch.isfinite(p.grad).all() for p in model.parameters()
    )


@every_part
def test_every_parameter_has_a_gradient_and_a_role(part):
    model = scramble(decoder(part)).double()
    logits = model(ids(4))
    F.cross_entropy(logits[:, :-1].flatten(0, 1), ids(4)[:, 1:].flatten()).backward()
    for weight in roles(model):
        grad = weight.parameter.grad
        assert grad is not None, weight.name
        if weight.role == "embedding":
            used = grad.abs().sum(-1) > 0  # rows of tokens and positions that did not occur have none
            grad = grad[used]
        assert (grad != 0).double().mean() >= 0.99, weight.name


@every_part
def test_no_look_into_the_future(part):
    model = scramble(decoder(part), 0.3).double()
    a, b = ids(), ids()
    b[:, 7:] = (b[:, 7:] + 1) % 40
    before, after = model(a), model(b)
    assert torch.equal(before[:, :7], after[:, :7])
    assert (before[:, 7:] != after[:, 7:]).any()


@every_part
def test_documents_stay_apart(part):
    model = scramble(decoder(part), 0.3).double()
    values = ids(1)
    documents = torch.tensor([[0] * 5 + [1] * 7])
    packed = model(Batch(values, documents=documents))
    alone = torch.cat((model(values[:, :5]), model(values[:, 5:])), 1)
    torch.testing.assert_close(packed, alone, rtol=1e-6, atol=1e-6)


@every_part
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(part, side):
    model = scramble(decoder(part), 0.3).double()
    values = ids(1, 8)
    pad = torch.full((1, 4), 3)
    padded = torch.cat((pad, values) if side == "left" else (values, pad), 1)
    valid = torch.ones_like(padded, dtype=torch.bool)
    valid[:, : 4 if side == "left" else None][:, -4:] = False
    if side == "right":
        valid[:, :8] = True
    out = model(Batch(padded, valid=valid))[:, -8:] if side == "left" else model(Batch(padded, valid=valid))[:, :8]
    torch.testing.assert_close(out, model(values), rtol=1e-6, atol=1e-6)


@every_part
def test_batch_neighbours_change_nothing(part):
    model = scramble(decoder(part), 0.3).double()
    values = ids(3)
    torch.testing.assert_close(model(values)[1:2], model(values[1:2]), rtol=1e-9, atol=1e-9)


@every_part
@pytest.mark.parametrize("chunk", [1, 5])
def test_cached_equals_uncached(part, chunk):
    model = scramble(decoder(part), 0.3).double()
    values = ids()
    cache = build("cache", "growing")
    steps = [model(values[:, i : i + chunk], cache=cache) for i in range(0, LENGTH, chunk)]
    torch.testing.assert_close(torch.cat(steps, 1), model(values), rtol=1e-6, atol=1e-6)


@every_part
def test_cached_equals_uncached_with_left_padding(part):
    model = scramble(decoder(part), 0.3).double()
    values = ids()
    valid = torch.ones_like(values, dtype=torch.bool)
    valid[0, :3] = False
    positions = (valid.long().cumsum(1) - 1).clamp(min=0)
    whole = model(Batch(values, valid=valid, positions=positions))
    cache = build("cache", "growing")
    cuts = [slice(0, 6), *(slice(i, i + 1) for i in range(6, LENGTH))]
    steps = [model(Batch(values[:, c], valid=valid[:, c], positions=positions[:, c]), cache=cache) for c in cuts]
    torch.testing.assert_close(torch.cat(steps, 1)[valid], whole[valid], rtol=1e-6, atol=1e-6)


@every_part
def test_state_dict_round_trip(part):
    model, other = scramble(decoder(part)), decoder(part)
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(ids()), other(ids()))


@every_part
def test_meta_build_then_materialised_equals_direct(part):
    direct = decoder(part)
    initialise(direct, direct.init, seed=5)
    with torch.device("meta"):
        model = decoder(part)
    assert all(p.is_meta for p in model.parameters())
    model = model.to_empty(device="cpu")
    initialise(model, model.init, seed=5)
    for (name, a), (_, b) in zip(direct.state_dict().items(), model.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    assert torch.equal(direct(ids()), model(ids()))


@every_part
def test_a_swap_leaves_all_other_initial_weights_as_they_were(part):
    if part.startswith(("init/", "block/")):
        pytest.skip("an init changes every weight, a block changes the names")
    one, other = decoder(), decoder(part)
    initialise(one, one.init, seed=5)
    initialise(other, other.init, seed=5)
    a, b = dict(one.named_parameters()), dict(other.named_parameters())
    common = [n for n in a if n in b and a[n].shape == b[n].shape]
    assert common
    for name in common:
        assert torch.equal(a[name], b[name]), name


@every_part
def test_compiles_without_a_graph_break(part):
    model = scramble(decoder(part))
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(ids()), model(ids()), rtol=1e-4, atol=1e-5)


@every_part
def test_activation_checkpointing_is_exact(part):
    grads = []
    for checkpointing in (False, True):
        model = scramble(decoder(part)).train()
        for module in model.modules():
            if isinstance(module, Layer):
                module.checkpointing = checkpointing
        F.cross_entropy(model(ids()).flatten(0, 1), ids(seed=3).flatten()).backward()
        grads.append([p.grad for p in model.parameters()])
    for a, b in zip(*grads, strict=True):
        assert torch.equal(a, b)
