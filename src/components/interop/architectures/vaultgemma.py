"""VaultGemma (Sinha et al. 2025, arXiv:2510.15001): Gemma 2 with norms before the branches alone, trained with differential privacy."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import ATTENTION, GLU, in_each, rope
from components.interop.architectures._gemma import FIELDS, GEMMA
from components.interop.architectures._llama import ENDS, FILES
from components.interop.architectures._windows import by_layer, every
from components.interop.fields import Same

NORMS = {"input_layernorm": "attention_norm", "pre_feedforward_layernorm": "ffn_norm"}
ARCHITECTURE = Architecture(
    names=("VaultGemmaForCausalLM",),
    model_type="vaultgemma",
    base=GEMMA,
    fields=(
        *FIELDS,
        *(rope(partial=False), by_layer(every(2), 4096)),
        Same("attn_logit_softcapping", "model.attention.soft_cap", 50.0),
    ),
    tensors=(*ENDS, *ATTENTION, *GLU, *in_each("model.layers.{i}.", NORMS)),
    free=frozenset(("cache_implementation",)),
    **FILES,
)
