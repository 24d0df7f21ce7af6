"""Apertus (Swiss AI 2025, arXiv:2509.14233): Llama without a gate, bent by xIELU, with normed heads."""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import (
    ATTENTION,
    HEAD_DIM,
    ROPE_FIELDS,
    TIED,
    decoder_sizes,
    in_each,
    rope,
    stack,
    unused,
)
from components.interop.architectures._llama import BIAS, DROPOUT, ENDS, EPS, FILES, KV_HEADS, QK, QK_NORMS
from components.interop.fields import Constant, Custom, Options, Same, Theirs
from components.interop.layouts import Beside

SCALED = {  # what its class takes where a file says nothing
    **{"rope_type": "llama3", "rope_theta": 12000000.0, "factor": 8.0, "original_max_position_embeddings": 8192},
    **{"low_freq_factor": 1.0, "high_freq_factor": 4.0},
}
ROPE = rope(12e6, partial=False)


def _read_rope(config: Theirs) -> Options:
    return ROPE.read({**config, "rope_parameters": config.get("rope_parameters") or SCALED})


ARCHITECTURE = Architecture(
    names=("ApertusForCausalLM",),
    model_type="apertus",
    base={"model": {**QK["model"], "ffn": "xielu"}},
    fields=(
        *decoder_sizes(),
        *(KV_HEADS, HEAD_DIM, BIAS, DROPOUT, TIED),
        Custom(ROPE_FIELDS, _read_rope, ROPE.write),
        Constant("hidden_act", "xielu"),
        Same("rms_norm_eps", EPS, 1e-5),
        *(unused("mlp_bias", False), unused("post_norm", False), unused("qk_norm", True), unused("hidden_dropout", 0.0)),
    ),
    tensors=(
        *(*ENDS, *ATTENTION, *QK_NORMS),
        *(
            Rule(f"model.layers.{{i}}.{n}_layernorm.weight", stack(f"{o}_norm.weight"))
            for n, o in (("attention", "attention"), ("feedforward", "ffn"))
        ),
        *in_each("model.layers.{i}.mlp.", {"up_proj": "ffn.up", "down_proj": "ffn.out"}),
        Rule(
            tuple(f"model.layers.{{i}}.mlp.act_fn.{n}" for n in ("alpha_p", "beta", "eps")),
            stack("ffn.alpha_p"),
            Beside((0.5, -1e-6)),
        ),
        Rule("model.layers.{i}.mlp.act_fn.alpha_n", stack("ffn.alpha_n")),
    ),
    **FILES,
)
