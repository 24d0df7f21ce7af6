"""Several mixers in one place, of which each step of training draws one: one training gives a model for every choice of mixers.

As the stochastic mixer of Fast-LLM (ServiceNow 2025, github.com/ServiceNow/Fast-LLM); one path drawn for a whole step as in Guo et al. 2019 (single path
one-shot), arXiv:1904.00420, section 3.2
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from typing import Literal

import torch
from torch import Tensor, nn

from components.core.abilities import HandsOn, Splits
from components.core.flops import Flops, Work, flops_of
from components.core.registry import register
from components.core.signature import NonNegative, PositiveFloat
from components.core.sockets import Makers, Place, SequenceInfo, info_of
from components.core.weights import generator_for, path_of
from components.parts.attention._inner import inner


@register("attention", "stochastic")
class Stochastic(nn.Module):
    """Stochastic mixer: holds several mixers. Each step of training draws one of them, and outside of training the one called ``main`` is taken.

    What is drawn depends on (seed, step, the part's path) alone: all rows, micro-batches and ranks of a step take the same mixer, which costs what that
    one costs, and a run that goes on draws what it would have drawn. Weights of mixers that were not drawn have no gradient in that step, and stay.
    The mixers share the position of the layer. Where nobody says which step it is, each call draws from torch's generator.

    Args:
        mixers: at least two, in order.
        weights: how likely each is to be drawn, as weights of any sum; none means equal ones.
        main: which one is taken outside of training, counted from 0.
        draws: ``layer``: each layer draws for itself, so that every mixture of mixers over depth is trained; ``model``: all layers draw as one, which
            mixers that hand something on to later layers need.

    Shapes: (B, T, D) -> (B, T, D).
    Errors: ValueError for fewer than two mixers, other than one weight for each, a ``main`` that is not there, a stochastic mixer among them, or one
        that hands on with draws=layer.
    """

    passes_on = {"mixers": ("rotates", "biases", "distance_terms")}

    def __init__(
        self,
        d_model: int,
        context_length: int | None = None,
        place: Place | None = None,
        *,
        mixers: Makers["attention"] = ("gqa", "gated_delta_net"),
        weights: tuple[PositiveFloat, ...] = (),
        main: NonNegative = 0,
        draws: Literal["layer", "model"] = "layer",
    ) -> None:
        super().__init__()
        self.mixers = nn.ModuleList(inner(maker, d_model, context_length, place) for maker in mixers)
        count = len(self.mixers)
        given = tuple(weights) or (1.0,) * count
        if count < 2 or len(given) != count:
            raise ValueError(
                f"{count} mixers and {len(given)} weights: give at least two mixers, and a weight for each or none"
            )
        if main >= count:
            raise ValueError(f"main={main}: the {count} mixers are counted from 0")
        if any(isinstance(m, Stochastic) for mixer in self.mixers for m in mixer.modules()):
            raise ValueError("one of the mixers is stochastic itself: write all of them in one list, with weights")
        if draws == "layer":
            alone(self.mixers)
        self.main, self.draws, self.place = main, draws, place
        self.shares = tuple(w / sum(given) for w in given)
        self.drawn: int | None = None  # in the current step; None where nobody has said which it is
        self.splits = common(self.mixers)

    def begin_step(self, seed: int, step: int) -> None:
        """Draw for a step. Whoever trains calls it before the model reads the first rows of one (`core/abilities.py`, ``TakesTurns``)."""
        where = path_of(self, str(self.place)) if self.draws == "layer" else ""
        self.drawn = self._chosen(torch.rand((), generator=generator_for(seed, f"mixer {step} {where}")))

    def in_turn(self) -> Sequence[nn.Module]:
        return list(self.mixers)

    def take(self, turn: int | None) -> None:
        """Draw nothing: the next calls read with this mixer, or with ones drawn from torch's generator."""
        self.drawn = turn

    def _chosen(self, number: Tensor) -> int:
        """The mixer in whose share of [0, 1) the number lies."""
        left = float(number)
        for index, share in enumerate(self.shares):
            left -= share
            if left < 0:
                return index
        return len(self.shares) - 1  # what rounding has left over

    def taken(self) -> int:
        """Which mixer a call reads with now."""
        if not self.training:
            return self.main
        return self._chosen(torch.rand((), device="cpu")) if self.drawn is None else self.drawn

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        return self.mixers[self.taken()](x, info_of(x, info))

    def flops(self, work: Work) -> Flops:
        """Of a mean step while it is in training, else of ``main``."""
        if not self.training:
            return flops_of(self.mixers[self.main], work)
        each = [flops_of(mixer, work) for mixer in self.mixers]
        executed, algorithm = (round(sum(s * f[n] for s, f in zip(self.shares, each))) for n in (0, 1))
        return Flops(executed, algorithm)


def alone(mixers: Sequence[nn.Module] | nn.ModuleList) -> None:
    """ValueError where a mixer hands something on to later layers, which may have drawn another one."""
    for index, mixer in enumerate(mixers):
        for module in mixer.modules():
            if isinstance(module, HandsOn):
                raise ValueError(
                    f"mixer {index} hands on {', '.join(module.carries_out)} to later layers ({type(module).__name__}), which may have drawn another mixer: "
                    f"take draws=model"
                )


def common(mixers: Sequence[nn.Module] | nn.ModuleList) -> dict[str, int]:
    """The axes over which each of the mixers is a sum of pieces, if all are over the same ones, and how many pieces all of them can be cut into."""
    said = [m.splits if isinstance(m, Splits) else {} for m in mixers]
    alike = all(s.keys() == said[0].keys() for s in said)
    return {axis: gcd(*(s[axis] for s in said)) for axis in said[0]} if alike else {}
