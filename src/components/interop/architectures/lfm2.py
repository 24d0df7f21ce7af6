"""LFM2 (Liquid AI 2025, arXiv:2511.23404): gated short convolutions, with attention whose heads are normed in a few layers."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import in_each
from components.interop.architectures._lfm2 import BASE, FIELDS, FREE, GLU, TENSORS
from components.interop.architectures._llama import FILES
from components.interop.fields import Custom, Fields, Get, Options, Theirs

WIDTH = ("intermediate_size", "block_ff_dim", "block_auto_adjust_ff_dim", "block_ffn_dim_multiplier", "block_multiple_of")


def _read_width(config: Theirs) -> Options:
    """Two thirds of the width that the file says, times a factor, rounded up: a GLU's, of which the file gives that of an MLP."""
    width = config.get("block_ff_dim", config.get("intermediate_size", 12288))
    if config.get("block_auto_adjust_ff_dim", True):
        width = int(2 * width / 3)
        if (factor := config.get("block_ffn_dim_multiplier", 1.0)) is not None:
            of = config.get("block_multiple_of", 256)
            width = -(-int(factor * width) // of) * of
    return {"model.ffn.d_ff": width}


def _write_width(get: Get) -> Fields:
    return {"intermediate_size": get("model.ffn.d_ff"), "block_auto_adjust_ff_dim": False}


ARCHITECTURE = Architecture(
    names=("Lfm2ForCausalLM",),
    model_type="lfm2",
    base={"model": BASE},
    fields=(*FIELDS, Custom(WIDTH, _read_width, _write_width)),
    tensors=(*TENSORS, *in_each("model.layers.{i}.", {f"feed_forward.{theirs}": f"ffn.{ours}" for theirs, ours in GLU})),
    free=FREE,
    **FILES,
)
