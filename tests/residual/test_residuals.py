"""How a branch's output enters the stream."""

from __future__ import annotations

import pytest
import torch

from components import build
from components.compose import compose
from components.core.errors import UserError
from components.core.sockets import Place


def test_formulas():
    s, y = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    place = Place(1, 8)
    assert torch.equal(build("residual", "add").write(s, y), s + y)
    assert torch.equal(build("residual", "none").write(s, y), y)
    torch.testing.assert_close(build("residual", "deep_norm", alpha=3.5, beta=0.8).write(s, y), 3.5 * s + 0.8 * y)
    torch.testing.assert_close(build("residual", "scaled", place=place).write(s, y), s + y / 4)
    torch.testing.assert_close(build("residual", "scaled", place=place, scale=0.22).write(s, y), s + 0.22 * y)
    scaled = build("residual", "layer_scale", d_model=4, place=place, initial=0.01)
    assert scaled.scale.tolist() == pytest.approx([0.01] * 4)
    torch.testing.assert_close(scaled.write(s, y), s + 0.01 * y)


def test_the_stacks_own_layer_scale_has_no_dead_parameter():
    assert not list(build("residual", "layer_scale", d_model=4).parameters())


@pytest.mark.parametrize("name", ["add", "none", "scaled", "layer_scale"])
def test_dropout_scales_what_is_kept_and_is_absent_at_zero(name):
    sizes = {"place": Place(0, 1)} if name not in ("add", "none") else {}
    sizes |= {"d_model": 1000} if name == "layer_scale" else {}
    part = build("residual", name, dropout=0.5, **sizes).train()
    torch.manual_seed(0)
    s, y = torch.zeros(1, 1, 1000), torch.ones(1, 1, 1000)
    out, full = part.write(s, y), build("residual", name, **sizes).write(s, y)
    kept = out != 0
    assert 0.4 < kept.float().mean() < 0.6
    torch.testing.assert_close(out[kept], 2 * full[kept])
    assert torch.equal(part.eval().write(s, y), full)


def test_without_a_residual_branches_have_to_follow_one_another():
    for block in ("parallel", "parallel_two_norms"):
        with pytest.raises(UserError, match=f"residual/none needs sequential of its block, and block/{block} .* does not"):
            compose("gpt_python", ["model/residual=none", f"model/block={block}"])
    assert compose("gpt_python", ["model/residual=none", "model/block=post_norm"]).config["model"]["residual"]["name"] == "none"


def plain_or_residual(residual, norm, depth):
    """Gradient norms of each layer's ffn, first to last, of a network of layers of ffn alone."""
    sizes = {"vocab_size": 20, "d_model": 16, "n_layers": depth, "context_length": 8}
    ffn = {"name": "mlp", "activation": "relu"}
    init = {"name": "kaiming", "gain": 1.0, "embedding_std": 1.0}
    parts = {"attention": "none", "position": "none", "ffn": ffn, "norm": norm, "residual": residual, "init": init}
    model = build("model", "decoder", **sizes, **parts)
    ids = torch.randint(0, 20, (4, 8), generator=torch.Generator().manual_seed(0))
    torch.nn.functional.cross_entropy(model(ids).flatten(0, 1), ids.flatten()).backward()
    return [layer.block.ffn.up.weight.grad.norm().item() for layer in model.stack.layers]


def test_gradients_vanish_without_a_residual_and_not_with_one():
    """What rung 8 of the ladder shows: y = x + F(x) keeps the 1 of the derivative."""
    plain, shortcut = plain_or_residual("none", "none", 32), plain_or_residual("add", "layer", 32)
    assert plain[0] < 1e-3 * plain_or_residual("none", "none", 4)[0]
    assert min(shortcut) > 0.03 * max(shortcut)
    assert shortcut[0] > 1e3 * plain[0]


def test_the_derivative_keeps_its_one():
    x = torch.tensor([2.0], requires_grad=True)
    f = torch.tensor([0.25]) * x  # F(x), with a derivative of 0.25
    for name, want in (("add", 1.25), ("none", 0.25)):
        (gradient,) = torch.autograd.grad(build("residual", name).write(x, f), x, retain_graph=True)
        assert gradient.item() == want
