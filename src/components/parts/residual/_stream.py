"""The stream of most residuals: what the embedding gives, as it is; a branch reads all of it, and so does what comes after the layers."""

from __future__ import annotations

from torch import Tensor, nn


class OneStream(nn.Module):
    """A residual that says in ``write(s, y)`` alone how a branch's output enters the stream (B, T, D)."""

    def open(self, x: Tensor) -> Tensor:
        return x

    def close(self, s: Tensor) -> Tensor:
        return s

    def read(self, s: Tensor) -> Tensor:
        return s
