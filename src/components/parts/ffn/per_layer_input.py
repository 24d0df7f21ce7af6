"""What a layer knows of the token itself, however far the stream has moved away from it.

Gemma 3n 2025 and Gemma 4 2026 (per-layer embeddings)
"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Positive
from components.core.sockets import Place, SequenceInfo, info_of
from components.functional.activations import ACTIVATIONS, Activation
from components.functional.layer_vectors import layer_width
from components.functional.linear import Linear
from components.functional.precision import cast_once


@register("ffn", "per_layer_input")
class PerLayerInput(nn.Module):
    """Per-layer input: the stream gates a small vector that the embedding has of each token for this layer, out(activation(gate(x)) * vector).

    Args:
        width: of that vector; null: an eighth of d_model. The embedding's ``width`` is the same.
        activation: of the gate.

    Shapes: (B, T, D) -> (B, T, D).
    Errors: ValueError if the embedding wrote no vectors for this layer, or of another width.
    """

    axes = {"gate": ("d_model", "latent"), "out": ("latent", "d_model")}
    carries_in = ("layer_vectors",)

    def __init__(
        self, d_model: int, place: Place | None = None, *, width: Positive | None = None, activation: Activation = "gelu_tanh"
    ) -> None:
        super().__init__()
        self.index = 0 if place is None else place.index
        self.width = layer_width(width, d_model)
        self.gate, self.out = Linear(d_model, self.width, bias=False), Linear(self.width, d_model, bias=False)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        given = info_of(x, info).carry.get("layer_vectors")
        if given is None:
            raise ValueError(
                "ffn=per_layer_input reads vectors of its layer, and the embedding wrote none: use embedding=per_layer_embeddings"
            )
        layers, width = given.shape[-2:]
        if self.index >= layers:
            raise ValueError(f"layer {self.index} reads a vector of its own, and the embedding wrote those of {layers} layers")
        if width != self.width:
            raise ValueError(
                f"layer {self.index} reads vectors of width {self.width}, and the embedding's are {width} wide: give both one width"
            )
        gated = self.activation(self.gate(cast_once(x)))
        return self.out(gated * given[..., self.index, :].to(gated.dtype))
