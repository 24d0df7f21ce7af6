"""DeepSeek-V3 and R1 (DeepSeek-AI 2024, arXiv:2412.19437): latent attention, 256 experts in groups, chosen with a correction.

The correction stays as it is unless ``model.ffn.router.rate`` says otherwise: the class does not move it. The class drops the
weights of the module that predicts a second token (layer 61 of the published model), and so do we. The latent vectors' norms have
an eps of their own, 1e-6. Checkpoints in 8 bits have to be converted first: their tensors of scales are refused.
"""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import rope, stack
from components.interop.architectures._mla import MLA_FREE, TENSORS, fields
from components.interop.architectures._moe import MOE
from components.interop.fields import Constant, Mapped, Same

ARCHITECTURE = Architecture(
    names=("DeepseekV3ForCausalLM",),
    model_type="deepseek_v3",
    base={
        "model": {
            "name": "decoder",
            "position": "rope",
            "norm": "rms",
            "block": "pre_norm",
            "attention": {"name": "mla", "latent_norm": {"name": "rms", "eps": 1e-6}},
            "ffn": {**MOE, "router": {"name": "sigmoid_top_k", "rate": 0.0}},
        }
    },
    fields=(
        *fields(dense=3),
        rope(partial=False),
        Mapped("rope_interleave", "model.position.layout", {True: "interleaved", False: "half"}, True),
        Same("norm_topk_prob", "model.ffn.router.renormalise", True),
        Same("n_group", "model.ffn.router.n_groups", 8),
        Same("topk_group", "model.ffn.router.top_groups", 4),
        Constant("scoring_func", "sigmoid"),
        Constant("topk_method", "noaux_tc"),
    ),
    tensors=(
        *TENSORS,
        Rule("model.layers.{i}.mlp.gate.e_score_correction_bias", stack("ffn.router.correction")),
    ),
    free=MLA_FREE | {"num_nextn_predict_layers", "num_mtp_layers"},
    prefix="model.",
    ignored=("model.layers.61.*",),
)
