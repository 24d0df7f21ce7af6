"""Gemma 3, text (Gemma Team 2025, arXiv:2503.19786): Gemma 2's layers with normed queries and keys, five windows to one full view.

Sliding layers turn by a base of their own. The class reads no ``attn_logit_softcapping``, so only null is taken. Of a checkpoint that reads
images too (4B and larger), the text model is read.
"""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import IN_IMAGES, unused
from components.interop.architectures._gemma import FIELDS, SANDWICH, TENSORS
from components.interop.architectures._llama import FILES, QK_NORMS
from components.interop.architectures._windows import by_layer, every
from components.interop.fields import Same, Theirs

QK = {"name": "gqa", "qk_norm": {"name": "rms", "unit_offset": True}}


def _kinds(config: Theirs) -> list[str]:
    return every(config.get("sliding_window_pattern") or 6)(config)


# a ``text_config`` leaves out what is the class's own value
SIZES = {
    "vocab_size": 262208,
    "hidden_size": 2304,
    "num_hidden_layers": 26,
    "max_position_embeddings": 131072,
    "num_attention_heads": 8,
    "intermediate_size": 9216,
    "final_logit_softcapping": None,
}

ARCHITECTURE = Architecture(
    names=("Gemma3ForCausalLM", "Gemma3TextModel"),
    model_type="gemma3_text",
    base={"model": {**SANDWICH["model"], "attention": QK}},
    fields=(
        *(Same(f.theirs, f.ours, SIZES[f.theirs]) if isinstance(f, Same) and f.theirs in SIZES else f for f in FIELDS),
        Same("rms_norm_eps", "model.attention.qk_norm.eps", 1e-6),
        by_layer(_kinds, 4096, "sliding_window_pattern", "_sliding_window_pattern", "rope_local_base_freq", bases=(1e4, 1e6)),
        unused("attn_logit_softcapping"),
    ),
    tensors=(*TENSORS, *QK_NORMS),
    free=frozenset(("cache_implementation",)),
    within=("Gemma3ForConditionalGeneration",),
    **IN_IMAGES,
    **FILES,
)
