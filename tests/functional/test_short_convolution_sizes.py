"""Short convolutions of every width, one among them, over rows shorter than they are wide, whole and in pieces: as the sum is written."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from components import build
from components.core.sockets import Batch, SequenceInfo
from components.functional.short_convolution import ShortConvolution, short_convolutions

ROWS, CHANNELS = 2, 3


def by_hand(x, taps, documents, valid):
    out = torch.zeros_like(x)
    for row in range(ROWS):
        for place in range(x.shape[1]):
            nearest = [
                p
                for p in range(place, -1, -1)
                if (valid is None or valid[row, p]) and (documents is None or documents[row, p] == documents[row, place])
            ]
            for n, p in enumerate(nearest[: taps.shape[1]], 1):
                out[row, place] += taps[:, -n] * x[row, p]
    return out


@pytest.mark.parametrize("marks", ["", "documents", "padding", "documents and padding"])
@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("width", [1, 2, 4, 9])
def test_it_is_the_sum_over_what_there_is(width, length, marks):
    torch.manual_seed(width)
    convolution = ShortConvolution(CHANNELS, width).double()
    nn.init.normal_(convolution.taps)
    x = torch.randn(ROWS, length, CHANNELS, dtype=torch.float64)
    documents = torch.tensor([[0, 0, 1, 1, 1], [0, 1, 1, 1, 2]])[:, :length] if "documents" in marks else None
    valid = torch.tensor([[0, 1, 1, 1, 1], [1, 1, 0, 1, 1]])[:, :length].bool() if "padding" in marks else None
    state: dict = {}

    def some(a, b, state=None):
        cut = [None if t is None else t[:, a:b] for t in (documents, valid)]
        info = SequenceInfo(positions=torch.arange(a, b)[None], documents=cut[0], valid=cut[1], causal=True)
        return short_convolutions([x[:, a:b]], [convolution], info, state)[0]

    want = by_hand(x, convolution.taps.detach(), documents, valid)
    there = torch.ones_like(x) if valid is None else valid[..., None].double()
    torch.testing.assert_close(some(0, length) * there, want * there)
    pieces = torch.cat([some(0, 1, state), *(some(i, i + 1, state) for i in range(1, length))], 1)
    torch.testing.assert_close(pieces * there, want * there)
    assert all(values.shape[1] == width - 1 for values, _ in state.values())  # and not all that ever was


def test_a_window_of_one_position_reads_padded_prompts():
    """The model mlp's own default."""
    model = build("model", "mlp", vocab_size=7, d_model=6, context_length=8).eval()
    ids = torch.tensor([[0, 0, 3, 4, 5], [1, 2, 3, 4, 5]])
    valid = torch.tensor([[False, False, True, True, True], [True] * 5])
    positions = torch.tensor([[0, 0, 0, 1, 2], [0, 1, 2, 3, 4]])
    cache = build("cache", "growing")
    with torch.inference_mode():
        pieces = [
            model(Batch(ids[:, a:b], positions=positions[:, a:b], valid=valid[:, a:b]), cache=cache)
            for a, b in ((0, 4), (4, 5))
        ]
        alone = model(Batch(ids[:1, 2:]))
    torch.testing.assert_close(torch.cat(pieces, 1)[:1, 2:], alone)
