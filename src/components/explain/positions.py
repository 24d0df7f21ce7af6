"""What a position does: the vectors that it adds, or how it turns queries and keys; biases are shown with the attention that adds them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from components.core.sockets import SequenceInfo
from components.explain.pack import Array
from components.explain.recorder import Recorder

CHANNELS = 64


def positions(recorder: Recorder, shown: slice) -> list[dict[str, Any]]:
    """Every part of kind position once: what it adds to vectors of zeros, and how it turns a vector of ones."""
    rows = []
    for path, entry in recorder.entries.items():
        if entry.kind != "position":
            continue
        module = recorder.model.get_submodule(path)
        users = [c for c in recorder.calls if c.kind == "attention" and getattr(c.module, "position", None) is module]
        info = next((c.info for c in users), None) or next((c.info for c in recorder.layers if c.info is not None), None)
        row: dict[str, Any] = {"path": path, "label": entry.label, "sentence": entry.signature.sentence, "how": []}
        if info is not None:
            with torch.no_grad():
                row |= _added(module, recorder, info, shown)
                row |= _turned(module, users, info, shown)
        if any(h.word == "softmax" and h.found["bias"] is not None for c in users for h in c.heard):
            row["how"].append("biases")
        if not any(_alike(row, other) for other in rows):  # both sides of an encoder-decoder may have the same
            rows.append(row)
    return rows


def _alike(a: dict[str, Any], b: dict[str, Any]) -> bool:
    tensors = all(_equal(a.get(name), b.get(name)) for name in ("added", "turned"))
    return a["label"] == b["label"] and a["how"] == b["how"] and tensors


def _equal(a: Array | None, b: Array | None) -> bool:
    return a is b if a is None or b is None else torch.equal(a.tensor, b.tensor)


def _added(module: Any, recorder: Recorder, info: SequenceInfo, shown: slice) -> dict[str, Any]:
    embeddings = [c for c in recorder.of_kind("embedding") if isinstance(c.y, Tensor)]
    if not hasattr(module, "embed") or not embeddings:
        return {}
    x = embeddings[-1].y
    given = embeddings[-1].info if embeddings[-1].info is not None else info
    added = (module.embed(x, given) - x)[0][shown]
    return {} if not added.any() else {"how": ["adds"], "added": Array(added[:, :CHANNELS], rank=1), "width": added.shape[-1]}


def _turned(module: Any, users: list[Any], info: SequenceInfo, shown: slice) -> dict[str, Any]:
    heard = next((h for c in users for h in c.heard if h.word in ("softmax", "weights", "linear")), None)
    if not hasattr(module, "rotate") or heard is None:
        return {}
    q = heard.found.get("q")
    q = heard.found["inputs"][0] if q is None else q
    ones = torch.ones_like(q[:1])
    try:
        turned, _ = module.rotate(ones, ones.clone(), info, info)
    except (RuntimeError, ValueError):  # it turns a part of the width that the part cuts out itself
        return {}
    turned = turned[0, 0][shown]
    return {} if torch.equal(turned, ones[0, 0][shown]) else {"how": ["turns"], "turned": Array(turned[:, :CHANNELS], rank=1)}
