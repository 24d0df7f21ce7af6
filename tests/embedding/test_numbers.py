"""Embeddings of numbers: what stands in the vectors, what is refused, and a part that reads numbers with a source that has none."""

from __future__ import annotations

import pytest
import torch

from components import build
from components.compose import compose
from components.compose.check import check
from components.compose.reading import read_tree
from components.core import registry
from components.core.errors import UserError
from components.core.flops import Work, flops_of
from components.core.sockets import Batch, SequenceInfo
from components.core.weights import roles
from components.functional.cross_entropy import IGNORED
from components.parts.loss.classification import Classification

IDS = torch.zeros(2, 3, dtype=torch.long)
VALUES = torch.arange(24.0).view(2, 3, 4)


def test_values_are_the_vectors():
    part, info = build("embedding", "values", d_model=4), SequenceInfo(values=VALUES)
    assert torch.equal(part(IDS, info), VALUES)
    assert torch.equal(build("embedding", "values", d_model=4, scale=0.5)(IDS, info), VALUES / 2)
    assert part.double()(IDS, info).dtype == torch.float64  # as the model that it stands in
    assert part.bfloat16()(IDS, info).dtype == torch.bfloat16
    assert not list(part.parameters())
    assert not part.state_dict()
    assert flops_of(part, Work(3)) == (0, 0)


def test_patches_are_projected():
    part = build("embedding", "patches", d_model=5, d_in=4, scale=0.25)
    torch.nn.init.normal_(part.projection.bias)
    want = VALUES / 4 @ part.projection.weight.T + part.projection.bias
    torch.testing.assert_close(part(IDS, SequenceInfo(values=VALUES)), want)
    assert {w.name: w.role for w in roles(part)} == {"projection.weight": "embedding", "projection.bias": "bias"}
    assert flops_of(part, Work(3)) == (2 * 4 * 5 * 3,) * 2
    assert build("embedding", "patches", d_model=5, d_in=4, bias=False).projection.bias is None


def test_a_token_is_its_number():
    ids = torch.tensor([[0, 3, 9]])
    info = SequenceInfo()
    assert build("embedding", "number", vocab_size=10, d_model=1)(ids, info).tolist() == [[[0.0], [3.0], [9.0]]]
    part = build("embedding", "number", vocab_size=10, d_model=2, scale="vocab")
    torch.testing.assert_close(part(ids, info), torch.tensor([[[0.0, 0.0], [0.3, 0.0], [0.9, 0.0]]]))


@pytest.mark.parametrize(("name", "options"), [("values", {}), ("patches", {"d_in": 4})])
def test_numbers_that_are_not_there(name, options):
    part = build("embedding", name, d_model=4, **options)
    with pytest.raises(ValueError, match=rf"embedding/{name} reads numbers \(B, T, 4\), and the batch has ids \(2, 3\) alone"):
        part(IDS, SequenceInfo())
    with pytest.raises(ValueError, match=r"reads numbers \(2, 3, 4\), and the batch has \(2, 3, 5\): set d_"):
        part(IDS, SequenceInfo(values=torch.zeros(2, 3, 5)))


def model_config(embedding):
    return {"model": {"name": "mlp", "embedding": {"name": embedding}, "head": {"name": "linear"}, "init": {"name": "kaiming"}}}


def test_a_source_without_numbers_is_refused():
    with pytest.raises(
        UserError, match=r"model.embedding: embedding/values needs values of its data, and data/text at data does not"
    ):
        check(read_tree({**model_config("values"), "data": {"name": "text"}}))
    check(read_tree({**model_config("token"), "data": {"name": "text"}}))
    check(read_tree(model_config("values")))  # a model alone has no source


def test_numbers_without_an_embedding_that_reads_them_are_refused():
    sources = [e for e in registry.entries("data").values() if "values" in e.signature.declared.get("provides", ())]
    assert len(sources) >= 5
    for source in sources:
        assert source.signature.declared.get("needs") == {"embedding": ["values"]}, source.label
    with pytest.raises(
        UserError, match=r"data: data/digits needs values of its embedding, and embedding/token at model.embedding does"
    ):
        compose("ladder/15_patches", ["model/embedding=token"])


@pytest.mark.parametrize("norm", ["layer", "none"])
def test_an_encoder_of_patches_learns_a_step(norm):
    """Rung 15: 16 patches of 4 pixels, the parts of a text encoder."""
    head = {"name": "classification", "n_classes": 10, "pooling": "mean"}
    embedding = {"name": "patches", "d_in": 4}
    model = build(
        "model", "encoder", vocab_size=1, d_model=16, n_layers=1, context_length=16, embedding=embedding, head=head, norm=norm
    )
    generator = torch.Generator().manual_seed(0)
    values, targets = torch.rand(8, 16, 4, generator=generator), torch.arange(8)
    batch = Batch(torch.zeros(8, 16, dtype=torch.long), values=values, targets=targets)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(2):
        total, weight = model(batch, Classification()).losses["loss"]
        losses.append(total / weight)
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[1] < losses[0]
    assert model.embedding.projection.weight.grad.abs().sum() > 0
    assert IGNORED not in targets
