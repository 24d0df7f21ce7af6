"""Solar Open (Upstage 2026): GLM-4.5's experts in every layer, all channels turned."""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import ATTENTION, TIED, decoder_sizes, head_dim, rope, stack
from components.interop.architectures._llama import BASE, DROPOUT, FILES, QKV_BIAS
from components.interop.architectures._mla import ROUTED, routed
from components.interop.architectures._moe import EMBEDDED, FREE, MOE
from components.interop.fields import Constant, Same

ARCHITECTURE = Architecture(
    names=("SolarOpenForCausalLM",),
    model_type="solar_open",
    base={"model": {**BASE["model"], "ffn": {**MOE, "router": {"name": "sigmoid_top_k", "rate": 0.0}}}},
    fields=(
        *(f for f in decoder_sizes() if f.names != ("intermediate_size",)),
        *(head_dim(128), QKV_BIAS, DROPOUT, TIED, rope(1e6), Constant("hidden_act", "silu")),
        *routed(0)[:-1],  # no layer is dense
        Same("num_key_value_heads", "model.attention.n_kv_heads", 8),
        Same("rms_norm_eps", "model.norm.eps", 1e-5),
        Same("norm_topk_prob", "model.ffn.router.renormalise", True),
        Same("n_group", "model.ffn.router.n_groups", 1),
        Same("topk_group", "model.ffn.router.top_groups", 1),
    ),
    tensors=(
        *(*EMBEDDED, *ATTENTION, *(r for r in ROUTED if r.dims != 2)),
        Rule("model.layers.{i}.mlp.gate.e_score_correction_bias", stack("ffn.router.correction")),
    ),
    free=FREE,
    **FILES,
)
