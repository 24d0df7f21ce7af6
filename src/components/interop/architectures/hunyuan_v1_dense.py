"""Hunyuan, dense (Tencent 2025): Llama whose heads' queries and keys are normed after they are turned.

``alpha`` of a rotation called dynamic stretches its base once and for all, whatever the length.
"""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import HEAD_DIM, TIED, decoder_sizes, flat_rope, in_each, rope
from components.interop.architectures._llama import BIAS, DROPOUT, EPS, FILES, KV_HEADS, QK, SILU, TENSORS
from components.interop.fields import Custom, Options, Same, Theirs

ROPE = rope(partial=False)


def _read(config: Theirs) -> Options:
    parameters = flat_rope(config, 10000.0)
    if not parameters.get("alpha"):
        return ROPE.read(config)
    width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    return {"model.position.base": parameters["rope_theta"] * parameters["alpha"] ** (width / (width - 2))}


ARCHITECTURE = Architecture(
    names=("HunYuanDenseV1ForCausalLM",),
    model_type="hunyuan_v1_dense",
    base={"model": {**QK["model"], "attention": {"name": "gqa", "qk_norm": "rms", "qk_norm_at": "after"}}},
    fields=(
        *decoder_sizes(),
        *(KV_HEADS, HEAD_DIM, SILU, BIAS, DROPOUT, TIED),
        Custom(ROPE.names, _read, ROPE.write),
        Same("rms_norm_eps", EPS, 1e-5),
    ),
    tensors=(
        *TENSORS,
        *in_each("model.layers.{i}.self_attn.", {"query_layernorm": "attention.q_norm", "key_layernorm": "attention.k_norm"}),
    ),
    free=frozenset(("eod_token_id",)),
    **FILES,
)
