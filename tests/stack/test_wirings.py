"""How layers are wired: each stack against its formula, with every stream, in every model, by cache, counted and from the command line."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from components import build
from components.cli import main
from components.core.errors import UserError
from components.core.flops import Work, flops_of
from components.core.sockets import Batch, Layer, SequenceInfo

SIZES = {"vocab_size": 20, "d_model": 32, "context_length": 12, "attention": {"name": "gqa", "n_heads": 4}}
IDS = torch.randint(0, 20, (2, 12), generator=torch.Generator().manual_seed(0))
DENSE = ["dense", {"name": "dense", "period": 2, "dilation": 2}]
STACKS = [
    "layers",
    "u_net",
    "looped",
    {"name": "looped", "loops": 3, "prelude": 1, "coda": 1, "inject": True},
    *DENSE,
    "altup",
    {"name": "altup", "streams": 3, "side_ffn": "glu"},
]


def model(stack, wiring="decoder", n_layers=4, **options):
    made = build("model", wiring, **SIZES, n_layers=n_layers, stack=stack, **options)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in made.parameters():
            p.normal_(0, 0.3, generator=generator)
    return made.double().eval()


def by_hand(made, wire):
    """What ``wire(run, s)`` makes of the embedded ids; ``run(i, s)`` is layer i, ``count`` of them."""
    stack, info = made.stack, SequenceInfo.of(Batch(IDS), causal=True)
    s = stack.residual.open(stack.enter(made.embedding(IDS, info), info))
    out = wire(lambda i, s: stack.layers[i](s, info)[0], s)
    return made.head(stack.final_norm(stack.residual.close(out)), info)


RESIDUAL = pytest.mark.parametrize("residual", ["add", "hyper_connections"])


@RESIDUAL
@pytest.mark.parametrize("n_layers", [1, 2, 4, 5])
def test_u_net(n_layers, residual):
    made = model("u_net", n_layers=n_layers, residual=residual)

    def wire(run, s):
        left, weights = [], made.stack.skips if n_layers > 1 else []
        for i in range(n_layers):
            mirror = n_layers - 1 - i
            if mirror < i:
                s = s + weights[mirror] * left[mirror]
            s = run(i, s)
            left.append(s)
        return s

    torch.testing.assert_close(made(IDS), by_hand(made, wire))
    if n_layers > 1:
        assert made.stack.skips.shape == (n_layers // 2,)
        made.stack.reset_parameters()
        assert (made.stack.skips == 1).all()


@RESIDUAL
def test_looped(residual):
    made = model({"name": "looped", "loops": 3, "prelude": 1, "coda": 1, "inject": True}, residual=residual)

    def wire(run, s):
        s = entered = run(0, s)
        for visit in range(3):
            s = run(2, run(1, s + entered if visit else s))
        return run(3, s)

    torch.testing.assert_close(made(IDS), by_hand(made, wire))
    plain, once = model("layers"), model({"name": "looped", "loops": 1})
    assert torch.equal(plain(IDS), once(IDS))
    assert sum(p.numel() for p in model("looped").parameters()) == sum(p.numel() for p in plain.parameters())


@RESIDUAL
@pytest.mark.parametrize(("period", "dilation"), [(1, 1), (2, 1), (1, 2), (2, 3), (5, 1)])
def test_dense(period, dilation, residual):
    made = model({"name": "dense", "period": period, "dilation": dilation}, residual=residual)

    def wire(run, s):
        outputs, weights = [s], made.stack.mixing.tolist()
        for i in range(4):
            s = run(i, s)
            outputs.append(s)
            if (i + 1) % period == 0:
                s = sum(weights.pop(0) * x for j, x in enumerate(outputs) if (i + 1 - j) % dilation == 0)
        assert not weights
        return s

    torch.testing.assert_close(made(IDS), by_hand(made, wire))


@pytest.mark.parametrize("stack", DENSE)
def test_dense_begins_as_plain_layers(stack):
    dense, plain = (build("model", "decoder", **SIZES, stack=s) for s in (stack, "layers"))
    assert torch.equal(dense(IDS), plain(IDS))
    made = build("model", "decoder", **SIZES, n_layers=4, stack="dense").stack
    assert made.mixing.tolist() == [0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1]


@RESIDUAL
@pytest.mark.parametrize("side", ["none", "glu"])
@pytest.mark.parametrize("streams", [2, 4])
def test_altup(streams, side, residual):
    made = model({"name": "altup", "streams": streams, "side_ffn": side}, residual=residual)

    def rms(x):
        return x.square().mean(-1, keepdim=True).sqrt()

    def routed(update, x):
        return torch.tanh(update.router_norm(x) / 32 @ update.router.weight.T)

    def wire(run, s):
        stack, x = made.stack, made.stack.residual.close(s) / (s.shape[-2] if s.dim() == 4 else 1)
        all_of = [x, *(y * rms(x) / rms(y) for y in (x @ o.weight.T for o in stack.openings))]
        for i in range(4):
            update = stack.updates[i]
            mixing = (routed(update, all_of[0]) @ update.prediction.weight.T).unflatten(-1, (streams, streams))
            predicted = [s + sum(mixing[..., j, k, None] * all_of[k] for k in range(streams)) for j, s in enumerate(all_of)]
            y = stack.residual.close(run(i, stack.residual.open(predicted[0])))
            share = 1 + routed(update, y) @ update.correction.weight.T
            all_of = [p + share[..., j, None] * (y - predicted[0]) for j, p in enumerate(predicted)]
            if side != "none":
                beside = stack.sides[i].norm(stack.sides[i].ffn(all_of[0] * stack.sides[i].scale))
                all_of = [all_of[0], *(s + beside for s in all_of[1:])]
        ended = [c.weight for c in stack.closings]
        all_of = [all_of[0], *(y * rms(all_of[0]) / rms(y) for y in (s @ w.T for s, w in zip(all_of[1:], ended, strict=True)))]
        return stack.residual.open(sum(all_of) / streams) / (s.shape[-2] if s.dim() == 4 else 1)

    torch.testing.assert_close(made(IDS), by_hand(made, wire))
    assert len(made.stack.sides) == (4 if side != "none" else 0)
    for module in made.stack.sides:
        module.reset_parameters()
        assert (module.scale == 1).all()


def test_altup_clips_its_coefficients_while_it_trains():
    made = model({"name": "altup", "clip": 0.1})
    whole = made(IDS)
    clipped = made.train()(IDS)
    assert not torch.allclose(clipped, whole)
    with torch.no_grad():
        for update in made.stack.updates:
            for matrix in (update.prediction, update.correction):
                matrix.weight.clamp_(-0.1, 0.1)
    torch.testing.assert_close(made.eval()(IDS), clipped)
    open_ended = model("altup")
    assert torch.equal(open_ended.train()(IDS), whole)


def test_a_vector_of_zeros_has_gradients_in_altup():
    stack = model("altup").stack
    x = torch.zeros(1, 3, 32, dtype=torch.double, requires_grad=True)
    stack(x)[0].square().sum().backward()
    assert torch.isfinite(x.grad).all()


def test_altup_of_one_stream_is_refused():
    with pytest.raises(UserError, match=r"streams=1 leaves nothing to predict: give at least 2, or use stack=layers"):
        model({"name": "altup", "streams": 1})


@pytest.mark.parametrize("stack", STACKS, ids=str)
def test_cache_documents_and_checkpointing(stack):
    made = model(stack)
    cache = build("cache", "growing")
    steps = [made(IDS[:, i : i + n], cache=cache) for i, n in ((0, 5), (5, 1), (6, 1), (7, 5))]
    torch.testing.assert_close(torch.cat(steps, 1), made(IDS), rtol=1e-6, atol=1e-6)
    row, documents = IDS[:1], torch.tensor([[0] * 5 + [1] * 7])
    alone = torch.cat((made(row[:, :5]), made(row[:, 5:])), 1)
    torch.testing.assert_close(made(Batch(row, documents=documents)), alone, rtol=1e-6, atol=1e-6)
    grads = []
    for checkpointing in (False, True):
        for layer in made.train().modules():
            if isinstance(layer, Layer):
                layer.checkpointing = checkpointing
        made.zero_grad()
        made(IDS).square().sum().backward()
        grads.append([p.grad.clone() for p in made.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


@pytest.mark.parametrize("stack", STACKS, ids=str)
def test_flops(stack):
    made = model(stack).float()
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        made(IDS[:1])
    assert flops_of(made, Work(12)).executed == counter.get_total_flops()


@pytest.mark.parametrize("stack", STACKS[1:], ids=str)
def test_layers_of_their_own_and_both_sides(stack):
    made = model(stack, layers={"from1": {"attention": {"name": "gqa", "n_heads": 2}}})
    assert [layer.block.attention.q_norm is not None and layer.block.attention.head_dim for layer in made.stack.layers] == [
        8,
        16,
        16,
        16,
    ]
    node = {"name": stack} if isinstance(stack, str) else stack
    both = build("model", "encoder_decoder", **SIZES, encoder=node, decoder={**node, "n_layers": 3}, n_layers=4)
    assert len(both.encoder.layers) == 4
    assert len(both.decoder.layers) == 3
    out = both(Batch(IDS, source=Batch(IDS)))
    assert out.shape == (2, 12, 20)
    later = IDS.clone()
    later[:, -1] = (later[:, -1] + 1) % 20
    assert torch.equal(out[:, :-1], both(Batch(later, source=Batch(IDS)))[:, :-1])
    sees = model(stack, "encoder")
    assert not torch.equal(sees(IDS)[:, 0], sees(later)[:, 0])


def test_a_loop_without_layers_is_refused():
    with pytest.raises(UserError, match=r"prelude=1 and coda=1 leave none of the 2 layers to loop"):
        model({"name": "looped", "prelude": 1, "coda": 1}, n_layers=2)


def test_carries_reach_later_layers_of_every_pass():
    made = model({"name": "looped", "loops": 2}, n_layers=2)
    seen = []
    for index, layer in enumerate(made.stack.layers):
        inner = layer.block.forward

        def forward(s, info, index=index, inner=inner):
            seen.append((index, info.visit, info.carry.get("last")))
            info.out["last"] = (index, info.visit)
            info.out["loss.twice"] = (s.sum() * 0 + 1, torch.ones(()))
            return inner(s, info)

        layer.block.forward = forward
    info = SequenceInfo.of(Batch(IDS), causal=True)
    _, out = made.stack(made.embedding(IDS, info), info)
    assert seen == [(0, 0, None), (1, 0, (0, 0)), (0, 1, (1, 0)), (1, 1, (0, 1))]
    assert out["loss.twice"][0] == 4  # losses of both passes add up


def test_from_the_command_line(capsys):
    def run(*words):
        code = main(list(words))
        return code, "".join(capsys.readouterr())

    common = ("validate", "recipe=gpt_python")
    code, said = run(*common, "model/stack=looped", "model.stack.loops=2", "model.layers.from1.attention=mqa")
    assert code == 0, said
    assert "model.stack: layers -> looped" in said
    code, said = run(
        *common, "model/stack=dense", "model/residual=hyper_connections", "model.layers.first.block.attention_norm=none"
    )
    assert code == 0, said
    code, said = run(*common, "model/stack=u_net", "model.stack.loops=2")
    assert code != 0
    assert "stack/u_net" in said
    assert "loops" in said
    # the walk over layers goes through the stack whatever its name: a clash in one layer alone is found
    code, said = run(*common, "model/stack=looped", "model.layers.from1.attention.n_heads=5")
    assert code != 0
    assert "n_heads=5" in said
