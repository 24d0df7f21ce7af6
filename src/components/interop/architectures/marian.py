"""The original Transformer (Vaswani et al. 2017, arXiv:1706.03762) as Marian writes it (Junczys-Dowmunt et al. 2018, arXiv:1804.00344).

All sines stand before all cosines; source and target share one vocabulary.
"""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._bart import BASE, COMMON, SINUSOIDS, fields, tensors
from components.interop.architectures._common import unused
from components.interop.fields import Constant, Custom, Fields, Get, Options, Theirs, Unsupported


def _read(config: Theirs) -> Options:
    ours, theirs = config.get("vocab_size", 58101), config.get("decoder_vocab_size")
    if theirs not in (None, ours):
        raise Unsupported(f"decoder_vocab_size={theirs!r} beside vocab_size={ours!r}: both sides have one vocabulary here")
    return {}


def _write(get: Get) -> Fields:  # noqa: ARG001  the contract's argument
    return {"decoder_vocab_size": None, "pad_token_id": None}  # the class's own may lie beyond the vocabulary


ARCHITECTURE = Architecture(
    names=("MarianMTModel",),
    model_type="marian",
    base={"model": {**BASE, "position": {"name": "sinusoidal", "layout": "half"}}, "loss": "seq2seq"},
    fields=(
        *fields(58101),
        Custom(("decoder_vocab_size",), _read, _write),
        Constant("share_encoder_decoder_embeddings", True),
        unused("normalize_embedding", False),
        unused("static_position_embeddings", True),
    ),
    tensors=tensors(),
    ignored=SINUSOIDS,
    **COMMON,
)
