"""DeepNorm's two constants by depth: alpha multiplies the stream, beta the first values of what writes into it.

Wang et al. 2022, arXiv:2203.00555, table in figure 2. N: layers of the encoder, M: of the decoder.
"""

from __future__ import annotations


def alpha_of(side: str, layers: int, decoder_layers: int) -> float:
    """``side``: only, encoder or decoder. ``layers``: the number of layers of this side."""
    if side == "encoder":
        return 0.81 * (layers**4 * decoder_layers) ** (1 / 16)
    return (3 * layers) ** 0.25 if side == "decoder" else (2 * layers) ** 0.25


def beta_of(side: str, layers: int, decoder_layers: int) -> float:
    if side == "encoder":
        return 0.87 * (layers**4 * decoder_layers) ** (-1 / 16)
    return (12 * layers) ** -0.25 if side == "decoder" else (8 * layers) ** -0.25
