"""Qwen3.5's text models (Qwen 2026), dense and with experts: Qwen3-Next whose DeltaNet has a matrix each for a, b and z.

Positions of text are one number on all axes of the published models, which read images too. The hub's tensors of the module that predicts more tokens
(``mtp.``) are dropped, as by the class. The router's weights always sum to 1.
"""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import GLU
from components.interop.architectures._llama import FILES
from components.interop.architectures._moe import FREE
from components.interop.architectures._qwen3_next import EXPERTS, MODEL, SPARSE, TENSORS, expert_fields, fields, linear
from components.interop.fields import Same
from components.interop.layouts import Rows

NET = (
    linear("in_proj_qkv.weight", "q.weight k.weight v.weight", Rows()),
    linear("in_proj_z.weight in_proj_b.weight in_proj_a.weight", "z.weight b.weight a.weight"),
)
UNREAD = {**FILES, "ignored": ("mtp.*",), "free": FREE | {"mamba_ssm_dtype", "attn_output_gate", "mtp_num_hidden_layers"}}
ROUTED = {**SPARSE, "ffn": {**SPARSE["ffn"], "router": {"name": "softmax_top_k", "renormalise": True}}}

ARCHITECTURE = (
    Architecture(
        names=("Qwen3_5ForCausalLM",),
        model_type="qwen3_5_text",
        base={"model": {**MODEL, "ffn": {"name": "glu", "activation": "silu"}}},
        fields=(*fields(4), Same("intermediate_size", "model.ffn.d_ff")),
        tensors=(*NET, *TENSORS, *GLU),
        **UNREAD,
    ),
    Architecture(
        names=("Qwen3_5MoeForCausalLM",),
        model_type="qwen3_5_moe_text",
        base={"model": ROUTED},
        fields=(*fields(2), *expert_fields(8)),
        tensors=(*NET, *TENSORS, *EXPERTS),
        **{**UNREAD, "free": UNREAD["free"] | {"intermediate_size"}},
    ),
)
