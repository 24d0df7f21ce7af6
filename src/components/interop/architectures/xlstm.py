"""xLSTM 7B (Beck et al. 2025, arXiv:2503.13427): mLSTM (arXiv:2405.04517) and a gated FFN in each layer; the class has no sLSTM.

It does not say how long its texts were; a file may say it in max_position_embeddings, which no number depends on.
"""

from __future__ import annotations

import math

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import either, in_each, stack, tied
from components.interop.fields import Constant, Custom, Fields, Get, Options, Same, Theirs, value_of
from components.interop.layouts import Flat

FACTOR, MULTIPLE = ("ffn_proj_factor", 2.667), ("ffn_round_up_to_multiple_of", 64)
EPS = ("model.norm.eps", "model.attention.output_norm.eps")


def _width(d_model: int, factor: float, multiple: int) -> int:
    """As the class rounds it up."""
    return int((d_model * factor + multiple - 1) // multiple * multiple)


def _read_width(config: Theirs) -> Options:
    width = config.get("hidden_size") or config.get("embedding_dim") or 4096
    return {"model.d_model": width, "model.ffn.d_ff": _width(width, value_of(config, *FACTOR), value_of(config, *MULTIPLE))}


def _write_width(get: Get) -> Fields:
    width, wanted = get("model.d_model"), get("model.ffn.d_ff")
    own = {FACTOR[0]: FACTOR[1], MULTIPLE[0]: MULTIPLE[1]}
    if _width(width, FACTOR[1], MULTIPLE[1]) != wanted:
        factor = wanted / width
        own = {FACTOR[0]: factor if _width(width, factor, 1) == wanted else math.nextafter(factor, math.inf), MULTIPLE[0]: 1}
    return {"hidden_size": width, "embedding_dim": width, **own}


TABLE = {  # theirs: ours
    "norm_mlstm": "attention_norm",
    "norm_ffn": "ffn_norm",
    "ffn.proj_up_gate": "ffn.gate",
    "ffn.proj_up": "ffn.up",
    "ffn.proj_down": "ffn.out",
    **{f"mlstm_layer.{n}": f"attention.{n}" for n in "qkv"},
    "mlstm_layer.ogate_preact": "attention.z",
    "mlstm_layer.out_proj": "attention.out",
}
GATES = tuple(
    Rule(f"backbone.blocks.{{i}}.mlstm_layer.{letter}gate_preact.{kind}", stack(f"attention.{word}_{ours}"))
    for letter, word in (("i", "input"), ("f", "forget"))
    for kind, ours in (("weight", "gate.weight"), ("bias", "bias"))
)
# how it is computed, and what is computed in which precision: no other number comes out in fp32
FREE = frozenset(
    (
        *("norm_reduction_force_float32", "chunkwise_kernel", "sequence_kernel", "step_kernel", "mode", "chunk_size"),
        *("return_last_states", "autocast_kernel_dtype", "inference_state_dtype", "max_inference_chunksize"),
    )
)

ARCHITECTURE = Architecture(
    names=("xLSTMForCausalLM",),
    model_type="xlstm",
    base={
        "model": {
            **{"name": "decoder", "position": "none", "norm": "rms", "block": "pre_norm"},
            "attention": {"name": "mlstm", "output_norm": {"name": "layer", "bias": False}},
            "ffn": {"name": "glu", "activation": "silu"},
        }
    },
    fields=(
        Same("vocab_size", "vocab_size", 50304),
        either(("num_hidden_layers", "num_blocks"), "model.n_layers", 32),
        Same("max_position_embeddings", "model.context_length", 8192),
        Same("num_heads", "model.attention.n_heads", 8),
        Same("norm_eps", EPS, 1e-6),
        Same("eps", "model.attention.eps", 1e-6),
        Same("qk_dim_factor", "model.attention.expand_k", 0.5),
        Same("v_dim_factor", "model.attention.expand_v", 1.0),
        Same("gate_soft_cap", "model.attention.gate_cap", 15.0),
        Same("output_logit_soft_cap", "model.head.soft_cap", 30.0),
        Custom(("hidden_size", "embedding_dim", FACTOR[0], MULTIPLE[0]), _read_width, _write_width),
        *(tied(False), Constant("use_bias", False), Constant("weight_mode", "single"), Constant("add_out_norm", True)),
    ),
    tensors=(
        Rule("backbone.embeddings.weight", "embedding.table.weight"),
        Rule("backbone.out_norm.weight", "stack.final_norm.weight"),
        Rule("lm_head.weight", "head.logits.weight"),
        *in_each("backbone.blocks.{i}.", TABLE),
        *GATES,
        Rule("backbone.blocks.{i}.mlstm_layer.multihead_norm.weight", stack("attention.output_norm.weight"), Flat()),
    ),
    free=FREE,
    prefix="backbone.",
)
