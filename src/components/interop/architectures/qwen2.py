"""Qwen2 and 2.5 (Yang et al. 2024, arXiv:2407.10671, 2412.15115): Llama's parts, biases on queries, keys and values, windows if asked for."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import HEAD_DIM, TIED, decoder_sizes, rope, unused
from components.interop.architectures._windows import FULL, SLIDING, by_layer
from components.interop.architectures.llama import BASE, DROPOUT, FILES, SILU, TENSORS
from components.interop.fields import Custom, Fields, Get, Options, Same, Theirs, Unsupported


def _kinds(config: Theirs) -> list[str]:
    first = config.get("max_window_layers", 28) if _windows(config) else config["num_hidden_layers"]
    return [SLIDING if i >= first else FULL for i in range(config["num_hidden_layers"])]


def _windows(config: Theirs) -> bool:
    return bool(config.get("use_sliding_window", False)) and config.get("sliding_window", 4096) is not None


def _read(config: Theirs) -> Options:
    if not _windows(config) and SLIDING in (config.get("layer_types") or ()):
        raise Unsupported("use_sliding_window=False, and layer_types has sliding_attention")
    return _LAYERS.read(config)


def _write(get: Get) -> Fields:
    made = _LAYERS.write(get)
    return {**made, "use_sliding_window": SLIDING in made["layer_types"]}


_LAYERS = by_layer(_kinds, 4096)
WINDOWS = Custom(("layer_types", "sliding_window", "use_sliding_window", "max_window_layers"), _read, _write)
FIELDS = (
    *decoder_sizes(),
    Same("num_key_value_heads", "model.attention.n_kv_heads", 32),
    rope(partial=False),
    WINDOWS,
    unused("use_mrope", False),
    Same("rms_norm_eps", "model.norm.eps", 1e-6),
    SILU,
    DROPOUT,
    TIED,
)
ARCHITECTURE = Architecture(
    names=("Qwen2ForCausalLM",),
    model_type="qwen2",
    base={"model": {**BASE["model"], "attention": {"name": "gqa", "bias": ["q", "k", "v"]}}},
    fields=(*FIELDS, HEAD_DIM),
    tensors=TENSORS,
    **FILES,
)
