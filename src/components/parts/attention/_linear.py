"""What the linear-time mixers have in common: heads, short convolutions, where their state is kept, and the way out through norm and gate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.core.contracts import Norm
from components.core.sockets import SequenceInfo
from components.functional.activations import ACTIVATIONS
from components.functional.earlier import left, starts
from components.functional.linear import Linear
from components.functional.precision import at_least_fp32
from components.functional.short_convolution import ShortConvolution, short_convolutions


def head_width(d_model: int, n_heads: int, expand: float, name: str) -> int:
    """Width of a head when all of them together are ``expand`` times as wide as the stream. ValueError if that is no whole number."""
    width = round(d_model * expand)
    if width % n_heads or not width or abs(width - d_model * expand) > 1e-6:
        raise ValueError(
            f"{name}={expand} times d_model={d_model} is {d_model * expand:g}, which n_heads={n_heads} does not divide; "
            "choose n_heads among the divisors"
        )
    return width // n_heads


def split_heads(y: Tensor, width: int) -> Tensor:
    """(B, T, H * K) -> (B, H, T, K); the number of heads is read from the width, since a tensor-parallel rank holds only some."""
    return y.unflatten(-1, (-1, width)).transpose(1, 2)


FeatureMap = Literal["identity", "elu1", "relu", "softmax"]
FEATURE_MAPS: dict[str, Callable[[Tensor], Tensor]] = {
    "elu1": lambda y: F.elu(y) + 1.0,
    "relu": F.relu,
    "softmax": lambda y: y.softmax(-1),
}


def featured(y: Tensor, feature_map: str) -> Tensor:
    """Features of queries or keys (..., K), as many as there are channels; in fp32 at least, but identity gives ``y`` as it is."""
    return y if feature_map == "identity" else FEATURE_MAPS[feature_map](at_least_fp32(y))


def kept(part: nn.Module, info: SequenceInfo) -> dict[str, Any] | None:
    """What the cache keeps for ``part``; None without a cache."""
    return None if info.cache is None else info.cache.slot(part, info.visit).state


def recall(
    rule: Callable[..., tuple[Tensor, Tensor]],
    *inputs: Tensor,
    info: SequenceInfo,
    state: dict[str, Any] | None,
    name: str = "memory",
) -> Tensor:
    """What ``rule`` reads: from an empty state or where the cache's call before stopped, forgetting at documents, stepping over padding."""
    rows, length = inputs[0].shape[0], inputs[0].shape[2]
    start = starts(info, rows, length, state, f"{name}.document")
    valid = None if info.valid is None else info.valid.expand(rows, length)
    before = None if state is None else state.get(name)
    read, after = rule(*inputs, state=before, start=start, valid=valid)
    if state is not None:
        state[name] = left(after, state)
    return read


class LinearTime(nn.Module):
    """A mixer whose heads are normed and gated before the output projection. Its ``axes`` are those of a mixer with no other matrices."""

    axes = {
        "q": ("d_model", "heads"),
        "k": ("d_model", "heads"),
        "v": ("d_model", "heads"),
        "z": ("d_model", "heads"),
        "out": ("heads", "d_model"),
    }

    q: nn.Linear
    k: nn.Linear
    v: nn.Linear
    k_width: int  # of a head's query and key
    v_width: int  # of its value
    conv_size: int | None
    output_norm: Norm
    out: nn.Linear
    z: nn.Linear  # where there is a gate

    def project(self, d_model: int, n_heads: int, v_heads: int | None = None) -> None:
        """Make ``q``, ``k`` and ``v``. ``v_heads``: heads of values; None: n_heads."""
        self.q, self.k = (Linear(d_model, n_heads * self.k_width, bias=False) for _ in range(2))
        self.v = Linear(d_model, (v_heads or n_heads) * self.v_width, bias=False)

    def convolve(self, conv_size: int | None, bias: bool = False) -> None:
        """Make ``q_conv``, ``k_conv`` and ``v_conv``, of so many taps; None: there are none."""
        self.conv_size = conv_size
        if conv_size is not None:
            maps = (self.q, self.k, self.v)
            self.q_conv, self.k_conv, self.v_conv = (ShortConvolution(m.out_features, conv_size, bias) for m in maps)

    def convolved(self, parts: list[Tensor], info: SequenceInfo, state: dict[str, Tensor] | None) -> list[Tensor]:
        """Queries, keys and values (B, T, H * K), each by its own convolution; as they are where there is none."""
        if self.conv_size is None:
            return parts
        return short_convolutions(parts, (self.q_conv, self.k_conv, self.v_conv), info, state)

    def in_heads(self, parts: Iterable[Tensor]) -> Iterator[Tensor]:
        """Queries, keys and values (B, T, H * K) -> (B, H, T, K)."""
        return (split_heads(y, w) for y, w in zip(parts, (self.k_width, self.k_width, self.v_width), strict=True))

    def way_out(self, read: Tensor, x: Tensor, *, over: str = "head", gate: str = "none") -> Tensor:
        """(B, H, T, V) -> ``out`` of (B, T, D): normed over each head's vector or all of them, then gated by ``z`` of x."""
        y = read.transpose(1, 2).to(x.dtype)
        if over != "head":
            y = y.flatten(2)
        if not self.output_norm.identity:
            y = self.output_norm(y)
        y = y if over != "head" else y.flatten(2)
        if gate != "none":
            y = y * ACTIVATIONS[gate](self.gate_of(x))
        return self.out(y)

    def gate_of(self, x: Tensor) -> Tensor:
        """What the activation of the gate is given: (B, T, D) -> (B, T, H * V)."""
        return self.z(x)


def unit(y: Tensor, eps: float = 1e-6) -> Tensor:
    """Vectors of length 1: y / sqrt(sum y^2 + eps), in fp32 at least."""
    y = at_least_fp32(y)
    return y * (y.square().sum(-1, keepdim=True) + eps).rsqrt()


def middles(low: float, high: float, count: int) -> Tensor:
    """Those of ``count`` equal parts of a range, in fp64: the papers draw evenly, this takes the same range without chance."""
    return low + (torch.arange(count, dtype=torch.float64, device="cpu") + 0.5) * ((high - low) / count)


def inverse_softplus_of_log_spaced(low: float, high: float, count: int) -> Tensor:
    """softplus(result) runs from ``low`` to ``high`` in equal ratios: the papers draw log-uniformly, this takes the same range without chance."""
    share = torch.arange(count, dtype=torch.float64, device="cpu") / max(count - 1, 1)
    dt = low * (high / low) ** share
    return dt + torch.log(-torch.expm1(-dt))
