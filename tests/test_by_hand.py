"""Every part is called alone, ``part(x)``, without anything of ours beside it; it does then what it does for one causal document."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hosts import parts
from torch import Tensor, nn

import components
from components.check.host import numbers
from components.check.subject import subject_of
from components.core import registry
from components.core.sockets import Batch, Place, SequenceInfo
from components.core.traits import biases, embeds, rotates

D, T, V = 32, 12, 40
SIZES: dict[str, Any] = {
    **{
        "d_model": D,
        "dim": D,
        "vocab_size": V,
        "n_heads": 4,
        "n_kv_heads": 4,
        "head_dim": 8,
        "context_length": T,
        "n_experts": 4,
    },
    **{"depth": 2, "n_layers": 2, "place": Place(0, 2)},
}
AROUND: dict[str, Any] = {
    **{"attention": {"name": "gqa", "n_heads": 4, "position": "rope"}, "ffn": "mlp", "norm": "rms", "residual": "add"},
    **{"block": "pre_norm", "position": "rope", "embedding_norm": "none", "final_norm": "rms"},
}


def built(label: str) -> Any:
    """The part, built as a script builds it: sizes and options by name, and what it would inherit from a model."""
    kind, _, name = label.partition("/")
    signature = registry.entry(kind, name).signature
    given = {n: v for n, v in SIZES.items() if n in signature.sizes}
    if kind == "head" and "embedding" in given.keys() | signature.sizes.keys():
        needed = signature.declared.get("needs", {}).get("embedding", ())
        table = "factorised" if "narrow_table" in needed else "token"
        given["embedding"] = components.build("embedding", table, vocab_size=V, d_model=D)
    if kind == "block":
        del given["place"]  # alone it is the only one
    options = {n: v for n, v in subject_of(label).maker.items() if n != "name"}
    inherited = [n for n, o in signature.options.items() if o.type.kind and o.default == "inherit" and n not in options]
    options |= {n: AROUND.get(n, AROUND.get(signature.options[n].type.kind)) for n in inherited}
    if kind == "stack":
        options["attention"] = {"name": "gqa", "n_heads": 4}  # which inherits the position from the stack
    if "side_ffn" in options:
        options["side_ffn"] = "mlp"  # what is taken first reads what an embedding wrote
    if label == "attention/stochastic":  # parts within a list find nothing above them to inherit from
        options["mixers"] = [AROUND["attention"], {"name": "linear", "n_heads": 4, "position": "none"}]
    if "attention_mixer" in signature.options:
        options["attention_mixer"] = AROUND["attention"]
    if kind == "attention" and "position" in inherited:
        fitting = "rope" if "rotates" in signature.declared.get("provides", ()) else "none"
        options["position"] = subject_of(label).around.get("position", fitting)
    torch.manual_seed(0)
    part = components.build(kind, name, **given, **options)
    return part.eval()


def info_for(x: Tensor) -> SequenceInfo:
    return SequenceInfo.of(Batch(torch.zeros(x.shape[:2], dtype=torch.long)), causal=True)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    return all(same(getattr(a, n), getattr(b, n)) for n in ("tokens", "experts", "weights"))  # a Routing


@pytest.mark.parametrize("label", parts("attention", "ffn", "router", "pooling", "head", "block", "stack", "norm"))
def test_vectors(label):
    part, x = built(label), torch.randn(2, T, D, generator=torch.Generator().manual_seed(1))
    if label.startswith("norm/"):
        assert part(x).shape == x.shape
        return
    if label == "ffn/per_layer_input":
        with pytest.raises(ValueError, match="use embedding=per_layer_embeddings"):
            part(x)
        return
    found, expected = part(x), part(x, info_for(x))
    if label.startswith("stack/"):
        (found, _), (expected, _) = found, expected
        assert found.shape == x.shape
    assert same(found, expected)


@pytest.mark.parametrize("label", parts("embedding"))
def test_embeddings(label):
    part, ids = built(label), torch.arange(2 * T).view(2, T)
    if part.d_in:
        with pytest.raises(ValueError, match="reads numbers"):
            part(ids)
        info = SequenceInfo.of(Batch(ids, values=numbers(ids, part.d_in)), causal=True)
        assert part(ids, info).shape[:2] == ids.shape
        return
    assert torch.equal(part(ids), part(ids, SequenceInfo.of(Batch(ids), causal=True)))


@pytest.mark.parametrize("label", parts("position"))
def test_positions(label):
    part = built(label)
    x, heads = torch.randn(2, T, D), torch.randn(2, 4, T, 8)
    info = info_for(x)
    if embeds(part):
        assert torch.equal(part.embed(x), part.embed(x, info))
    if rotates(part):
        for found, expected in zip(part.rotate(heads, heads), part.rotate(heads, heads, info, info)):
            assert torch.equal(found, expected)
    if biases(part):
        found, expected = part.bias(heads, heads), part.bias(heads, heads, info, info)
        assert torch.equal(found, expected)
    if part.n_vectors:
        assert torch.equal(part.vectors()[part.rows(info, info)], part.vectors()[part.rows(info, info_for(x))])
    assert label == "position/none" or embeds(part) or rotates(part) or biases(part) or part.n_vectors


@pytest.mark.parametrize("label", parts("gate", "value"))
def test_what_changes_what_was_read(label):
    part, heads, x = built(label), torch.randn(2, 4, T, 8), torch.randn(2, T, D)
    if label.startswith("gate/"):
        heads = heads.transpose(1, 2)
    if label == "value/embedding":
        with pytest.raises(ValueError, match="value_embeddings"):
            part(heads, x)
        return
    assert part(heads, x).shape == heads.shape


@pytest.mark.parametrize("name", ["decoder", "encoder", "mlp"])
def test_a_model_reads_ids_of_two_axes(name):
    """A row alone is refused, since (T,) -> (1, T, V) or (T, V) would be a guess."""
    model: nn.Module = components.build("model", name, vocab_size=V, d_model=D, context_length=T)
    assert model(torch.zeros(1, 5, dtype=torch.long)).shape == (1, 5, V)
    with pytest.raises(ValueError, match=r"ids \(B, T\) of whole numbers, not int64 \(5,\): ids\[None\] is a batch of one"):
        model(torch.zeros(5, dtype=torch.long))
    with pytest.raises(ValueError, match=r"not float32 \(1, 5\)$"):
        model(torch.zeros(1, 5))


@pytest.mark.parametrize(
    "label", parts("attention", "ffn", "router", "head", "block", "stack", "norm", "embedding", "position", "gate")
)
def test_weights_have_values(label):
    """Memory that nobody wrote to is NaN here: a part that leaves a weight to a model's init would be built with noise."""
    torch.use_deterministic_algorithms(True)
    try:
        part = built(label)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(p.isfinite().all() for p in part.parameters())
