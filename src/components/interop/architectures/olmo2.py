"""OLMo 2 (Team OLMo 2024, arXiv:2501.00656): norms on what a branch gives alone, queries and keys normed over all heads together."""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import ATTENTION, GLU, rope, stack
from components.interop.architectures.gemma3 import QK_NORMS
from components.interop.architectures.llama import BASE, ENDS, FILES
from components.interop.architectures.olmo import FIELDS as OLMO
from components.interop.fields import Same

QK = {"name": "gqa", "qk_norm": "rms", "qk_norm_over": "full"}
MODEL = {"model": {**BASE["model"], "block": "output_norm", "attention": QK}}
FIELDS = (
    *OLMO,
    Same("rms_norm_eps", "model.norm.eps", 1e-5),
    Same("rms_norm_eps", "model.attention.qk_norm.eps", 1e-5),
)
TENSORS = (
    *ENDS,
    *ATTENTION,
    *GLU,
    *QK_NORMS,
    Rule("model.layers.{i}.post_attention_layernorm.weight", stack("attention_norm.weight")),
    Rule("model.layers.{i}.post_feedforward_layernorm.weight", stack("ffn_norm.weight")),
)
ARCHITECTURE = Architecture(
    names=("Olmo2ForCausalLM",),
    model_type="olmo2",
    base=MODEL,
    fields=(*FIELDS, rope(partial=False)),
    tensors=TENSORS,
    **FILES,
)
