"""What the linear-time mixers have in common: heads, where their state is kept, and the way out through norm and gate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from components.core.sockets import SequenceInfo, adopt, make
from components.core.traits import rotates
from components.functional.activations import ACTIVATIONS
from components.functional.earlier import starts
from components.functional.precision import at_least_fp32


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


def place_position(part: nn.Module, position: Any, d_model: int, n_heads: int, width: int, context_length: int | None) -> None:
    """``part.position`` for queries and keys of ``width``, and ``part.rotates``, asked once."""
    length = {} if context_length is None else {"context_length": context_length}
    adopt(part, "position", make(position, "position", d_model=d_model, n_heads=n_heads, head_dim=width, **length))
    part.rotates = rotates(part.position)  # type: ignore[assignment]


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
        state[name] = after.detach()
    return read


def way_out(part: nn.Module, read: Tensor, x: Tensor, *, over: str = "head", gate: str = "none") -> Tensor:
    """(B, H, T, V) -> ``part.out`` of (B, T, D): normed by ``part.output_norm`` over each head's vector or all of them, then gated by ``part.z`` of x."""
    y = read.transpose(1, 2).to(x.dtype)
    if over != "head":
        y = y.flatten(2)
    if not part.output_norm.identity:
        y = part.output_norm(y)  # type: ignore[operator]
    y = y if over != "head" else y.flatten(2)
    if gate != "none":
        y = y * ACTIVATIONS[gate](part.z(x))  # type: ignore[operator]
    return part.out(y)  # type: ignore[operator]


def unit(y: Tensor, eps: float = 1e-6) -> Tensor:
    """Vectors of length 1: y / sqrt(sum y^2 + eps), in fp32 at least."""
    y = at_least_fp32(y)
    return y * (y.square().sum(-1, keepdim=True) + eps).rsqrt()


def inverse_softplus_of_log_spaced(low: float, high: float, count: int) -> Tensor:
    """softplus(result) runs from ``low`` to ``high`` in equal ratios: the papers draw log-uniformly, this takes the same range without chance."""
    share = torch.arange(count, dtype=torch.float64, device="cpu") / max(count - 1, 1)
    dt = low * (high / low) ** share
    return dt + torch.log(-torch.expm1(-dt))
