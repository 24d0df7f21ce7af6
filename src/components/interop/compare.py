"""Whether two spelled-out models are the same model, even if their configs differ in form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from components.core.config_types import Config
from components.core.slices import resolve
from components.functional.activations import glu_width
from components.functional.layer_vectors import layer_width

# what no forward pass in eval mode depends on
UNSEEN = ("dropout", "init", "context_length", "load_balance", "balance_over", "z_loss", "rate", "preset")
PER_LAYER = ("block", "attention", "ffn", "norm", "residual", "position")


def differences(ours: object, theirs: object, path: str = "model") -> list[str]:
    """Options in which two spelled-out nodes differ, by path. Options that only matter in training are left out."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping) and ours.get("name") == theirs.get("name"):
        found = []
        for name in dict.fromkeys((*ours, *theirs)):
            if name not in UNSEEN:
                found += differences(ours.get(name), theirs.get(name), f"{path}.{name}")
        return found
    if ours == theirs or (isinstance(ours, (list, tuple)) and isinstance(theirs, (list, tuple)) and list(ours) == list(theirs)):
        return []
    return [f"{path}={_short(ours)} where it has {_short(theirs)}"]


def explicit(config: Mapping[str, Any]) -> Config:
    """``config`` with the sizes that parts derive from null filled in, and with pattern names resolved to layer numbers."""
    made = deepcopy(dict(config))
    model = made["model"]
    if not isinstance(model.get("n_layers"), int) or not isinstance(model.get("d_model"), int):
        return made
    if model.get("pattern"):
        chosen = resolve(model["n_layers"], model["pattern"], model["layers"], PER_LAYER)
        model["layers"] = {str(i): nodes for i, nodes in enumerate(chosen) if nodes}
        model["pattern"] = type(model["pattern"])()
    for nodes in (model, *(model.get("layers") or {}).values()):
        _attention(nodes.get("attention"), model["d_model"], nodes.get("norm", model.get("norm")))
        _ffn(nodes.get("ffn"), model["d_model"])
        _ffn(_in(nodes.get("block"), "last_ffn"), model["d_model"])
    _ffn(_in(model.get("stack"), "side_ffn"), model["d_model"])
    _width(model.get("embedding"), model["d_model"])
    return made


def _in(node: Any, socket: str) -> Any:
    return node.get(socket) if isinstance(node, dict) else None


def _width(node: Any, d_model: int) -> None:
    """Of the vectors that layers read beside the stream, on either side."""
    if isinstance(node, dict) and node.get("name") in ("per_layer_embeddings", "per_layer_input"):
        node["width"] = layer_width(node["width"], d_model)


def layer_by_layer(model: Mapping[str, Any]) -> Config:
    """An explicit ``model`` with all parts of every layer under ``layers``, including those that the model has as its own."""
    if not isinstance(model.get("n_layers"), int):
        return dict(model)
    own = {socket: model[socket] for socket in PER_LAYER if socket in model}
    chosen = resolve(model["n_layers"], None, model.get("layers"), PER_LAYER)
    layers = {str(i): {**own, **nodes} for i, nodes in enumerate(chosen)}
    ends = {"norm": own.get("norm"), "residual": own.get("residual")}  # the stack's own too
    return {**{n: v for n, v in model.items() if n not in PER_LAYER}, **ends, "layers": layers}


def _attention(node: Any, d_model: int, norm: Any) -> None:
    name = node.get("name") if isinstance(node, dict) else None
    if name == "gqa":
        node["n_kv_heads"] = node["n_kv_heads"] or node["n_heads"]
    if name in ("gqa", "disentangled", "lightning"):
        node["head_dim"] = node["head_dim"] or d_model // node["n_heads"]
    if name == "parallel_hybrid":
        for mixer in (node["attention_mixer"], node["recurrent_mixer"]):
            _attention(mixer, d_model, norm)
    if name == "mla":
        nope = node["nope_dim"] = node["nope_dim"] or d_model // node["n_heads"]
        node["rope_dim"] = node["rope_dim"] or -(-nope // 4) * 2
        node["kv_rank"], node["v_dim"] = node["kv_rank"] or max(1, d_model // 2), node["v_dim"] or nope
        node["latent_norm"] = norm if node["latent_norm"] == "inherit" else node["latent_norm"]


def _ffn(node: Any, d_model: int) -> None:
    name = node.get("name") if isinstance(node, dict) else None
    if name in ("glu", "multiplied_glu", "mlp"):
        rest = node.pop("widen" if name == "mlp" else "multiple_of", None)
        if node["d_ff"] is None and rest is not None:
            node["d_ff"] = int(d_model * rest) if name == "mlp" else glu_width(d_model, rest)
    _width(node, d_model)
    if name == "side_by_side":
        _ffn(node["first"], d_model)
        _ffn(node["second"], d_model)
    if name == "moe":
        rest = node.pop("multiple_of", None)
        if node["d_ff"] is None and rest is not None:
            node["d_ff"] = 4 * d_model if node["expert"] == "mlp" else glu_width(d_model, rest)
        _ffn(node["shared"], d_model)
        router = node["router"]
        if isinstance(router, dict) and "top_groups" in router:
            router["top_groups"] = router["top_groups"] or router["n_groups"]


def _short(value: object) -> str:
    return str(value["name"]) if isinstance(value, Mapping) and "name" in value else json.dumps(value, default=str)
