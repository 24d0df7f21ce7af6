"""Few channels work on a token, and which ones is read off the mean and the spread of the gate, without sorting it.

Gemma 3n 2025; the cut-off of a normal distribution: You et al. 2025 (Spark Transformer, statistical top-k), arXiv:2506.06644
"""

from __future__ import annotations

from statistics import NormalDist

import torch
import torch.nn.functional as F
from torch import Tensor

from components.core.registry import register
from components.core.signature import Probability
from components.functional.bends import Gated
from components.functional.precision import at_least_fp32
from components.parts.ffn.glu import GLU


@register("ffn", "sparse_glu")
class SparseGLU(GLU):
    """Sparse gated linear unit: of a token's gate only what stands out is kept, as far as it stands out; all else is 0.

    out(activation(max(g - mean(g) - c std(g), 0)) * up(x)) with g = gate(x), mean and std over its channels, and c the point of a normal distribution below
    which ``sparsity`` of it lies. With an activation that is not 0 at 0, no channel is left out.

    Args:
        sparsity: share of channels that are 0, where the gate is normally distributed; between 0 and 1.

    Shapes: (B, T, D) -> (B, T, D).
    Errors: ValueError for a sparsity of 0 or 1.
    """

    activation = "gelu_tanh"
    sparsity: Probability = 0.95

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        if self.sparsity in (0.0, 1.0):
            raise ValueError(
                f"sparsity={self.sparsity:g} keeps {'all' if self.sparsity == 0 else 'nothing'}: use ffn=glu, or none"
            )
        self.splits = {}  # the cut-off is one of all channels
        self.cut = NormalDist().inv_cdf(self.sparsity)

    def gated(self) -> Gated:
        return Gated(self.standing_out)

    def standing_out(self, gate: Tensor) -> Tensor:
        """(..., F) -> (..., F): of each token what lies above its cut-off, bent; all else is 0."""
        variance, mean = torch.var_mean(at_least_fp32(gate), -1, correction=0, keepdim=True)
        # the root of 0, of a token whose channels are all the same, has no gradient
        limit = mean + self.cut * variance.clamp(min=torch.finfo(variance.dtype).tiny).sqrt()
        return self.bend(F.relu(gate - limit.to(gate.dtype)))
