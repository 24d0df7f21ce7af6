"""Converts a model with interleaved rotary pairs to the same model with half pairs, the layout of most known architectures.

The channels of each head's queries and keys are permuted in the same way, so their products, and the model, stay the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy

import torch
from torch import Tensor

from components.core.config_types import Config

TURNED = re.compile(r"\.attention\.(q|k)\.(weight|bias)\Z|\.attention\.[qk]_norm\.(weight|scale|bias)\Z")


def in_halves(config: Config, weights: Mapping[str, Tensor]) -> tuple[Config, dict[str, Tensor]] | None:
    """(config, weights) of the same model with half pairs. None if its pairs are not interleaved, or its layers' heads differ."""
    found = halved(config)
    return None if found is None else (found[0], {name: found[1](name, t) for name, t in weights.items()})


def halved(config: Config) -> tuple[Config, Callable[[str, Tensor], Tensor]] | None:
    """(config of the same model with half pairs, what makes its tensor of the name and tensor of ours). None as in `in_halves`."""
    made = deepcopy(dict(config))
    model = made["model"]
    ropes = [node for node in nodes(model) if node.get("name") == "rope"]
    attentions = [node for node in nodes(model) if "n_heads" in node]
    widths = {node.get("head_dim") or model["d_model"] // node["n_heads"] for node in attentions}
    shares = {rope.get("fraction", 1.0) for rope in ropes}
    neighbours = all(rope.get("layout", "interleaved") == "interleaved" for rope in ropes)
    if not ropes or not neighbours or len(widths) != 1 or len(shares) != 1 or any(a.get("name") != "gqa" for a in attentions):
        return None
    head_dim = widths.pop()
    width = int(head_dim * shares.pop()) // 2 * 2
    order = torch.cat([torch.arange(0, width, 2), torch.arange(1, width, 2), torch.arange(width, head_dim)])
    for rope in ropes:
        rope["layout"] = "half"
    return made, lambda name, tensor: turned(tensor, head_dim, order) if TURNED.search(name) else tensor


def turned(tensor: Tensor, head_dim: int, order: Tensor) -> Tensor:
    """Each head's rows in ``order``; scales of a norm (per head, for each head, or over all) likewise."""
    rest = tensor.shape[1:] if tensor.shape[0] % head_dim == 0 else ()
    return tensor.reshape(-1, head_dim, *rest)[:, order].reshape(tensor.shape)


def nodes(value: object) -> Iterator[Config]:
    """Every part of a spelled-out config, at any depth."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from nodes(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from nodes(inner)
