"""Each position against its paper's formula."""

from __future__ import annotations

import math

import pytest
import torch

from components import build
from components.core.errors import UserError
from components.core.sockets import SequenceInfo

INFO = SequenceInfo(positions=torch.tensor([[0, 1, 2, 3]]))


def test_sinusoidal_channels():
    table = build("position", "sinusoidal", d_model=6).table(INFO.positions)[0]
    for p in range(4):
        for i in range(3):
            assert table[p, 2 * i] == pytest.approx(math.sin(p / 10000 ** (2 * i / 6)), abs=1e-6)
            assert table[p, 2 * i + 1] == pytest.approx(math.cos(p / 10000 ** (2 * i / 6)), abs=1e-6)


def test_sinusoidal_in_halves_is_the_same_in_another_order():
    pairs, halves = (
        build("position", "sinusoidal", d_model=6, layout=n).table(INFO.positions) for n in ("interleaved", "half")
    )
    assert torch.equal(halves, pairs[..., [0, 2, 4, 1, 3, 5]])


def test_alibi_factor_multiplies_the_bias():
    plain, divided = (build("position", "alibi", n_heads=6, factor=f).bias(None, None, INFO, INFO) for f in (1.0, 0.125))
    assert torch.equal(divided, plain * 0.125)
    assert divided[0, 0, 3, 0] < 0


def test_learned_adds_the_row_of_the_position_and_offset():
    position = build("position", "learned", d_model=3, context_length=8, offset=2)
    out = position.embed(torch.zeros(1, 4, 3), SequenceInfo(positions=torch.tensor([[0, 1, 0, 5]])))
    assert torch.equal(out[0], position.table.weight[[2, 3, 2, 7]])
    with pytest.raises(ValueError, match="context_length=8"):
        position.embed(torch.zeros(1, 9, 3), SequenceInfo(positions=torch.arange(9)[None]))


def test_alibi_slopes_of_the_paper():
    assert build("position", "alibi", n_heads=8).slopes().tolist() == [2.0**-i for i in range(1, 9)]
    twelve = build("position", "alibi", n_heads=12).slopes()
    assert twelve[:8].tolist() == [2.0**-i for i in range(1, 9)]
    torch.testing.assert_close(twelve[8:], torch.tensor([2.0 ** -(0.5 + i) for i in range(4)]))


def test_alibi_bias_grows_with_distance():
    bias = build("position", "alibi", n_heads=2).bias(None, None, INFO, INFO)
    assert bias.shape == (1, 2, 4, 4)
    assert bias[0, 0, 3].tolist() == [-3 / 16, -2 / 16, -1 / 16, 0]


def test_rope_first_frequency_is_one_and_fraction_leaves_the_rest():
    position = build("position", "rope", head_dim=8, fraction=0.5, base=100.0)
    assert position.frequencies(torch.device("cpu")).tolist() == pytest.approx([1.0, 100**-0.5])
    q = torch.randn(1, 1, 4, 8)
    turned, _ = position.rotate(q, q, INFO, INFO)
    assert torch.equal(turned[..., 4:], q[..., 4:])
    torch.testing.assert_close(turned[0, 0, 1, 0], q[0, 0, 1, 0] * math.cos(1) - q[0, 0, 1, 1] * math.sin(1))


def test_rope_without_a_pair_is_refused():
    with pytest.raises(UserError, match=r"head_dim=8 and fraction=0\.1"):
        build("position", "rope", head_dim=8, fraction=0.1)


def test_learned_says_so_when_a_cached_call_goes_beyond_its_table():
    model = build("model", "decoder", vocab_size=9, d_model=16, n_layers=1, context_length=4, position="learned").eval()
    cache = build("cache", "growing")
    model(torch.zeros(1, 4, dtype=torch.long), cache=cache)
    with pytest.raises(ValueError, match="position 4 in a cached call"):
        model(torch.zeros(1, 1, dtype=torch.long), cache=cache)
