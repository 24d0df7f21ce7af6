"""An attention called by hand, ``attention(x)``: x is one causal document of ids 0 that starts at position 0."""

from __future__ import annotations

import pytest
import torch

from components import build
from components.core.registry import static_entries
from components.core.sockets import Batch, Place, SequenceInfo, info_of
from components.core.traits import lacks

NAMES = sorted(name for kind, name in static_entries() if kind == "attention")
INSIDE = {
    "parallel_hybrid": {"attention_mixer": {"name": "gqa", "position": "none"}},  # mixers within that inherit, too
    "disentangled": {"position": "disentangled"},  # which reads no other
    "stochastic": {"mixers": [{"name": "gqa", "position": "none"}, "lstm"]},
}


def attention(name: str, **sizes: int):
    signature = static_entries()["attention", name].signature
    torch.manual_seed(1)
    inherited = [n for n, o in signature.options.items() if o.default == "inherit"]
    options = {n: "none" if n == "position" else "rms" for n in inherited} | INSIDE.get(name, {})
    return build("attention", name, d_model=64, context_length=32, place=Place(0, 2), **sizes, **options).eval()


def inputs() -> torch.Tensor:
    return torch.randn(2, 7, 64, generator=torch.Generator().manual_seed(2))


def causal() -> SequenceInfo:
    return SequenceInfo.of(Batch(torch.zeros(2, 7, dtype=torch.long)), causal=True)


@pytest.mark.parametrize("name", NAMES)
def test_an_attention_without_an_info_reads_one_causal_document(name):
    part, x = attention(name), inputs()
    alone = part(x)
    assert torch.equal(alone, part(x, causal()))
    if name not in ("none", "both_ways") and not lacks(part, "causal"):
        torch.testing.assert_close(part(x[:, :4]), alone[:, :4])


def test_positions_are_counted():
    part, x = build("attention", "gqa", d_model=64, context_length=32, position="rope"), inputs()
    assert torch.equal(part(x), part(x, causal()))
    assert not torch.allclose(part(x), part(x, causal().with_(positions=2 * causal().positions)))


def test_an_info_that_is_given_is_taken_as_it_is():
    info = causal().with_(causal=False)
    assert info_of(inputs(), info) is info


def test_a_call_without_an_info_compiles_to_one_graph():
    part, x = build("attention", "gqa", d_model=64, context_length=32, position="rope"), inputs()
    compiled = torch.compile(part, backend="eager", fullgraph=True)
    assert torch.equal(compiled(x), part(x))


def test_a_cross_attention_says_that_it_needs_a_memory():
    part = attention("gqa", d_memory=16)
    with pytest.raises(ValueError, match="reads a memory, and this info has none"):
        part(inputs())
