"""Command R7B and A (Cohere 2024, arXiv:2504.00698): Command-R with windows on three of four layers; the fourth does not turn."""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._cohere import BASE
from components.interop.architectures._common import ATTENTION, GLU, HEAD_DIM, decoder_sizes, rope, stack, tied
from components.interop.architectures._llama import BIAS, DROPOUT, ENDS, FILES, KV_HEADS, SILU
from components.interop.architectures._windows import by_layer, every
from components.interop.fields import Same, Theirs


def _kinds(config: Theirs) -> list[str]:
    return every(config.get("sliding_window_pattern", 4))(config)


ARCHITECTURE = Architecture(
    names=("Cohere2ForCausalLM",),
    model_type="cohere2",
    base=BASE,
    fields=(
        *decoder_sizes(),
        *(KV_HEADS, HEAD_DIM, SILU, BIAS, DROPOUT, rope(partial=False), tied(True)),
        Same("layer_norm_eps", "model.norm.eps", 1e-5),
        Same("logit_scale", "model.head.multiplier", 0.0625),
        by_layer(_kinds, 4096, "sliding_window_pattern", still=lambda _: True),
    ),
    tensors=(*ENDS, *ATTENTION, *GLU, Rule("model.layers.{i}.input_layernorm.weight", stack("norm.weight"))),
    free=frozenset(("model_max_length", "cache_implementation", "order_of_interleaved_layers", "rotary_pct")),
    **FILES,
)
