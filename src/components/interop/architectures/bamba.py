"""Bamba (IBM, Princeton, UIUC 2024): Mamba-2 in most layers, attention in a few, half of whose channels turn."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import ATTENTION, TIED, decoder_sizes, in_each, rope
from components.interop.architectures._layers import in_layers, layers_of
from components.interop.architectures._llama import BASE, BIAS, DROPOUT, FILES, MLP_BIAS, SILU
from components.interop.architectures._mamba import AROUND, SIZE_FIELDS, mixer2, read_mamba2, write_mamba2
from components.interop.architectures._moe import PROJECTIONS
from components.interop.fields import Custom, Fields, Get, Options, Same, Theirs, Unsupported


def _read_layers(config: Theirs) -> Options:
    n_layers, attention = config["num_hidden_layers"], config.get("attn_layer_indices") or []
    mamba = [i for i in range(n_layers) if i not in attention]
    node = read_mamba2(config, 1e-5)
    return in_layers(mamba, n_layers, "attention", node) | in_layers(mamba, n_layers, "position", "none")


def _write_layers(get: Get) -> Fields:
    mamba = layers_of(get, "attention", "mamba2")
    if not mamba:
        raise Unsupported("no layer is a Mamba-2")
    return {**write_mamba2(get), "attn_layer_indices": [i for i in range(get("model.n_layers")) if i not in mamba]}


ARCHITECTURE = Architecture(
    names=("BambaForCausalLM",),
    model_type="bamba",
    base=BASE,
    fields=(
        *(f for f in decoder_sizes() if f.names != ("max_position_embeddings",)),
        Same("max_position_embeddings", "model.context_length", 262144),
        Same("num_key_value_heads", "model.attention.n_kv_heads", 8),
        Same("rms_norm_eps", "model.norm.eps", 1e-5),
        *(BIAS, MLP_BIAS, DROPOUT, SILU, TIED, rope(share=0.5)),
        Custom(("attn_layer_indices", "rms_norm_eps", *SIZE_FIELDS), _read_layers, _write_layers),
    ),
    tensors=(
        *AROUND,
        *mixer2("model.layers.{i}.mamba"),
        *ATTENTION,
        *in_each("model.layers.{i}.feed_forward.", {theirs: f"ffn.{ours}" for theirs, ours in PROJECTIONS}),
    ),
    free=frozenset(("mamba_chunk_size", "num_logits_to_keep", "z_loss_coefficient", "attn_rotary_emb")),
    **FILES,
)
