"""What GLM-4's generations share: half of the channels turns, neighbours in pairs; gate and up in one matrix."""

from __future__ import annotations

from components.interop.architecture import Rule
from components.interop.architectures._common import ATTENTION, PADDING, TIED, decoder_sizes, head_dim, in_each, rope, stack
from components.interop.architectures._llama import BASE, DROPOUT, ENDS, KV_HEADS, SILU
from components.interop.fields import Mapped, Same
from components.interop.layouts import Rows

GLM = {"model": {**BASE["model"], "position": {"name": "rope", "layout": "interleaved"}}}
FIELDS = (
    *decoder_sizes(),
    *(KV_HEADS, head_dim(128), SILU, DROPOUT, PADDING, TIED, rope(share=0.5)),
    Mapped("attention_bias", "model.attention.bias", {False: [], True: ["q", "k", "v"]}, True),
    Same("rms_norm_eps", "model.norm.eps", 1.5625e-07),
)
TENSORS = (
    *ENDS,
    *ATTENTION,
    Rule("model.layers.{i}.mlp.gate_up_proj.weight", (stack("ffn.gate.weight"), stack("ffn.up.weight")), Rows()),
    *in_each("model.layers.{i}.", {"mlp.down_proj": "ffn.out"}),
)
