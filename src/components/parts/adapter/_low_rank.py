"""Modules with a product of two narrow matrices beside their weight."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from components.core.errors import UserError
from components.core.flops import Flops, Work, both
from components.core.weights import Experts, Weight, blank
from components.functional.dropout import dropout_of
from components.functional.quantised_tensor import linear
from components.parts.adapter._adapted import Adapted, add


class LowRank(Adapted):
    """``lora_a`` is drawn, ``lora_b`` zero (a table's the other way round), so that the first output is the base's."""

    lora_a: nn.Parameter
    lora_b: nn.Parameter
    factor: float
    dropout: float
    zero = "lora_b"

    def put(self, axes: tuple[str, ...], option: str, *, rank: int, factor: float, dropout: float) -> None:
        del option
        self.factor, self.dropout = factor, dropout
        shape = self.weight.shape  # type: ignore[attr-defined]
        if rank > min(shape[-2:]):
            what = f"{rank} is more than a weight of {' x '.join(map(str, shape))} has"
            raise UserError("adapter.rank", what, f"at most {min(shape[-2:])}, or other targets")
        self.factors(axes, tuple(shape), rank)

    def factors(self, axes: tuple[str, ...], shape: tuple[int, ...], rank: int) -> None:
        """Add ``lora_a`` and ``lora_b``."""
        raise NotImplementedError(f"{type(self).__name__} says in factors() which shapes they have")

    def first_value(self, name: str, weight: Weight, generator: torch.Generator) -> Tensor:
        value = blank(weight, generator)
        if name == self.zero:
            return value.zero_()
        bound = 1 / math.sqrt(weight.fan_in)  # torch's own Linear: what loralib draws with
        return value.uniform_(-bound, bound, generator=generator)

    def thinned(self, x: Tensor) -> Tensor:
        return dropout_of(x, self.dropout, self.training) if self.dropout else x  # type: ignore[attr-defined]


class LoRALinear(LowRank, nn.Linear):
    """x Wᵀ + b + factor * x Aᵀ Bᵀ; A (rank, in), B (out, rank)."""

    def factors(self, axes: tuple[str, ...], shape: tuple[int, ...], rank: int) -> None:
        add(self, "lora_a", (rank, shape[1]), (axes[0], "latent"))
        add(self, "lora_b", (shape[0], rank), ("latent", axes[-1]))

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias) + self.beside(input)

    def beside(self, x: Tensor) -> Tensor:
        return linear(linear(self.thinned(x), self.lora_a), self.lora_b) * self.factor

    def effective_weight(self) -> Tensor:
        return self.weight + self.factor * (self.lora_b @ self.lora_a)

    def flops(self, work: Work) -> Flops:
        return both(2 * work.length * (self.weight.numel() + self.lora_a.numel() + self.lora_b.numel()))


class DoRALinear(LoRALinear):
    """magnitude * V / ||V|| x + b with V = W + factor * B A, each output's row by itself; the norm is a constant to the gradient."""

    magnitude: nn.Parameter

    def put(self, axes: tuple[str, ...], option: str, **options: Any) -> None:
        super().put(axes, option, **options)
        add(self, "magnitude", (self.weight.shape[0],), axes[-1:])

    def first_value(self, name: str, weight: Weight, generator: torch.Generator) -> Tensor:
        if name != "magnitude":
            return super().first_value(name, weight, generator)
        norm = self.norm(self.weight.detach())
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    @torch.no_grad()
    def follow_base(self) -> None:
        self.magnitude.copy_(self.norm(super().effective_weight()))

    @staticmethod
    def norm(weight: Tensor) -> Tensor:
        return torch.linalg.vector_norm(weight, dim=1)

    def scale(self) -> Tensor:
        norm = self.norm(super().effective_weight()).detach()
        return self.magnitude / norm.masked_fill(norm == 0, torch.inf)  # a row of zeros has no direction, and stays as it is

    def forward(self, input: Tensor) -> Tensor:
        y = linear(input, self.weight) + self.beside(input)
        y = y * self.scale().to(y.dtype)
        return y if self.bias is None else y + self.bias.to(y.dtype)

    def effective_weight(self) -> Tensor:
        return super().effective_weight() * self.scale()[:, None]

    def flops(self, work: Work) -> Flops:
        return super().flops(work) + both(2 * self.lora_b.numel() * self.lora_a.shape[1])


class LoRAExperts(LowRank, Experts):
    """x W + factor * x A B, for each expert; A (E, in, rank), B (E, rank, out)."""

    def factors(self, axes: tuple[str, ...], shape: tuple[int, ...], rank: int) -> None:
        add(self, "lora_a", (shape[0], shape[1], rank), (*axes[:-1], "latent"))
        add(self, "lora_b", (shape[0], rank, shape[2]), (axes[0], "latent", axes[-1]))

    def forward(self, x: Tensor) -> Tensor:
        return torch.bmm(x, self.weight) + torch.bmm(torch.bmm(self.thinned(x), self.lora_a), self.lora_b) * self.factor

    def effective_weight(self) -> Tensor:
        return self.weight + self.factor * (self.lora_a @ self.lora_b)


class LoRAEmbedding(LowRank, nn.Embedding):
    """The row of W, and factor times that of A, times B; A (V, rank) is zero, B (rank, D) drawn. Without dropout: ids cannot be dropped."""

    zero = "lora_a"

    def factors(self, axes: tuple[str, ...], shape: tuple[int, ...], rank: int) -> None:
        add(self, "lora_a", (shape[0], rank), (axes[0], "latent"))
        add(self, "lora_b", (rank, shape[1]), ("latent", axes[-1]))

    def first_value(self, name: str, weight: Weight, generator: torch.Generator) -> Tensor:
        value = blank(weight, generator)
        return value.zero_() if name == self.zero else value.normal_(generator=generator)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) + F.embedding(input, self.lora_a, self.padding_idx) @ self.lora_b * self.factor

    def effective_weight(self) -> Tensor:
        return self.weight + self.factor * (self.lora_a @ self.lora_b)

    def flops(self, work: Work) -> Flops:
        return both(2 * work.length * self.lora_b.numel())
