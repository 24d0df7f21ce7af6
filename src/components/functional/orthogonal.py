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
from components.functional.symmetric import multiplications, symmetric_product

# Keller Jordan 2024, https://kellerjordan.github.io/posts/muon/: the steepest slope at 0 that still ends near 1.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)

CACHED = 5 * 2**18  # bytes of a square for each core: 4 of 384 x 384 in bfloat16. All 24 of them at once took 15 % longer


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
    """A stack (N, R, C), in the dtype of ``x``: batched products, over the shorter side. No gradient. ``steps``: at least one.

    The batch is what makes it fast: one product of 24 matrices takes less time than 24. On a CPU a few of them go through all iterations together, so that
    what a product wrote is in the cache for the next.
    """
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    out = torch.empty_like(x)
    iterate = _by_gram_matrix if _is_wide(x.shape) else _directly
    parts = _parts(x)
    for some, into in zip(x.tensor_split(parts), out.tensor_split(parts)):
        iterate(some / some.norm(dim=(-2, -1), keepdim=True).clamp(min=eps), steps, into)
    return out.mT if tall else out


def _parts(x: Tensor) -> int:
    """In how many parts of about one size: on a CPU so many that a square of the shorter side, for each of a part, fills ``CACHED``."""
    if x.device.type != "cpu":
        return 1
    together = max(2, CACHED * torch.get_num_threads() // (x.shape[-2] ** 2 * x.element_size()))
    return max(1, -(-len(x) // together))


def _is_wide(shape: torch.Size) -> bool:
    return max(shape[-2:]) >= 2 * min(shape[-2:])


def _directly(x: Tensor, steps: int, into: Tensor) -> None:
    a, b, c = COEFFICIENTS
    for left in reversed(range(steps)):
        gram = symmetric_product(x, x)
        polynomial = symmetric_product(gram, gram, gram, beta=b, alpha=c)
        x = _applied(polynomial, x, a, None if left else into)


def _by_gram_matrix(x: Tensor, steps: int, into: Tensor) -> None:
    """The same iterations for wide matrices: on x xᵀ, the short side squared, where a step G -> p(G) G p(G) costs no long product.

    Half way the product is applied to ``x`` and G made anew: rounding in bfloat16 would otherwise give directions that ``x`` lacks
    negative squares, which grow. All but that are polynomials in one G: they commute, and their products are symmetric.
    """
    a, b, c = COEFFICIENTS
    runs = _runs(steps)
    for n, run in enumerate(runs, 1):
        gram, product = symmetric_product(x, x), None
        for i in range(run):
            p = symmetric_product(gram, gram, gram, beta=b, alpha=c)
            p.diagonal(dim1=-2, dim2=-1).add_(a)
            if i < run - 1:
                gram = symmetric_product(symmetric_product(p, gram), p)
            product = p if product is None else symmetric_product(p, product)
        if product is not None:
            x = _applied(product, x, 0.0, into if n == len(runs) else None)


def _runs(steps: int) -> list[int]:
    """Iterations between which G is made anew."""
    return [(steps + 1) // 2, steps // 2] if steps > 1 else [steps]


def _applied(symmetric: Tensor, x: Tensor, beta: float, into: Tensor | None) -> Tensor:
    """symmetric · x + beta · x, from the side on which ``x`` is dense: a product into a transposed tensor would be a loop over its elements."""
    tall = x.stride(-1) != 1
    x, into = (x.mT, into if into is None else into.mT) if tall else (x, into)
    pair = (x, symmetric) if tall else (symmetric, x)
    out = torch.baddbmm(x, *pair, beta=beta, out=into) if beta else torch.bmm(*pair, out=into)
    return out.mT if tall else out


def products(shape: torch.Size, steps: int = 5, kind: str = "any") -> float:
    """Multiplications of ``orthogonalise`` for a matrix (R, C) or a stack of them, on a kind of device, ``cpu`` or another.

    The shorter side is S and the longer L. Each iteration has two symmetric products, of S L S and S³, and one of S² L; by the Gram matrix each run of
    r iterations has those of L once, and 4 r - 3 symmetric ones of S³.
    """
    short, long = sorted(shape[-2:])
    gram, square, applied = multiplications(short, long, kind), multiplications(short, short, kind), short**2 * long
    runs = _runs(steps) if _is_wide(shape) else [1] * steps
    return float(sum(gram + (4 * run - 3) * square + applied for run in runs)) * math.prod(shape[:-2])


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
