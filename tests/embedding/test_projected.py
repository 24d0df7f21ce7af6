"""An embedding of a width of its own: what is added where, its gradients, and what cannot stand in it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hosts import decoder, ids

from components import build
from components.compose import compose
from components.core.errors import UserError
from components.core.sockets import Batch, SequenceInfo

V, D, E, T = 13, 8, 5, 9
ELECTRA = {"inner": {"name": "token_types", "n_types": 3}, "position": "learned", "norm": "layer"}


def made(**options):
    part = build("embedding", "projected", vocab_size=V, d_model=D, context_length=T, width=E, **options).double()
    with torch.no_grad():
        for p in part.parameters():
            p.normal_(generator=torch.Generator().manual_seed(p.numel()))
    return part


def by_hand(w: dict[str, torch.Tensor], x: torch.Tensor, types: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """The three tables as products with one-hot rows, a LayerNorm written out, and the matrix."""
    tables = (("inner.table", x), ("inner.types", types), ("position.table", at))
    total = sum(F.one_hot(i, len(w[f"{n}.weight"])).double() @ w[f"{n}.weight"] for n, i in tables)
    centred = total - total.mean(-1, keepdim=True)
    normed = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * w["norm.weight"] + w["norm.bias"]
    return torch.einsum("bte,de->btd", normed, w["up.weight"]) + w["up.bias"]


def test_formula_and_gradients_with_documents_and_types():
    part, generator = made(**ELECTRA), torch.Generator().manual_seed(0)
    x, types = (torch.randint(0, n, (2, T), generator=generator) for n in (V, 3))
    documents = torch.tensor([[0] * 4 + [1] * 5, [0] * 9])
    at = torch.tensor([[*range(4), *range(5)], [*range(9)]])
    own = {n: p.detach().clone().requires_grad_() for n, p in part.named_parameters()}
    found = part(x, SequenceInfo.of(Batch(x, documents=documents, token_types=types), causal=False))
    expected = by_hand(own, x, types, at)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    weights = torch.randn(2, T, D, generator=generator, dtype=torch.float64)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    for name, parameter in part.named_parameters():
        torch.testing.assert_close(parameter.grad, own[name].grad, rtol=1e-9, atol=1e-9, msg=name)


def test_alone_it_is_the_factorised_embedding():
    part, x = made(bias=False), torch.arange(V)[None]
    torch.testing.assert_close(part(x), part.inner.table.weight[x] @ part.up.weight.t())
    assert {n for n, _ in part.named_parameters()} == {"inner.table.weight", "up.weight"}
    quarter = build("embedding", "projected", vocab_size=V, d_model=64)
    assert quarter.tokens.weight.shape == (V, 16)


def test_the_inner_dropout_comes_between_norm_and_matrix():
    part, x = made(inner={"name": "token", "dropout": 0.5}, bias=False).train(), torch.arange(V)[None]
    assert part.dropout == 0.0, "the model would drop again"
    torch.manual_seed(3)
    found = part(x)
    torch.manual_seed(3)
    torch.testing.assert_close(found, F.dropout(part.inner.table.weight[x], 0.5) @ part.up.weight.t())


def test_positions_inside_end_with_the_context():
    model = decoder(embedding={"name": "projected", **ELECTRA}, position="none")
    assert model(ids()).shape == (2, 12, 40)
    with pytest.raises(ValueError, match="context_length=12"):
        model(torch.cat((ids(), ids()), 1))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"inner": "factorised"}, "has no table of ids"),
        ({"inner": "value_embeddings"}, "layers read 8"),
        ({"position": {"name": "log_temperature", "scale": 0.1}}, "is not added to an embedding"),
        ({"position": "rope"}, "needs the size"),
    ],
)
def test_what_cannot_stand_in_it(options, said):
    with pytest.raises(UserError, match=said):
        made(**options)


def test_what_cannot_stand_in_it_is_refused_before_it_is_built():
    with pytest.raises(UserError, match=r"needs table of its inner, and embedding/factorised"):
        compose("llama_tiny", ["model/embedding=projected", "model/embedding/inner=factorised"])
    with pytest.raises(UserError, match="needs table of its embedding, and embedding/projected"):
        compose("llama_tiny", ["model/embedding=projected", "model/head=tied"])
