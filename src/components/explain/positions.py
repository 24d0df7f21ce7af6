"""What a position does: the vectors that it adds, or how it turns queries and keys; biases are shown with the attention that adds them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.sockets import SequenceInfo
from components.core.traits import embeds, rotates
from components.explain.pack import Array
from components.explain.recorder import Call, Recorder
from components.explain.trace import PositionTrace

CHANNELS = 64


def positions(recorder: Recorder, shown: slice) -> list[PositionTrace]:
    """Every part of kind position once: what it adds to vectors of zeros, and how it turns a vector of ones."""
    rows = []
    for path, entry in recorder.entries.items():
        if entry.kind != "position":
            continue
        module = recorder.model.get_submodule(path)
        users = [c for c in recorder.calls if c.kind == "attention" and getattr(c.module, "position", None) is module]
        info = next((c.info for c in users), None) or next((c.info for c in recorder.layers if c.info is not None), None)
        row = PositionTrace(path, entry.label, entry.signature.sentence, [])
        if info is not None:
            with torch.no_grad():
                added, row.turned = _added(path, module, recorder, info, shown), _turned(module, users, info, shown)
            if added is not None:
                row.added, row.width = Array(added[:, :CHANNELS], rank=1), added.shape[-1]
            row.how += [how for how, found in (("adds", row.added), ("turns", row.turned)) if found is not None]
        if any(k.word == "softmax" and k.found["bias"] is not None for c in users for k in c.kernels):
            row.how.append("biases")
        if not any(_alike(row, other) for other in rows):  # both sides of an encoder-decoder may have the same
            rows.append(row)
    return rows


def _alike(a: PositionTrace, b: PositionTrace) -> bool:
    return a.label == b.label and a.how == b.how and _equal(a.added, b.added) and _equal(a.turned, b.turned)


def _equal(a: Array | None, b: Array | None) -> bool:
    return a is b if a is None or b is None else torch.equal(a.tensor, b.tensor)


def _added(path: str, module: nn.Module, recorder: Recorder, info: SequenceInfo, shown: slice) -> Tensor | None:
    """(T, D) what it adds to the embedding; None where that is nothing."""
    embeddings = [c for c in recorder.of_kind("embedding") if isinstance(c.y, Tensor)]
    if around := next(
        (c.path for c in embeddings if path.startswith(f"{c.path}.")), None
    ):  # it is added inside of one, at another width
        inner = [c for c in recorder.calls if c.kind == "embedding" and c.path.startswith(f"{around}.")]
        embeddings = [c for c in inner if isinstance(c.y, Tensor)]
    if not embeds(module) or not embeddings:
        return None
    x = embeddings[-1].y
    given = embeddings[-1].info if embeddings[-1].info is not None else info
    added = (module.embed(x, given) - x)[0][shown]  # type: ignore[operator]  # `embeds` has asked
    return added if added.any() else None


def _turned(module: nn.Module, users: list[Call], info: SequenceInfo, shown: slice) -> Array | None:
    """(T, K) what becomes of a vector of ones; None where it stays one."""
    kernel = next((k for c in users for k in c.kernels if k.word in ("softmax", "weights", "linear")), None)
    if not rotates(module) or kernel is None:
        return None
    q = kernel.found.get("q")
    q = kernel.found["inputs"][0] if q is None else q
    ones = torch.ones_like(q[:1])
    try:
        turned, _ = module.rotate(ones, ones.clone(), info, info)  # type: ignore[operator]  # `rotates` has asked
    except (RuntimeError, ValueError):  # it turns a part of the width, which its attention cuts out itself
        return None
    turned = turned[0, 0][shown]
    return None if torch.equal(turned, ones[0, 0][shown]) else Array(turned[:, :CHANNELS], rank=1)
