"""MiniMax-M2 (MiniMax 2025): sigmoid experts with a correction, queries and keys normed over all heads together, half of the channels turns."""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import ATTENTION, TIED, decoder_sizes, head_dim, rope, stack
from components.interop.architectures._llama import BASE, DROPOUT, EPS, FILES, QK_NORMS
from components.interop.architectures._moe import EMBEDDED, FREE, MOE, count, experts
from components.interop.fields import Constant, Custom, Options, Same, Theirs

ROPE = rope(5e6)


def _read(config: Theirs) -> Options:
    share = {} if "rotary_dim" not in config else {"partial_rotary_factor": config["rotary_dim"] / config.get("head_dim", 128)}
    return ROPE.read({**share, **config})


ARCHITECTURE = Architecture(
    names=("MiniMaxM2ForCausalLM",),
    model_type="minimax_m2",
    base={
        "model": {
            **BASE["model"],
            "attention": {"name": "gqa", "qk_norm": "rms", "qk_norm_over": "full"},
            "ffn": {**MOE, "router": {"name": "sigmoid_top_k", "rate": 0.0}},
        }
    },
    fields=(
        *decoder_sizes(),
        *(head_dim(128), count("num_local_experts", "num_experts"), DROPOUT, TIED, Constant("hidden_act", "silu")),
        Custom((*ROPE.names, "rotary_dim"), _read, ROPE.write),
        Same("num_key_value_heads", "model.attention.n_kv_heads", 8),
        Same("num_experts_per_tok", "model.ffn.router.k", 8),
        Same("rms_norm_eps", EPS, 1e-6),
    ),
    tensors=(
        *(*EMBEDDED, *ATTENTION, *QK_NORMS),
        *experts((("w1", "gate"), ("w3", "up"), ("w2", "out")), "block_sparse_moe.experts.{e}"),
        Rule("model.layers.{i}.block_sparse_moe.gate.weight", stack("ffn.router.logits.weight")),
        Rule("model.layers.{i}.block_sparse_moe.e_score_correction_bias", stack("ffn.router.correction")),
    ),
    free=FREE,
    **FILES,
)
