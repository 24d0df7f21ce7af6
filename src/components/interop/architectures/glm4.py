"""GLM-4-0414 (Zhipu AI 2025): GLM-4 with norms around every branch."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import in_each
from components.interop.architectures._glm import FIELDS, GLM, TENSORS
from components.interop.architectures._llama import FILES

NORMS = {
    "input_layernorm": "attention_norm",
    "post_self_attn_layernorm": "attention_output_norm",
    "post_attention_layernorm": "ffn_norm",
    "post_mlp_layernorm": "ffn_output_norm",
}
ARCHITECTURE = Architecture(
    names=("Glm4ForCausalLM",),
    model_type="glm4",
    base={"model": {**GLM["model"], "block": "sandwich"}},
    fields=FIELDS,
    tensors=(*TENSORS, *in_each("model.layers.{i}.", NORMS)),
    **FILES,
)
