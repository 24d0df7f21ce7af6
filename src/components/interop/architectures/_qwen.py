"""What Qwen2 and Qwen3 share: fields, and the layers that have a window."""

from __future__ import annotations

from components.interop.architectures._common import TIED, decoder_sizes, rope, unused
from components.interop.architectures._llama import DROPOUT, SILU
from components.interop.architectures._windows import FULL, SLIDING, by_layer
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
