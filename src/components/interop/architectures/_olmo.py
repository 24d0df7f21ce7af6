"""What the generations of OLMo share: the fields of all, and the normed layers of OLMo 2 and 3."""

from __future__ import annotations

from components.interop.architecture import Rule
from components.interop.architectures._common import ATTENTION, GLU, HEAD_DIM, TIED, decoder_sizes, stack
from components.interop.architectures._llama import BASE, BIAS, DROPOUT, ENDS, QK_NORMS, SILU
from components.interop.fields import Same

FIELDS = (
    *decoder_sizes(),
    Same("num_key_value_heads", "model.attention.n_kv_heads", None),
    HEAD_DIM,
    SILU,
    BIAS,
    DROPOUT,
    TIED,
)
QK = {"name": "gqa", "qk_norm": "rms", "qk_norm_over": "full"}
NORMED = {"model": {**BASE["model"], "block": "output_norm", "attention": QK}}
NORMED_FIELDS = (
    *FIELDS,
    Same("rms_norm_eps", "model.norm.eps", 1e-5),
    Same("rms_norm_eps", "model.attention.qk_norm.eps", 1e-5),
)
NORMED_TENSORS = (
    *ENDS,
    *ATTENTION,
    *GLU,
    *QK_NORMS,
    Rule("model.layers.{i}.post_attention_layernorm.weight", stack("attention_norm.weight")),
    Rule("model.layers.{i}.post_feedforward_layernorm.weight", stack("ffn_norm.weight")),
)
