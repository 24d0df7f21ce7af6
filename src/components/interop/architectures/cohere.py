"""Command-R and R+ (Cohere 2024): one layer norm for both branches side by side, neighbouring channels turned, logits scaled down.

R+ norms each head's queries and keys, with a scale for every head and channel.
"""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._cohere import BASE
from components.interop.architectures._common import ATTENTION, GLU, HEAD_DIM, decoder_sizes, rope, stack, tied
from components.interop.architectures._llama import BIAS, DROPOUT, ENDS, FILES, QK_NORMS, SILU, norms_by_choice
from components.interop.fields import Same

ARCHITECTURE = Architecture(
    names=("CohereForCausalLM",),
    model_type="cohere",
    base=BASE,
    fields=(
        *decoder_sizes(),
        Same("num_key_value_heads", "model.attention.n_kv_heads", None),
        HEAD_DIM,
        rope(500000.0, partial=False),
        norms_by_choice("use_qk_norm", "layer_norm_eps", 1e-5, "per_head_weight", name="layer", bias=False),
        Same("logit_scale", "model.head.multiplier", 0.0625),
        SILU,
        BIAS,
        DROPOUT,
        tied(True),
    ),
    tensors=(
        *ENDS,
        *ATTENTION,
        *GLU,
        *QK_NORMS,
        Rule("model.layers.{i}.input_layernorm.weight", stack("norm.weight")),
    ),
    free=frozenset(("model_max_length",)),
    **FILES,
)
