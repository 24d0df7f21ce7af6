"""GLM-4.5 and 4.6 (Zhipu AI 2025, arXiv:2508.06471): DeepSeek-V3's experts, half of the channels turns, heads normed in the large one."""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import ATTENTION, HEAD_DIM, TIED, decoder_sizes, rope, stack
from components.interop.architectures._llama import BASE, DROPOUT, FILES, QK_NORMS, QKV_BIAS, norms_by_choice
from components.interop.architectures._mla import ROUTED, routed
from components.interop.architectures._moe import EMBEDDED, FREE, MOE
from components.interop.fields import Constant, Same

ARCHITECTURE = Architecture(
    names=("Glm4MoeForCausalLM",),
    model_type="glm4_moe",
    base={"model": {**BASE["model"], "ffn": {**MOE, "router": {"name": "sigmoid_top_k", "rate": 0.0}}}},
    fields=(
        *(f for f in decoder_sizes() if f.names != ("intermediate_size",)),
        *(HEAD_DIM, QKV_BIAS, DROPOUT, TIED, rope(share=0.5), Constant("hidden_act", "silu")),
        *routed(1),
        Same("num_key_value_heads", "model.attention.n_kv_heads", 8),
        norms_by_choice("use_qk_norm", "rms_norm_eps", 1e-5, name="rms"),
        Same("norm_topk_prob", "model.ffn.router.renormalise", True),
        Same("n_group", "model.ffn.router.n_groups", 1),
        Same("topk_group", "model.ffn.router.top_groups", 1),
    ),
    tensors=(
        *(*EMBEDDED, *ATTENTION, *QK_NORMS, *ROUTED),
        Rule("model.layers.{i}.mlp.gate.e_score_correction_bias", stack("ffn.router.correction")),
    ),
    free=FREE | {"num_nextn_predict_layers", "num_mtp_layers"},
    **{**FILES, "ignored": ("model.layers.46.*", "model.layers.92.*")},  # they predict a second token
)
