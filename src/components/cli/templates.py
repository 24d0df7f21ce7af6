"""What ``components new`` writes: for each kind a small part that works and holds its contract, to be changed into one's own."""

from __future__ import annotations

HEAD = '''"""@CLASS@: @SENTENCE@

Name the paper here: authors, year, arXiv id, equation.
"""

from __future__ import annotations

@IMPORTS@


@register("@KIND@", "@NAME@")
class @CLASS@(nn.Module):
    """@SENTENCE@
'''

PARTS = {
    "attention": (
        "Softmax attention, written out.",
        """from components import register
from components.core.flops import Flops, Work, children
from components.functional.attention import attend
from components.functional.visibility import Sight
from components.core.signature import Positive
from components.core.sockets import Maker, SequenceInfo, adopt, make
from torch import Tensor, nn""",
        '''
    Args:
        n_heads: heads of queries, keys and values.
        position: rotates queries and keys, or biases scores.
        mask: which distances are seen.

    Shapes: (B, T, D) -> (B, T, D).
    Errors: ValueError if n_heads does not divide d_model.
    """

    provides = ("rotates", "biases")  # what positions may ask of it
    axes = {"q": ("d_model", "heads"), "k": ("d_model", "heads"), "v": ("d_model", "heads"), "out": ("heads", "d_model")}

    def __init__(
        self, d_model: int, *, n_heads: Positive = 4, position: Maker["position"] = "inherit", mask: Maker["mask"] = "full"
    ) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"n_heads={n_heads} does not divide d_model={d_model}; choose n_heads among its divisors")
        self.head_dim = d_model // n_heads
        self.q, self.k, self.v, self.out = (nn.Linear(d_model, d_model, bias=False) for _ in range(4))
        self.mask = make(mask, "mask")
        adopt(self, "position", make(position, "position", d_model=d_model, n_heads=n_heads, head_dim=self.head_dim))

    def forward(self, x: Tensor, info: SequenceInfo) -> Tensor:
        q, k, v = (y.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for y in (self.q(x), self.k(x), self.v(x)))
        if hasattr(self.position, "rotate"):
            q, k = self.position.rotate(q, k, info, info)
        k_info = info
        if info.cache is not None:  # decoding: all keys and values so far, and where they stand
            k, v, k_info = info.cache.slot(self, info.visit).append(k, v, info)
        bias = self.position.bias(q, k, info, k_info) if hasattr(self.position, "bias") else None
        read = attend(q, k, v, Sight(info, k_info, info.causal, self.mask), bias=bias)
        return self.out(read.transpose(1, 2).flatten(2))

    def flops(self, work: Work) -> Flops:
        wide, t = 4 * self.q.out_features, work.length  # scores and their sum: 2 FLOPs each per channel and cell
        return children(self, work, leave=("mask",)) + Flops(wide * t * t, wide * self.mask.cells(t, work.causal))
''',
    ),
    "norm": (
        "Divide each vector by its mean absolute value, then scale every channel.",
        """import torch
from components import register
from components.core.signature import PositiveFloat
from torch import Tensor, nn""",
        '''
    Args:
        eps: added to the mean.

    Shapes: (..., D) -> (..., D).
    """

    axes = {"weight": ("d_model",)}  # what the parameter's axes mean: init, decay and Muon read it

    def __init__(self, dim: int, *, eps: PositiveFloat = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:  # constants; a model built on meta calls it again
        nn.init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        return (y / (y.abs().mean(-1, keepdim=True) + self.eps)).to(x.dtype) * self.weight.to(x.dtype)
''',
    ),
    "ffn": (
        "Two matrices with the square of a ReLU between them.",
        """import torch
from components import register
from components.core.signature import Positive
from components.core.sockets import SequenceInfo
from torch import Tensor, nn""",
        '''
    Args:
        d_ff: width in between; null: four times d_model.

    Shapes: (B, T, D) -> (B, T, D).
    """

    axes = {"up": ("d_model", "d_ff"), "out": ("d_ff", "d_model")}  # input first; what writes into the stream is called out

    def __init__(self, d_model: int, *, d_ff: Positive | None = None) -> None:
        super().__init__()
        width = 4 * d_model if d_ff is None else d_ff
        self.up, self.out = nn.Linear(d_model, width, bias=False), nn.Linear(width, d_model, bias=False)

    def forward(self, x: Tensor, info: SequenceInfo) -> Tensor:  # noqa: ARG002  the contract's second argument
        return self.out(torch.relu(self.up(x)).square())
''',
    ),
    "position": (
        "A penalty on scores that grows with the logarithm of the distance, at a rate that each head learns.",
        """import torch
from components import register
from components.core.signature import PositiveFloat
from components.core.sockets import SequenceInfo
from torch import Tensor, nn""",
        '''
    Args:
        rate: of every head at first.
    """

    needs = {"attention": ("biases",)}
    axes = {"rate": ("heads",)}

    def __init__(self, n_heads: int, *, rate: PositiveFloat = 1.0) -> None:
        super().__init__()
        self.first = rate
        self.rate = nn.Parameter(torch.empty(n_heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:  # constants; a model built on meta calls it again
        nn.init.constant_(self.rate, self.first)

    def bias(self, q: Tensor, k: Tensor, q_info: SequenceInfo, k_info: SequenceInfo) -> Tensor:  # noqa: ARG002
        """(B or 1, H, Tq, Tk), added to the scaled scores. Positions come from the infos, never from arange."""
        distance = (q_info.positions[:, :, None] - k_info.positions[:, None, :]).abs()
        far = torch.log1p(distance.to(self.rate.dtype))
        return -self.rate.abs()[None, :, None, None] * far[:, None]
''',
    ),
    "residual": (
        "A branch's output counts by one learned number.",
        """import torch
from components import register
from components.core.signature import NonNegativeFloat
from components.core.sockets import Place
from torch import Tensor, nn""",
        '''
    Args:
        initial: the number at first.

    Without a place (the stack's own, which only opens and closes the stream) there is no number.
    """

    axes = {"scale": ("one",)}

    def __init__(self, d_model: int, place: Place | None = None, *, initial: NonNegativeFloat = 0.5) -> None:  # noqa: ARG002
        super().__init__()
        self.initial = initial
        if place is not None:
            self.scale = nn.Parameter(torch.empty(1))
            self.reset_parameters()

    def reset_parameters(self) -> None:  # constants; a model built on meta calls it again
        if hasattr(self, "scale"):
            nn.init.constant_(self.scale, self.initial)

    def open(self, x: Tensor) -> Tensor:  # embedding -> stream
        return x

    def close(self, s: Tensor) -> Tensor:  # stream -> what the last norm takes
        return s

    def read(self, s: Tensor) -> Tensor:  # stream -> what a branch works on
        return s

    def write(self, s: Tensor, y: Tensor) -> Tensor:  # a branch's output into the stream
        return s + self.scale.to(y.dtype) * y
''',
    ),
}

PYPROJECT = """[build-system]
requires = ["hatchling>=1.26"]
build-backend = "hatchling.build"

[project]
name = "@DIST@"
version = "0.1.0"
description = "@SENTENCE@"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["lightning-components>=@VERSION@"]

# every module named here registers parts
[project.entry-points.components]
@NAME@ = "@NAME@.part"

[tool.hatch.build.targets.wheel]
packages = ["src/@NAME@"]
"""

INIT = '"""A part for lightning-components: @KIND@/@NAME@."""\n'

TEST = '''"""@KIND@/@NAME@ holds the contract of its kind; write beside it what is special, its paper's formula first."""

from __future__ import annotations

import pytest
from components.check import battery


@pytest.mark.parametrize("case", battery("@NAME@.part:@CLASS@"), ids=str)
def test_contract(case):
    case()
'''

README = """# @DIST@

@SENTENCE@ A part for [lightning-components](https://pypi.org/project/lightning-components/): once this package is
installed, it is chosen, listed, shown, completed and checked as if it were one of theirs.

```console
$ pip install -e .
$ components show @KIND@/@NAME@
$ components check @KIND@/@NAME@
$ components train model/@KIND@=@NAME@
$ pytest
```

The part is `src/@NAME@/part.py`. Positional parameters are sizes that its parent offers, keyword-only ones are options; what it needs of
others, provides or lacks it declares in literals of the class.
"""
