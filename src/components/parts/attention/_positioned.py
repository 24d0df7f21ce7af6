"""Attentions that rotate queries and keys by a position, or bias scores by it."""

from __future__ import annotations

from torch import nn

from components.core.contracts import Position
from components.core.sockets import Maker, adopt, make
from components.core.traits import biases, rotates


class Positioned(nn.Module):
    """An attention with a ``position``."""

    position: Position
    rotates: bool  # whether the position rotates; asked once, since decoding would ask for every layer and token
    biased: bool  # whether it biases scores

    def add_position(
        self, position: Maker["position"], *, d_model: int, n_heads: int, head_dim: int, context_length: int | None
    ) -> None:
        """Build the position for ``n_heads`` heads, whose queries and keys are ``head_dim`` wide."""
        length = {} if context_length is None else {"context_length": context_length}
        made = make(position, "position", d_model=d_model, n_heads=n_heads, head_dim=head_dim, **length)
        adopt(self, "position", made)
        self.rotates, self.biased = rotates(made), biases(made)
