"""Vaswani et al. 2017, arXiv:1706.03762, section 3.5"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import PositiveFloat
from components.core.sockets import SequenceInfo, info_of


@register("position", "sinusoidal")
class SinusoidalPosition(nn.Module):
    """Sinusoidal positions: sines and cosines of geometrically spaced wavelengths, added to the embedding.

    Args:
        base: the longest wavelength is 2 pi base.
        layout: channels 2i and 2i + 1 hold sin and cos of position / base^(2i / d_model), as in the paper (``interleaved``), or all sines stand
            before all cosines, as in Marian (``half``).
    """

    share = "stack"  # added to the embedding, so once, whatever the pattern of the layers

    def __init__(
        self, d_model: int, *, base: PositiveFloat = 10000.0, layout: Literal["interleaved", "half"] = "interleaved"
    ) -> None:
        super().__init__()
        if d_model % 2:
            raise ValueError(f"sinusoidal positions come in pairs: d_model={d_model} is odd")
        self.d_model, self.base, self.layout = d_model, base, layout

    def embed(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        return x + info.once(("sinusoidal", self.d_model, self.base, self.layout), lambda: self.table(info.placed())).to(
            x.dtype
        )  # type: ignore[arg-type]

    def table(self, positions: Tensor) -> Tensor:
        """(B, T) -> (B, T, D) in fp32."""
        even = torch.arange(0, self.d_model, 2, device=positions.device, dtype=torch.float32)
        phase = positions[..., None].float() * self.base ** (-even / self.d_model)
        waves = (phase.sin(), phase.cos())
        return torch.cat(waves, -1) if self.layout == "half" else torch.stack(waves, -1).flatten(-2)
