"""Qwen1.5-MoE and Qwen2-MoE (Yang et al. 2024, arXiv:2407.10671): Qwen2's attention, and a gated expert that every token passes through."""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import ATTENTION, TIED, decoder_sizes, rope, stack
from components.interop.architectures._llama import BASE, DROPOUT, FILES
from components.interop.architectures._moe import DENSE_GLU, EMBEDDED, FREE, MOE, count, experts, shared, sparse_step
from components.interop.fields import Constant, Mapped, Same

SHARED = {"shared": {"name": "glu", "activation": "silu"}, "shared_gate": True}
ARCHITECTURE = Architecture(
    names=("Qwen2MoeForCausalLM",),
    model_type="qwen2_moe",
    base={"model": {**BASE["model"], "ffn": {**MOE, **SHARED, "router": "softmax_top_k"}}},
    fields=(
        *(f for f in decoder_sizes() if f.names != ("intermediate_size",)),
        *(count("num_experts", "num_local_experts"), rope(partial=False), sparse_step(), DROPOUT, TIED),
        Same("num_key_value_heads", "model.attention.n_kv_heads", 16),
        Mapped("qkv_bias", "model.attention.bias", {True: ["q", "k", "v"], False: []}, True),
        Same("num_experts_per_tok", "model.ffn.router.k", 4),
        Same("norm_topk_prob", "model.ffn.router.renormalise", False),
        Same("moe_intermediate_size", "model.ffn.d_ff", 1408),
        Same("shared_expert_intermediate_size", "model.ffn.shared.d_ff", 5632),
        Same("rms_norm_eps", "model.norm.eps", 1e-6),
        *(Constant("hidden_act", "silu"), Constant("use_sliding_window", False)),
    ),
    tensors=(
        *(*EMBEDDED, *ATTENTION, *experts(), *shared("shared_expert"), *DENSE_GLU),
        Rule("model.layers.{i}.mlp.shared_expert_gate.weight", stack("ffn.shared_gate.weight")),
        Rule("model.layers.{i}.mlp.gate.weight", stack("ffn.router.logits.weight")),
    ),
    free=FREE | {"sliding_window", "max_window_layers", "layer_types"},
    **FILES,
)
