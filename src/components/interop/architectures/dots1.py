"""dots.llm1 (rednote-hilab 2025, arXiv:2506.05767): DeepSeek-V3's experts, and attention whose heads are normed."""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import ATTENTION, HEAD_DIM, TIED, decoder_sizes, rope, stack
from components.interop.architectures._llama import EPS, FILES, QK, QK_NORMS
from components.interop.architectures._mla import ROUTED, routed
from components.interop.architectures._moe import EMBEDDED, FREE, MOE, attention_fields
from components.interop.architectures._windows import FULL, SLIDING, by_layer
from components.interop.fields import Constant, Same, Theirs


def _kinds(config: Theirs) -> list[str]:
    first = config["num_hidden_layers"] if config.get("sliding_window", 4096) is None else config.get("max_window_layers", 62)
    return [SLIDING if i >= first else FULL for i in range(config["num_hidden_layers"])]


ARCHITECTURE = Architecture(
    names=("Dots1ForCausalLM",),
    model_type="dots1",
    base={"model": {**QK["model"], "ffn": {**MOE, "router": {"name": "sigmoid_top_k", "rate": 0.0}}}},
    fields=(
        *(f for f in decoder_sizes() if f.names != ("intermediate_size",)),
        *attention_fields(32),
        *(HEAD_DIM, TIED, rope(partial=False), by_layer(_kinds, 4096, "max_window_layers")),
        *routed(0),
        Same("rms_norm_eps", EPS, 1e-6),
        Same("norm_topk_prob", "model.ffn.router.renormalise", False),
        Same("n_group", "model.ffn.router.n_groups", 1),
        Same("topk_group", "model.ffn.router.top_groups", 1),
        Constant("scoring_func", "noaux_tc"),
    ),
    tensors=(
        *(*EMBEDDED, *ATTENTION, *QK_NORMS, *ROUTED),
        Rule("model.layers.{i}.mlp.gate.e_score_correction_bias", stack("ffn.router.correction")),
    ),
    free=FREE,
    **FILES,
)
