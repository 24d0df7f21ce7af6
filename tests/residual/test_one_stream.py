"""A stack has one stream: a layer whose residual keeps another is refused when it is built, since at some lengths it would run, and mean nothing."""

from __future__ import annotations

import pytest

from components import build
from components.core.errors import UserError

WIDE = {"name": "hyper_connections", "streams": 3}
PLAIN = {"n_layers": 2, "d_model": 8, "context_length": 8, "attention": "short_convolution", "position": "none"}


@pytest.mark.parametrize(
    ("options", "layer"),
    [
        ({"block": {"name": "pre_norm", "residual": WIDE}}, 0),  # as many positions as streams: one sees what comes later
        ({"block": {"name": "pre_norm", "residual": "add"}, "residual": WIDE}, 0),
        ({"block": {"name": "pre_norm", "residual": {**WIDE, "streams": 2}}, "residual": WIDE}, 0),
        ({"layers": {"1": {"residual": WIDE}}}, 1),
        ({"stack": {"name": "u_net", "residual": "add"}, "residual": WIDE, "block": {"name": "pre_norm", "residual": WIDE}}, 0),
    ],
)
def test_two_streams_are_refused(options, layer):
    with pytest.raises(
        UserError,
        match=rf"the residual of layer {layer} keeps a stream \(batch, length, .*8\), .*; give both the same residual$",
    ):
        build("model", "decoder", vocab_size=7, **PLAIN | options)


@pytest.mark.parametrize("own", ["layer_scale", "re_zero", "scaled", "none"])
def test_layers_may_write_into_one_stream_in_ways_of_their_own(own):
    assert build("model", "decoder", vocab_size=7, **PLAIN, layers={"1": {"residual": own}})
