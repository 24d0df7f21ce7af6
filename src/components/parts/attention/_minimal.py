"""What minGRU and minLSTM share: the short convolution of their input."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from components.core.sockets import SequenceInfo
from components.functional.precision import cast_once
from components.functional.short_convolution import ShortConvolution, short_convolutions


def convolved(conv: ShortConvolution | None, x: Tensor, info: SequenceInfo, state: dict[str, Any] | None) -> Tensor:
    """x as the gates read it."""
    return cast_once(x if conv is None else short_convolutions((x,), (conv,), info, state)[0])
