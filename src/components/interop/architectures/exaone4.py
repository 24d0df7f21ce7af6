"""EXAONE 4 (LG AI Research 2025, arXiv:2507.11407): norms on what a branch gives, heads normed; with windows, the layers without one do not turn."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import HEAD_DIM, TIED, decoder_sizes, rope
from components.interop.architectures._llama import DROPOUT, EPS, FILES, QK, SILU
from components.interop.architectures._olmo import NORMED_TENSORS
from components.interop.architectures._windows import FULL, by_layer, every
from components.interop.fields import Same, Theirs


def _kinds(config: Theirs) -> list[str]:
    if config.get("sliding_window", 4096) is None:
        return [FULL] * config["num_hidden_layers"]
    period = config.get("sliding_window_pattern", 4)
    return every(len(period) if isinstance(period, str) else period)(config)


ARCHITECTURE = Architecture(
    names=("Exaone4ForCausalLM",),
    model_type="exaone4",
    base={"model": {**QK["model"], "block": "output_norm"}},
    fields=(
        *decoder_sizes(),
        *(HEAD_DIM, SILU, DROPOUT, TIED, rope(partial=False)),
        Same("num_key_value_heads", "model.attention.n_kv_heads", 32),
        Same("rms_norm_eps", EPS, 1e-5),
        by_layer(_kinds, 4096, "sliding_window_pattern", still=lambda window: window is not None),
    ),
    tensors=NORMED_TENSORS,
    free=frozenset(("cache_implementation",)),
    **FILES,
)
