"""The stream is several vectors wide, and each layer works on one of them: the others are predicted before it and corrected by what it found.

Baykal et al. 2023, arXiv:2301.13310, algorithm 1; coefficients that depend on the token, and how the vectors begin and end: Gemma 3n 2025
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.core.flops import Flops, Work, both, flops_of
from components.core.registry import register
from components.core.signature import Positive, PositiveFloat
from components.core.sockets import Maker, Place, SequenceInfo, info_of, make
from components.core.weights import weight_of
from components.functional.linear import Linear
from components.functional.precision import at_least_fp32
from components.functional.streams import mixed
from components.parts.stack._stack import Out, Stack, passed


@register("stack", "altup")
class AltUp(Stack):
    """AltUp: a stream of ``streams`` vectors, of which the layers read the first and the others cost nearly nothing.

    Around each layer: all vectors are predicted from all, s' = s + P s; the layer takes the first one to y; each takes its share of what was not
    predicted, s_i = s'_i + g_i (y - s'_0). P and g - 1 are linear in tanh(R norm(.) / D) of the first vector as it is then. The others begin as matrices times the
    embedding, as long as it is; a matrix of each is brought to the first one's length at the end, and the mean of all is what leaves.

    Args:
        streams: vectors, at least 2.
        clip: while training, the matrices behind P and g count as if they lay within +- this; null: as they are.
        router_norm: before R.
        side_ffn: reads the first vector after it was corrected, scaled channel by channel, and is added to the others.
        side_norm: of what that ffn wrote.

    Shapes: ``enter`` (B, T, D) -> (B, T, D); ``forward`` (B, T, D) -> ((B, T, D), what the layers wrote out).
    Errors: ValueError for a single stream.
    """

    axes = {"openings": ("d_model", "d_model"), "closings": ("d_model", "d_model")}

    streams: Positive = 4
    clip: PositiveFloat | None = None
    router_norm: Maker["norm"] = "inherit"
    side_ffn: Maker["ffn"] = "none"
    side_norm: Maker["norm"] = "inherit"

    def join(self) -> None:
        width, n = self.d_model, self.streams
        if n < 2:
            raise ValueError("streams=1 leaves nothing to predict: give at least 2, or use stack=layers")
        self.openings, self.closings = (nn.ModuleList(Linear(width, width, bias=False) for _ in range(n - 1)) for _ in range(2))
        self.updates, self.sides = nn.ModuleList(), nn.ModuleList()
        for index in range(len(self.layers)):
            self.updates.append(Update(width, n, self.clip, make(self.router_norm, "norm", dim=width)))
            ffn = make(self.side_ffn, "ffn", d_model=width, place=Place(index, len(self.layers)))
            if not ffn.absent:
                self.sides.append(Side(width, ffn, make(self.side_norm, "norm", dim=width)))

    def beside(self) -> list[nn.Module]:
        return [side.get_submodule("ffn") for side in self.sides]

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> tuple[Tensor, Out]:
        info = info_of(x, info)
        total: Out = {}
        s = torch.stack([x, *(as_long(o(x), x) for o in self.openings)], -2)
        for index, layer in enumerate(self.layers):
            update = self.updates[index]
            assert isinstance(update, Update)
            s = update.predict(s)
            y, info, total = passed(layer, self.residual.open(s[..., 0, :]), info, total)
            s = update.correct(s, self.residual.close(y))
            if self.sides:
                s, info, total = passed(self.sides[index], s, info, total)
        first, *others = s.unbind(-2)
        ended = [first, *(as_long(c(other), first) for c, other in zip(self.closings, others, strict=True))]
        return self.final_norm(torch.stack(ended).mean(0)), total


class Update(nn.Module):
    """What stands around one layer, of a stream (B, T, n, D).

    Args:
        d_model: width of a vector.
        streams: n.
        clip: as the stack's.
        norm: before the router.
    """

    axes = {"router": ("d_model", "state"), "prediction": ("state", "state"), "correction": ("state", "state")}

    def __init__(self, d_model: int, streams: int, clip: float | None, norm: nn.Module) -> None:
        super().__init__()
        self.streams, self.clip, self.d_model, self.router_norm = streams, clip, d_model, norm
        self.router = Linear(d_model, streams, bias=False)
        self.prediction = Linear(streams, streams**2, bias=False)
        self.correction = Linear(streams, streams, bias=False)

    def predict(self, s: Tensor) -> Tensor:
        weights = self._from(self.prediction, s[..., 0, :]).unflatten(-1, (self.streams, self.streams))
        return s + mixed(weights.to(s.dtype), s)

    def correct(self, s: Tensor, y: Tensor) -> Tensor:
        """The predicted stream and what the layer made of its first vector -> the stream."""
        share = 1 + self._from(self.correction, y)
        return s + share.to(s.dtype).unsqueeze(-1) * (y - s[..., 0, :]).unsqueeze(-2)

    def _from(self, to: nn.Linear, x: Tensor) -> Tensor:
        """Coefficients by what the router says of x (B, T, D)."""
        said = torch.tanh(self.router(self.router_norm(x) / self.d_model))
        if self.clip is None or not self.training:
            return to(said)
        return F.linear(said, weight_of(to).clamp(-self.clip, self.clip).to(said.dtype))

    def flops(self, work: Work) -> Flops:
        """The router speaks twice."""
        total = sum((flops_of(m, work) for m in (self.router, self.router, self.prediction, self.correction)), both(0))
        return total + both(2 * self.streams**2 * self.d_model * work.length)


class Side(nn.Module):
    """An ffn that reads the first of several vectors and is added to the others: called as a layer is, (s, info) -> (s, out).

    Args:
        d_model: width of a vector.
        ffn: the part.
        norm: of what it wrote.
    """

    axes = {"scale": ("d_model",)}

    def __init__(self, d_model: int, ffn: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.ffn, self.norm = ffn, norm
        self.scale = nn.Parameter(torch.empty(d_model))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for scale in self.parameters(recurse=False):
            nn.init.ones_(scale)

    def forward(self, s: Tensor, info: SequenceInfo) -> tuple[Tensor, Out]:
        out: Out = {}
        first = s[..., 0, :]
        y = self.norm(self.ffn(first * self.scale.to(s.dtype), info.with_(out=out)))
        return torch.cat((first.unsqueeze(-2), s[..., 1:, :] + y.to(s.dtype).unsqueeze(-2)), -2), out


def as_long(y: Tensor, like: Tensor) -> Tensor:
    """y brought to the root mean square of ``like``, both (B, T, D)."""
    y, wide = at_least_fp32(y), at_least_fp32(like)
    least = torch.finfo(wide.dtype).tiny  # the root of 0, of a vector that is 0 everywhere, has no gradient
    size = wide.square().mean(-1, keepdim=True).clamp(min=least).sqrt()
    return (y * (size / y.square().mean(-1, keepdim=True).clamp(min=1e-5).sqrt())).to(like.dtype)
