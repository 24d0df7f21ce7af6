"""The options that all mixers of the delta rule have."""

from __future__ import annotations

from typing import Literal

from components.core.options import Options
from components.core.signature import Positive
from components.core.sockets import Maker
from components.parts.attention._linear import LinearTime


class Delta(Options, LinearTime):
    """A mixer whose state is corrected by each position.

    Args:
        n_heads: heads.
        allow_neg_eigval: corrects up to twice the error, so that a state can be turned over.
        conv_size: taps of a short convolution on queries, keys and values, with silu; null: silu alone.
        conv_bias: with a bias.
        output_norm: of each head's vector.
        output_gate: activation of the gate after the norm, or none.
    """

    n_heads: Positive = 4
    allow_neg_eigval: bool = False
    conv_size: Positive | None = 4
    conv_bias: bool = False
    output_norm: Maker["norm"] = "rms"  # type: ignore[assignment]  # the maker, until __init__ has made the norm of it
    output_gate: Literal["silu", "sigmoid", "none"] = "silu"

    @property
    def most(self) -> float:
        """The largest share of the error that is corrected."""
        return 2.0 if self.allow_neg_eigval else 1.0
