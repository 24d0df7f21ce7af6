"""What happens to values before they are read: mixed with the first layer's, with value embeddings, or normed."""

from __future__ import annotations

import pytest
import torch

from components import build
from components.core.errors import UserError
from components.core.sockets import Place, SequenceInfo

G, T, K, D = 2, 5, 4, 12


def v(seed=0, groups=G):
    return torch.randn(2, groups, T, K, generator=torch.Generator().manual_seed(seed))


def info(**carry):
    return SequenceInfo(positions=torch.arange(T)[None], carry=carry)


def residual(index, **options):
    return build("value", "residual", place=Place(index, 4), **options)


def model(**options):
    made = build(
        "model", "decoder", **{
            "vocab_size": 20, "d_model": 16, "n_layers": 3, "context_length": 8,
            "attention": {"name": "gqa", "n_heads": 4, "n_kv_heads": 2, "value": "residual"}, **options,
        }
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(torch.empty(p.shape).normal_(0, 0.3, generator=generator))
    return made.double().eval()


def test_residual_mixes_in_the_first_layers_values():
    first, later, at = residual(0), residual(2), info()
    assert torch.equal(first(v(), None, at), v())
    with torch.no_grad():
        later.mix.copy_(torch.tensor([0.3, 2.0]))
    torch.testing.assert_close(later(v(1), None, info(**at.out)), 0.3 * v(1) + 2.0 * v())
    assert not list(first.parameters())
    later.reset_parameters()
    assert later.mix.tolist() == [0.5, 0.5]


def test_residual_of_another_layer():
    parts, at = [residual(i, first=1) for i in range(3)], info()
    assert [len(list(p.parameters())) for p in parts] == [0, 0, 1]
    parts[0](v(), None, at)
    assert not at.out
    parts[1](v(1), None, at)
    assert torch.equal(at.out["values"], v(1))


def test_residual_of_a_looped_stack_keeps_the_first_values_of_the_first_pass():
    at = info(values=v())
    assert torch.equal(residual(0)(v(1), None, at), v(1))
    assert not at.out


def test_residual_acts_in_a_model_and_its_first_layer_reaches_the_last():
    """The last layer's own values are switched off: what it reads are the first layer's, mixed in."""
    made, ids = model(), torch.arange(8)[None] % 20
    last = made.stack.layers[2].block.attention
    with torch.no_grad():
        last.value.mix.copy_(torch.tensor([0.0, 1.0]))
    before = made(ids)
    with torch.no_grad():
        last.v.weight.normal_()
    assert torch.equal(made(ids), before)
    with torch.no_grad():
        last.value.mix.copy_(torch.tensor([1.0, 1.0]))
    assert not torch.allclose(made(ids), before)


def test_residual_says_what_is_missing():
    with pytest.raises(ValueError, match="layer 2 mixes in the values of layer 0, which wrote none"):
        residual(2)(v(), None, info())
    with pytest.raises(ValueError, match=r"\(2, 2, 5, 4\) and layer 0 \(2, 1, 5, 4\)"):
        residual(2)(v(), None, info(values=v(groups=1)))


def test_embedding_adds_the_mapped_vectors():
    part = build("value", "embedding", d_model=D, n_kv_heads=G, head_dim=K)
    vectors = torch.randn(2, T, D)
    with torch.no_grad():
        part.factor.fill_(0.7)
    out = part(v(), None, info(value_embeddings=vectors))
    for g in range(G):
        torch.testing.assert_close(out[:, g], v()[:, g] + 0.7 * vectors @ part.values.weight[g * K : (g + 1) * K].t())
    assert build("value", "embedding", d_model=D, n_kv_heads=G, head_dim=K, start=0.25).factor.item() == 0.25


def test_embedding_says_what_is_missing():
    part = build("value", "embedding", d_model=D, n_kv_heads=G, head_dim=K)
    with pytest.raises(ValueError, match="use embedding=value_embeddings"):
        part(v(), None, info())


def test_embedding_depends_on_the_second_table_in_a_model():
    made = model(embedding="value_embeddings", attention={"name": "gqa", "n_heads": 4, "value": "embedding"})
    ids = torch.arange(8)[None]
    before = made(ids)
    with torch.no_grad():
        made.embedding.values.weight[3].add_(1.0)
    after = made(ids)
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3:], after[:, 3:])


def test_norm_divides_each_heads_values_by_their_root_mean_square():
    part = build("value", "norm", head_dim=K)
    torch.testing.assert_close(part(v(), None, info()), v() / (v().square().mean(-1, keepdim=True) + 1e-6).sqrt())
    other = build("value", "norm", head_dim=K, norm={"name": "layer", "eps": 1e-5})
    torch.testing.assert_close(other(v(), None, info()), torch.nn.functional.layer_norm(v(), (K,)))


@pytest.mark.parametrize("value", ["residual", "embedding", "norm"])
def test_a_cross_attention_keeps_its_values_as_they_are(value):
    part = build("attention", "gqa", d_model=D, n_heads=3, d_memory=D, position="none", value=value, place=Place(1, 2))
    assert not [name for name, _ in part.named_modules() if name == "value"]


def test_a_residual_needs_a_layer():
    with pytest.raises(UserError, match="place"):
        build("attention", "gqa", d_model=D, n_heads=3, position="none", value="residual")
