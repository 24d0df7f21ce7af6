"""FlexOlmo (Shi et al. 2025, arXiv:2507.07024): OLMo 2's layers with OLMoE's experts."""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import PADDING, TIED, decoder_sizes, rope, stack
from components.interop.architectures._llama import EPS, FILES
from components.interop.architectures._moe import FREE, MOE, attention_fields, count, experts
from components.interop.architectures._olmo import NORMED, NORMED_TENSORS
from components.interop.fields import Same

ARCHITECTURE = Architecture(
    names=("FlexOlmoForCausalLM",),
    model_type="flex_olmo",
    base={"model": {**NORMED["model"], "ffn": {**MOE, "router": "softmax_top_k"}}},
    fields=(
        *decoder_sizes(),
        *attention_fields(None),
        *(count("num_experts", "num_local_experts"), rope(5e5, partial=False), PADDING, TIED),
        Same("num_experts_per_tok", "model.ffn.router.k", 5),
        Same("norm_topk_prob", "model.ffn.router.renormalise", False),
        Same("rms_norm_eps", EPS, 1e-6),
    ),
    tensors=(
        *(r for r in NORMED_TENSORS if ".mlp." not in r.their_names[0]),
        *experts(),
        Rule("model.layers.{i}.mlp.gate.weight", stack("ffn.router.logits.weight")),
    ),
    free=FREE,
    **FILES,
)
