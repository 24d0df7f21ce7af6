"""Slerp: the way from one tensor to another along the arc between their directions, at constant speed.

Shoemake 1985, doi:10.1145/325334.325242; on the weights of models as in mergekit, arXiv:2403.13257
"""

from __future__ import annotations

import torch
from torch import Tensor

from components.functional.model_soup import precise, weighted_mean

PARALLEL = 0.9995  # a cosine beyond it: the arc is a line, and its formula would divide by almost 0


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """sin((1 - t) θ) / sin θ · a + sin(t θ) / sin θ · b, where θ is the angle between a and b, each read as one vector.

    Where they are parallel or opposite (|cos θ| > 0.9995), or one of them is 0, it is (1 - t) a + t b.

    Args:
        a: where t is 0.
        b: where t is 1; of the same shape.
        t: from 0 to 1.

    Shapes: (...), (...) -> (...), in the dtype of ``model_soup.precise``.
    """
    dtype = precise((a, b))
    x, y = a.to(dtype), b.to(dtype)
    lengths = torch.linalg.vector_norm(x) * torch.linalg.vector_norm(y)
    cosine = (x.flatten() @ y.flatten()) / lengths  # 0 / 0 is nan, which is not within any bound
    if not cosine.abs() <= PARALLEL:
        return weighted_mean((a, b), (1 - t, t))
    angle = torch.arccos(cosine)
    return (torch.sin((1 - t) * angle) * x + torch.sin(t * angle) * y) / torch.sin(angle)
