"""What Gemma 3n and Gemma 4 share: late layers that read the keys and values of earlier ones, vectors of each token for every layer, normed values."""

from __future__ import annotations

from components.interop.architecture import Rule
from components.interop.architectures._layers import each_layer, named
from components.interop.fields import Custom, Fields, Get, Node, Options, Theirs, Unsupported, value_of

PLAIN_RMS = {"name": "rms", "scale": "none"}
ATTENTION = {"name": "gqa", "scale": 1.0, "qk_norm": "rms", "value": {"name": "norm", "norm": PLAIN_RMS}}
EPS = ("model.norm.eps", "model.attention.qk_norm.eps", "model.attention.value.norm.eps", "model.embedding.norm.eps")


def lenders(types: list[str], first: int) -> dict[str, int]:
    """{kind of layer: the layer whose keys and values those of its kind read from layer ``first`` on}."""
    found = {kind: max((i for i, t in enumerate(types[:first]) if t == kind), default=-1) for kind in sorted(set(types))}
    if lacking := [kind for kind, lender in found.items() if lender < 0]:
        raise Unsupported(f"num_kv_shared_layers={len(types) - first}: no layer before them is of {', '.join(lacking)}")
    return found


def shared(config: Theirs, types: list[str], default: int) -> dict[str, Node]:
    """{kind of layer: what its attention says of sharing}, from ``num_kv_shared_layers``."""
    count = value_of(config, "num_kv_shared_layers", default)
    if not count:
        return {}
    first = len(types) - count
    return {
        kind: {"sharing": {"name": "after", "first": first, "lender": lender}} for kind, lender in lenders(types, first).items()
    }


def _write_shared(get: Get) -> Fields:
    node = named(each_layer(get, "attention")[-1].get("sharing"))
    count = get("model.n_layers")
    if node.get("name", "none") == "none":
        return {"num_kv_shared_layers": 0}
    return {"num_kv_shared_layers": count // 2 if node.get("first") is None else max(0, count - node["first"])}


SHARED = Custom(("num_kv_shared_layers",), lambda config: {}, _write_shared)  # noqa: ARG005  by_layer reads it: the kinds of layers say who lends


def layer_vectors(ffn: str) -> Custom:
    """The second table of the embedding, and the width of what it has for a layer. ``ffn``: where the part stands that reads it."""

    def read(config: Theirs) -> Options:
        width, rows = (
            value_of(config, "hidden_size_per_layer_input", 256),
            value_of(config, "vocab_size_per_layer_input", 262144),
        )
        ids = config.get("vocab_size") or rows
        if rows > ids:
            raise Unsupported(f"vocab_size_per_layer_input={rows}: rows beyond vocab_size={ids} belong to no id")
        made = {"model.embedding.width": width, f"{ffn}.width": width}
        return made if rows == ids else {**made, "model.embedding.rows": rows}

    def write(get: Get) -> Fields:
        width, rows, ids = get("model.embedding.width"), get("model.embedding.rows"), get("vocab_size")
        made: Fields = {"hidden_size_per_layer_input": max(1, get("model.d_model") // 8) if width is None else width}
        return {**made, "vocab_size_per_layer_input": ids if rows is None else min(rows, ids)}

    return Custom(("hidden_size_per_layer_input", "vocab_size_per_layer_input"), read, write)


VECTORS = (
    Rule("model.embed_tokens_per_layer.weight", "embedding.vectors.weight"),
    Rule("model.per_layer_model_projection.weight", "embedding.project.weight"),
    Rule("model.per_layer_projection_norm.weight", "embedding.norm.weight"),
)
# what files have besides, of models that see and hear; and of layers that read the keys and values of others
HEARD = tuple(f"model.{n}.*" for n in ("vision_tower", "audio_tower", "embed_vision", "embed_audio"))
BORROWED = tuple(f"model.layers.{{i}}.self_attn.{n}.*" for n in ("k_proj", "v_proj", "k_norm"))
