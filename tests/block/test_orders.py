"""The orders of norms and branches, each written out; norms of each branch's own; branches that are absent."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from components import build
from components.core.sockets import Place, SequenceInfo
from components.parts.block.pre_norm import PreNorm

D = 8
INFO = SequenceInfo(positions=torch.arange(3)[None])


class Branch(nn.Module):
    """Multiplies by a matrix of its own, so that orders can be told apart."""

    def __init__(self, d_model):
        super().__init__()
        self.linear = nn.Linear(d_model, d_model)

    def forward(self, x, info):  # noqa: ARG002
        return self.linear(x)


class Absent(Branch):
    absent = True


def block(name, memory=None, **extra):
    makers = {
        "attention": Branch,
        "cross": Branch,
        "ffn": Branch,
        "norm": "layer",
        "residual": {"name": "scaled", "scale": 0.5},
    }
    makers = {k: v for k, v in {**makers, **extra}.items() if v is not None}
    sizes = {"d_model": D, "context_length": 4, "place": Place(0, 2), **({"d_memory": memory} if memory else {})}
    made = build("block", name, **sizes, **makers)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in made.parameters():  # no two norms alike
            p.normal_(0.5, 0.5, generator=generator)
    return made


def in_turn(b, s, names, formula):
    for n in names:
        s = formula(s, getattr(b, n), lambda kind, n=n: getattr(b, f"{n}_{kind}"))
    return s


def laurel(b, s, f, of):
    x = of("norm")(s)
    y = of("output_norm")(f(x, INFO))
    if f is not b._modules.get("attention"):
        return s + 0.5 * y
    return (s + 0.5 * (y + x + b.out_norm(x @ b.down.weight.T @ b.out.weight.T))) / 2**0.5


ORDERS = {
    "pre_norm": lambda b, s, names: in_turn(b, s, names, lambda s, f, of: s + 0.5 * f(of("norm")(s), INFO)),
    "post_norm": lambda b, s, names: in_turn(b, s, names, lambda s, f, of: of("norm")(s + 0.5 * f(s, INFO))),
    "normed_stream": lambda b, s, names: in_turn(b, s, names, lambda s, f, of: of("norm")(s) + 0.5 * f(of("norm")(s), INFO)),
    "output_norm": lambda b, s, names: in_turn(b, s, names, lambda s, f, of: s + 0.5 * of("norm")(f(s, INFO))),
    "sandwich": lambda b, s, names: in_turn(b, s, names, lambda s, f, of: s + 0.5 * of("output_norm")(f(of("norm")(s), INFO))),
    "laurel": lambda b, s, names: in_turn(b, s, names, lambda s, f, of: laurel(b, s, f, of)),
    "norm_former": lambda b, s, names: in_turn(
        b,
        s,
        names,
        lambda s, f, of: s + 0.5 * (f(of("norm")(s), INFO) if f is b.ffn else of("output_norm")(f(of("norm")(s), INFO))),
    ),
    "macaron": lambda b, s, names: in_turn(
        b,
        s,
        ["first_ffn", *names],
        lambda s, f, of: s + 0.5 * (0.5 if f in (b.ffn, b.first_ffn) else 1.0) * f(of("norm")(s), INFO),
    ),
    "parallel": lambda b, s, names: s + sum(0.5 * getattr(b, n)(b.norm(s), INFO) for n in names),
    "parallel_two_norms": lambda b, s, names: s + sum(0.5 * getattr(b, n)(getattr(b, f"{n}_norm")(s), INFO) for n in names),
}


@pytest.mark.parametrize("memory", [None, 8])
@pytest.mark.parametrize("name", ORDERS)
def test_orders(name, memory):
    s, b = torch.randn(2, 3, D), block(name, memory)
    names = ["attention", "cross", "ffn"] if memory else ["attention", "ffn"]
    torch.testing.assert_close(b(s, INFO), ORDERS[name](b, s, names))
    assert {n.split(".")[0] for n, _ in b.named_parameters()} >= set(names)  # nothing but what the order needs
    norms = sum(isinstance(m, nn.LayerNorm) or type(m).__name__ == "LayerNorm" for m in b.modules())
    each = {
        "sandwich": 2 * len(names),
        "laurel": 2 * len(names) + 1,
        "norm_former": 2 * len(names) - 1,
        "macaron": len(names) + 1,
        "parallel": 1,
    }
    assert norms == each.get(name, len(names))


@pytest.mark.parametrize(
    "name",
    [
        "pre_norm",
        "post_norm",
        "normed_stream",
        "output_norm",
        "sandwich",
        "laurel",
        "norm_former",
        "macaron",
        "parallel_two_norms",
    ],
)
def test_a_norm_of_one_branch_alone(name):
    b = block(name, attention_norm="none")
    assert type(b.attention_norm).__name__ == "NoNorm"
    assert type(b.ffn_norm).__name__ == "LayerNorm"


def test_norms_after_the_branches_of_their_own():
    for name in ("sandwich", "norm_former"):
        b = block(name, output_norm="rms")
        assert type(b.attention_norm).__name__ == "LayerNorm"
        assert type(b.attention_output_norm).__name__ == "RMSNorm"


@pytest.mark.parametrize("name", ORDERS)
def test_an_absent_branch_leaves_nothing_behind(name):
    b = block(name, ffn=Absent)
    assert [branch.name for branch in b.branches] == ["attention"]
    assert not [n for n, _ in b.named_parameters() if "ffn" in n]
    b(torch.randn(2, 3, D), INFO)


@pytest.mark.parametrize("name", ORDERS)
def test_a_layer_of_ffn_alone(name):
    b = block(name, attention="none")
    assert {branch.name for branch in b.branches} <= {"first_ffn", "ffn"}
    assert not [n for n, _ in b.named_parameters() if "attention" in n]
    s = torch.randn(2, 3, D)
    changed = s.clone()
    changed[:, 1] += 1
    assert torch.equal(b(s, INFO)[:, [0, 2]], b(changed, INFO)[:, [0, 2]])  # every position is alone


def test_laurel_without_attention_has_no_map():
    assert not hasattr(block("laurel", attention="none"), "down")
    assert block("laurel", rank=3, laurel_norm="none").down.out_features == 3


def test_the_macaron_halves_and_its_first_ffn_can_be_told_apart():
    b = block("macaron", first_ffn={"name": "mlp", "d_ff": 5}, scale=1.0)
    assert b.first_ffn.up.out_features == 5
    assert isinstance(b.ffn, Branch)
    s = torch.randn(2, 3, D)
    want = s
    for n in ("first_ffn", "attention", "ffn"):
        want = want + 0.5 * getattr(b, n)(getattr(b, f"{n}_norm")(want), INFO)
    torch.testing.assert_close(b(s, INFO), want)


def test_a_layer_without_attention_norm():
    model = build(
        "model",
        "decoder",
        vocab_size=20,
        d_model=32,
        context_length=8,
        n_layers=2,
        layers={"first": {"block": {"name": "pre_norm", "attention_norm": "none"}}},
    )
    kinds = [[type(getattr(m.block, f"{n}_norm")).__name__ for n in ("attention", "ffn")] for m in model.stack.layers]
    assert kinds == [["NoNorm", "RMSNorm"], ["RMSNorm", "RMSNorm"]]


def test_the_class_alone_takes_its_norm():
    b = PreNorm(D, 4, Place(0, 1), attention=Branch, ffn=Branch, norm="rms", residual="add")
    assert type(b.attention_norm).__name__ == type(b.ffn_norm).__name__ == "RMSNorm"


BLOCKS = (
    "pre_norm",
    "post_norm",
    "normed_stream",
    "output_norm",
    "sandwich",
    "laurel",
    "norm_former",
    "parallel",
    "parallel_two_norms",
    "macaron",
)


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("copied", [False, True])
def test_a_module_that_is_put_in_the_place_of_another_counts(name, copied):
    """As adapters, quantisers and people do it: ``block.ffn = mine``."""
    made = copy.deepcopy(block(name)) if copied else block(name)
    s = torch.randn(2, 3, D, generator=torch.Generator().manual_seed(1))
    before = made(s, INFO)
    other = Branch(D)
    with torch.no_grad():
        other.linear.weight.copy_(2 * torch.eye(D))
    made.ffn = other
    assert not torch.allclose(made(s, INFO), before)
