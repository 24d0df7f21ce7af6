"""Mamba (Gu & Dao 2023, arXiv:2312.00752) and Falcon Mamba (TII 2024, arXiv:2410.05355), which norms dt, B and C.

Neither says how long its texts were; a file may say it in max_position_embeddings, which no number depends on.
"""

from __future__ import annotations

from typing import Any

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import stack, tied
from components.interop.architectures._mamba import mixer, rank
from components.interop.fields import Constant, Custom, Fields, Get, Options, Same, Theirs


def _read_width(config: Theirs) -> Options:
    """A file's intermediate_size goes before its expand."""
    width = config.get("intermediate_size", config.get("expand", 2) * config["hidden_size"])
    return {"model.attention.expand": width / config["hidden_size"]}


def _write_width(get: Get) -> Fields:
    expand = get("model.attention.expand")
    return {"expand": max(int(expand), 1), "intermediate_size": round(expand * get("model.d_model"))}


def _base(**attention: Any) -> dict[str, Any]:
    parts = {"position": "none", "norm": "rms", "block": "pre_norm", "ffn": "none"}
    return {"model": {"name": "decoder", **parts, "attention": {"name": "mamba", **attention}}}


FIELDS = (
    Same("vocab_size", "vocab_size", 50280),
    Same("hidden_size", "model.d_model", 768),
    Same("num_hidden_layers", "model.n_layers", 32),
    Same("max_position_embeddings", "model.context_length", 2048),
    Same("layer_norm_epsilon", "model.norm.eps", 1e-5),
    Same("state_size", "model.attention.state_size", 16),
    Same("conv_kernel", "model.attention.conv_size", 4),
    Same("use_conv_bias", "model.attention.conv_bias", True),
    Same("use_bias", "model.attention.bias", False),
    Same("time_step_min", "model.attention.dt_min", 0.001),
    Same("time_step_max", "model.attention.dt_max", 0.1),
    rank("time_step_rank"),
    Custom(("expand", "intermediate_size"), _read_width, _write_width),
    Constant("hidden_act", "silu"),
    tied(True),
)
FILES: dict[str, Any] = {
    "tensors": (
        Rule("backbone.embeddings.weight", "embedding.table.weight"),
        Rule("backbone.layers.{i}.norm.weight", stack("attention_norm.weight")),
        *mixer("backbone.layers.{i}.mixer"),
        Rule("backbone.norm_f.weight", "stack.final_norm.weight"),
        Rule("lm_head.weight", "head.logits.weight"),
    ),
    # how it was drawn, which kernels compute it, in which dtype sums are kept, and what its files repeat
    "free": frozenset(
        (
            *(*(f"time_step_{n}" for n in ("scale", "init_scheme", "floor")), "rescale_prenorm_residual"),
            *("use_mambapy", "use_falcon_mambapy", "use_associative_scan", "residual_in_fp32", "fused_add_norm"),
            *("d_model", "d_inner", "n_layer", "ssm_cfg", "rms_norm", "pad_vocab_size_multiple"),
        )
    ),
    "prefix": "backbone.",
    "copies": {"lm_head.weight": "backbone.embeddings.weight"},
    "renamed": {"backbone.embedding.": "backbone.embeddings."},
}
MAMBA = Architecture(names=("MambaForCausalLM",), model_type="mamba", base=_base(), fields=FIELDS, **FILES)
FALCON = Architecture(
    names=("FalconMambaForCausalLM",),
    model_type="falcon_mamba",
    base=_base(inner_norm={"name": "rms", "scale": "none"}),
    fields=(*FIELDS, Same("mixer_rms_eps", "model.attention.inner_norm.eps", 1e-6)),
    **FILES,
)
ARCHITECTURE = (MAMBA, FALCON)
