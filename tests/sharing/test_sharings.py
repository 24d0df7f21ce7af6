"""Sharing of keys and values over layers: who owns, who borrows from whom, in caches, packed batches and looped stacks."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from components import build
from components.core.errors import UserError
from components.core.flops import Work, flops_of
from components.core.sockets import Batch, Place, SequenceInfo


def model(sharing, n_layers=4, **options):
    made = build(
        "model", "decoder", **{
            "vocab_size": 20, "d_model": 16, "n_layers": n_layers, "context_length": 12,
            "attention": {"name": "gqa", "n_heads": 4, "n_kv_heads": 2, "sharing": sharing}, **options,
        }
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(torch.empty(p.shape).normal_(0, 0.3, generator=generator))
    return made.double().eval()


def ids(rows=2, length=10):
    return torch.randint(0, 20, (rows, length), generator=torch.Generator().manual_seed(3))


def owners(made):
    return [hasattr(layer.block.attention, "k") for layer in made.stack.layers]


def plan(name, count, **options):
    return [build("sharing", name, place=Place(i, count), **options).borrows for i in range(count)]


def test_who_borrows():
    assert plan("groups", 5, every=2) == [False, True, False, True, False]
    assert plan("groups", 5, every=3) == [False, True, True, False, True]
    assert plan("groups", 3, every=1) == [False] * 3
    assert plan("after", 5) == [False, False, False, True, True]
    assert plan("after", 4) == [False, False, True, True]
    assert plan("after", 4, first=1) == [False, True, True, True]


def test_borrowing_layers_have_no_keys_and_values_of_their_own():
    made = model({"name": "groups", "every": 2})
    assert owners(made) == [True, False, True, False]
    assert not hasattr(made.stack.layers[1].block.attention, "v")


@pytest.mark.parametrize(
    ("sharing", "lenders"),
    [
        ({"name": "groups", "every": 2}, [0, 0, 2, 2]),
        ({"name": "groups", "every": 3}, [0, 0, 0, 3]),
        ({"name": "after", "first": 2}, [0, 1, 1, 1]),
        ({"name": "after", "first": 3, "lender": 0}, [0, 1, 2, 0]),
    ],
    ids=str,
)
def test_a_layer_reads_the_keys_and_values_of_its_lender(sharing, lenders):
    """Every layer against one that is given its lender's keys and values by hand."""
    made, kept = model(sharing, position="rope"), {}
    hooks = []
    for i, layer in enumerate(made.stack.layers):
        hooks.append(layer.block.attention.register_forward_pre_hook(lambda _, args, i=i: kept.update({i: args})))
        hooks.append(layer.block.attention.register_forward_hook(lambda _, __, out, i=i: kept.update({f"out {i}": out})))
    made(ids())
    for hook in hooks:
        hook.remove()
    for i, lender in enumerate(lenders):
        one, other = made.stack.layers[i].block.attention, made.stack.layers[lender].block.attention
        x, info = kept[i]
        plain = SequenceInfo(positions=info.positions)
        _, k, v, *_ = other._own(kept[lender][0], plain)
        q = one.q(x).unflatten(-1, (4, -1)).transpose(1, 2)
        q, _ = one.position.rotate(q, q, plain, plain)
        k, v = (y.repeat_interleave(2, 1) for y in (k, v))
        scores = (q @ k.transpose(-1, -2) / 2).masked_fill(~torch.ones(10, 10, dtype=torch.bool).tril(), float("-inf"))
        torch.testing.assert_close(one.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2)), kept[f"out {i}"])


def test_a_borrower_sees_as_the_lender_so_that_kernels_need_no_mask():
    part = build("sharing", "groups", place=Place(0, 2), every=2)
    other = build("sharing", "groups", place=Place(1, 2), every=2)
    lent = SequenceInfo(positions=torch.arange(3)[None])
    k = torch.randn(1, 1, 3, 2)
    part.lend(k, k, lent, lent)
    borrower = SequenceInfo(positions=lent.positions, carry=lent.out)
    assert other.borrow(borrower)[2] is borrower
    stored = SequenceInfo(positions=torch.arange(9)[None])
    part.lend(k, k, stored, lent)
    assert other.borrow(SequenceInfo(carry=lent.out))[2] is stored


SHARINGS = [{"name": "groups", "every": 2}, {"name": "groups", "every": 3}, {"name": "after", "first": 1}, {"name": "after"}]


@pytest.mark.parametrize("sharing", SHARINGS, ids=str)
@pytest.mark.parametrize("position", ["rope", "alibi", "transformer_xl", "cope"])
def test_caches_hold_the_owners_alone_and_change_nothing(sharing, position):
    made, values = model(sharing, position=position), ids()
    cache = build("cache", "growing")
    steps = [made(values[:, cut], cache=cache) for cut in (slice(0, 4), slice(4, 7), *(slice(i, i + 1) for i in range(7, 10)))]
    torch.testing.assert_close(torch.cat(steps, 1), made(values), rtol=1e-6, atol=1e-6)
    assert sum(slot.keys.length > 0 for slot in cache._slots.values()) == sum(owners(made))


@pytest.mark.parametrize("sharing", SHARINGS, ids=str)
def test_packed_documents_stay_apart(sharing):
    made, values = model(sharing), ids(1)
    packed = made(Batch(values, documents=torch.tensor([[0] * 4 + [1] * 6])))
    torch.testing.assert_close(packed, torch.cat((made(values[:, :4]), made(values[:, 4:])), 1))


@pytest.mark.parametrize("sharing", [{"name": "groups", "every": 2}, {"name": "after"}], ids=str)
def test_in_a_looped_stack_every_pass_lends_anew(sharing):
    """Two passes through two layers are four layers with the same weights, where the fourth borrows of the third."""
    looped = model(sharing, n_layers=2, stack={"name": "looped", "loops": 2})
    straight = model({"name": "groups", "every": 2}, n_layers=4)
    named = dict(looped.named_parameters())
    assert owners(looped) == [True, False]
    for name, parameter in straight.named_parameters():
        at = next((f"layers.{i}." for i in range(4) if f"layers.{i}." in name), None)
        with torch.no_grad():
            parameter.copy_(named[name if at is None else name.replace(at, f"layers.{int(at[7]) % 2}.")])
    torch.testing.assert_close(looped(ids()), straight(ids()))
    cache = build("cache", "growing")
    steps = [looped(ids()[:, i : i + 2], cache=cache) for i in range(0, 10, 2)]
    torch.testing.assert_close(torch.cat(steps, 1), straight(ids()), rtol=1e-6, atol=1e-6)


def test_gradients_reach_the_lender_through_the_borrower_and_recomputation_is_exact():
    from components.core.sockets import Layer

    grads = []
    for checkpointing in (False, True):
        made = model({"name": "after", "first": 1}).train()
        for module in made.modules():
            if isinstance(module, Layer):
                module.checkpointing = checkpointing
        with torch.no_grad():
            made.stack.layers[0].block.attention.out.weight.zero_()  # the lender's own reading goes nowhere
        made(ids()).square().sum().backward()
        grads.append(made.stack.layers[0].block.attention.v.weight.grad)
    assert grads[0].abs().min() > 0
    assert torch.equal(*grads)


def test_kinds_of_layers_have_lenders_of_their_own():
    """As in Gemma 3n: of the last two layers the local one reads the last local keys, the global one the last global."""
    both = {"local": {"first": 2, "lender": 0}, "global": {"first": 2, "lender": 1}}
    layers = {kind: {"attention": {"sharing": {"name": "after", **options}}} for kind, options in both.items()}
    attention = {"name": "gqa", "n_heads": 4, "n_kv_heads": 2}
    nodes = {kind: {"attention": {**attention, **node["attention"]}} for kind, node in layers.items()}
    made = model("none", pattern=["local", "global"], layers=nodes)
    assert owners(made) == [True, True, False, False]
    assert [layer.block.attention.sharing.lender for layer in made.stack.layers] == [0, 1, 0, 1]
    made(ids())


def test_flops_of_a_borrower():
    one = build("attention", "gqa", d_model=16, n_heads=4, place=Place(1, 2), sharing="groups", position="none")
    lent = SequenceInfo(positions=torch.arange(6)[None])
    kv = torch.randn(1, 4, 6, 4)
    build("sharing", "groups", place=Place(0, 2)).lend(kv, kv, lent, lent)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        one(torch.randn(1, 6, 16), SequenceInfo(positions=lent.positions, carry=lent.out))
    assert counter.get_total_flops() == flops_of(one, Work(6)).executed


def test_what_is_missing_is_said():
    with pytest.raises(UserError, match="lender=2 must be a layer before first=2"):
        build("sharing", "after", place=Place(1, 4), first=2, lender=2)
    info = SequenceInfo(positions=torch.arange(3)[None])
    with pytest.raises(ValueError, match="layer 3 borrows keys and values, and no layer before it lent any: give layer 2"):
        build("sharing", "groups", place=Place(3, 4)).borrow(info)
    with pytest.raises(ValueError, match="layer 3 borrows keys and values of layer 1, which lent none"):
        build("sharing", "after", place=Place(3, 4)).borrow(info)
    one = build("attention", "gqa", d_model=16, n_heads=4, head_dim=6, place=Place(1, 2), sharing="groups", position="none")
    narrow = torch.randn(1, 4, 3, 4)
    with pytest.raises(ValueError, match="keys of width 4 are lent to heads of width 6"):
        one(torch.randn(1, 3, 16), SequenceInfo(positions=info.positions, carry={"keys_values": (narrow, narrow, None)}))
