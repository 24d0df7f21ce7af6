"""OLMoE (Muennighoff et al. 2024, arXiv:2409.02060): experts in every layer, queries and keys normed over all heads together."""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import ATTENTION, TIED, decoder_sizes, rope, stack
from components.interop.architectures._llama import BASE, EPS, FILES, QK_NORMS
from components.interop.architectures._moe import EMBEDDED, FREE, MOE, attention_fields, count, experts
from components.interop.fields import Same

ARCHITECTURE = Architecture(
    names=("OlmoeForCausalLM",),
    model_type="olmoe",
    base={
        "model": {
            **BASE["model"],
            "attention": {"name": "gqa", "qk_norm": "rms", "qk_norm_over": "full"},
            "ffn": {**MOE, "router": "softmax_top_k"},
        }
    },
    fields=(
        *decoder_sizes(),
        *attention_fields(None),
        *(count("num_experts", "num_local_experts"), rope(partial=False), TIED),
        Same("clip_qkv", "model.attention.clip", None),
        Same("num_experts_per_tok", "model.ffn.router.k", 8),
        Same("norm_topk_prob", "model.ffn.router.renormalise", False),
        Same("rms_norm_eps", EPS, 1e-5),
    ),
    tensors=(
        *EMBEDDED,
        *ATTENTION,
        *QK_NORMS,
        *experts(),
        Rule("model.layers.{i}.mlp.gate.weight", stack("ffn.router.logits.weight")),
    ),
    free=FREE,
    **FILES,
)
