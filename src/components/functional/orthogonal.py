"""The nearest semi-orthogonal matrix, roughly: Newton-Schulz iterations over a stack of matrices of one shape.

Each step maps every singular value s to a·s + b·s³ + c·s⁵, which drives all of them into about 0.7 to 1.2: enough for an optimizer,
and only matrix products.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from components.functional import chosen
from components.functional.precision import multiplies_bf16

# Keller Jordan 2024, https://kellerjordan.github.io/posts/muon/: the steepest slope at 0 that still ends near 1.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalise_reference(x: Tensor, steps: int = 5, eps: float = 1e-7) -> Tensor:
    """One matrix (R, C) by the formula, in the dtype of ``x``."""
    a, b, c = COEFFICIENTS
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


def orthogonalise(x: Tensor, steps: int = 5, eps: float = 1e-7) -> Tensor:
    """A stack (N, R, C), in the dtype of ``x``: batched products, over the shorter side.

    The batch is what makes it fast on a CPU: one batched product of 24 matrices of 384 x 384 in bfloat16 takes less than half the time
    of 24 products.
    """
    a, b, c = COEFFICIENTS
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=eps)
    if x.shape[-1] >= 2 * x.shape[-2]:
        x = _by_gram_matrix(x, steps)
    else:
        for _ in range(steps):
            gram = torch.bmm(x, x.mT)
            polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
            x = torch.baddbmm(x, polynomial, x, beta=a)
    return x.mT if tall else x


def _by_gram_matrix(x: Tensor, steps: int) -> Tensor:
    """The same iterations for wide matrices: on x xᵀ, the short side squared, where a step G -> p(G) G p(G) costs no long product.

    Half way the product is applied to ``x`` and G made anew: rounding in bfloat16 would otherwise give directions that ``x`` lacks
    negative squares, which grow.
    """
    a, b, c = COEFFICIENTS
    for run in ((steps + 1) // 2, steps // 2):
        gram, product = torch.bmm(x, x.mT), None
        for i in range(run):
            p = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
            p.diagonal(dim1=-2, dim2=-1).add_(a)
            product = p if product is None else torch.bmm(p, product)
            if i < run - 1:
                gram = torch.bmm(p, torch.bmm(p, gram))
        x = x if product is None else torch.bmm(product, x)
    return x


def products(shape: torch.Size, steps: int = 5) -> float:
    """Multiplications of ``orthogonalise`` for a matrix (R, C) or a stack of them, where the shorter side is S and the longer L:
    2 L S² + S³ in each iteration, or by S x S matrices where those are fewer.
    """
    short, long = sorted(shape[-2:])
    each = 4 * short**3 * steps + 4 * long * short**2 if long >= 2 * short else steps * (2 * long * short**2 + short**3)
    return float(each) * math.prod(shape[:-2])


def product_dtype(like: Tensor) -> torch.dtype:
    """bfloat16 where the tensor's device multiplies it fast, float32 elsewhere; float64 for what has it."""
    dtype = _product_dtype(like)
    if chosen.heard is not None:
        why = "the device multiplies it fast" if dtype == torch.bfloat16 else "bfloat16 is not faster here"
        chosen.tell("Muon", f"products in {dtype}".replace("torch.", ""), why)
    return dtype


def _product_dtype(like: Tensor) -> torch.dtype:
    if like.dtype == torch.float64:
        return like.dtype
    return torch.bfloat16 if multiplies_bf16(like.device.type) else torch.float32
