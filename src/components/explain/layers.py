"""What happens between embedding and logits: the stream after every layer, what each branch wrote, what would have been said there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from components.explain import mixers
from components.explain.mixers import Reading
from components.explain.pack import Array
from components.explain.recorder import Call, Recorder
from components.explain.steps import top_of

LENS, NEURONS = 5, 8


def wiring_of(model: nn.Module, path: str) -> tuple[str, nn.Module]:
    """(path, module) of the nearest module around a layer that opens and closes the stream; the model itself where there is none."""
    modules = dict(model.named_modules())
    parts = path.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        found = modules[".".join(parts[:cut])]
        if hasattr(found, "leave"):
            return ".".join(parts[:cut]), found
    return "", model


def closed(wiring: nn.Module, s: Tensor) -> Tensor:
    """The stream as (T, D), whatever the residual keeps."""
    residual = getattr(wiring, "residual", None)
    return (residual.close(s) if residual is not None and hasattr(residual, "close") else s)[0]


def sides_of(recorder: Recorder, source: bool) -> list[str]:
    """Paths of the stacks in the order of their calls; the last one makes the logits. Where there are no layers, names of what reads and writes."""
    found = list(dict.fromkeys(wiring_of(recorder.model, c.path)[0] for c in recorder.layers))
    return found or (["encoder", "decoder"] if source else [""])


def layers(
    recorder: Recorder, sides: list[str], shown: slice, *, source: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(layers, mixers) of the trace, in the order in which they were called; a mixer that stands in no layer is one of its own.

    Args:
        recorder: of a pass of one row.
        sides: as ``sides_of`` gives them.
        shown: positions of the text that the page shows.
        source: whether the first side reads a source, all of which is shown.
    """
    found, readers = [], []
    outer = [c for kind in ("attention", "ffn") for c in recorder.of_kind(kind) if isinstance(c.y, Tensor) and not absent(c)]
    alone = [c for c in outer if c.kind == "attention" and c.layer is None]
    for call in [*recorder.layers, *alone]:
        inside = call in recorder.layers
        path, wiring = wiring_of(recorder.model, call.path)
        side = sides.index(path) if path in sides else len(sides) - 1
        if not inside and source and getattr(call.info, "memory", None) is None:
            side = 0
        rows = slice(None) if source and side == 0 and len(sides) > 1 else shown
        before, after = (closed(wiring, s) if inside else s[0] for s in (call.x, call.y))
        layer: dict[str, Any] = {"path": call.path, "side": side, "branches": []}
        layer["visit"] = sum(x["path"] == call.path for x in found)
        layer["norm"], layer["norm_before"] = Array(after[rows].norm(dim=-1)), Array(before[rows].norm(dim=-1))
        for inner in [c for c in outer if c.layer == call.layer] if inside else [call]:
            branch: dict[str, Any] = {"name": inner.path.rpartition(".")[2], "kind": inner.kind, "path": inner.path}
            branch["norm"] = Array(inner.y[0][rows].norm(dim=-1))
            if inner.kind == "attention":
                made = [mixer(inner, reading, len(found), side, rows) for reading in mixers.readings(inner)]
                branch["mixers"] = list(range(len(readers), len(readers) + len(made)))
                readers += made
            else:
                branch["neurons"] = neurons(recorder, inner, rows)
            layer["branches"].append(branch)
        found.append(layer)
    return found, readers


def absent(call: Call) -> bool:
    """A part that stands for none: it gives zeros."""
    return bool(getattr(call.module, "absent", False))


def mixer(call: Call, r: Reading, layer: int, side: int, shown: slice) -> dict[str, Any]:
    """One reading as data: what the page draws and spells out."""
    crossed = bool(getattr(call.module, "cross", False))
    columns = slice(None) if crossed else shown
    outside = None if crossed or shown.start in (None, 0) else Array(r.weights[:, shown, : shown.start].sum(-1))
    data: dict[str, Any] = {"path": call.path, "layer": layer, "how": r.how, "heads": r.weights.shape[0], "side": side}
    data["reads"] = 0 if crossed else side
    data["crossed"] = crossed
    data["weights"] = Array(r.weights[:, shown, columns])
    data["outside"] = outside
    for name, rows_of in (("decay", r.decay), ("divisor", r.divisor)):
        data[name] = None if rows_of is None else Array(rows_of[:, shown])
    for name, value, rows in (("q", r.q, shown), ("k", r.k, columns), ("v", r.values, columns)):
        data[name] = None if value is None else Array(value[:, rows], rank=3 if name == "v" else 2)
    data["bias"] = None if r.bias is None else Array(r.bias[:, shown, columns], rank=1)
    data["seen"] = None if r.seen is None else [_row(x) for x in r.seen[0, shown, columns]]
    data["scale"], data["soft_cap"] = r.scale, r.soft_cap
    data["sinks"] = None if r.sinks is None else [float(x) for x in r.sinks.detach()]
    if r.mixing is not None:
        data["mixing"] = [[float(x) for x in row] for row in r.mixing]
        data["maps"] = None if r.maps is None else Array(r.maps[:, shown, columns], rank=2)
    context = r.context
    data["context_norm"] = None if context is None else Array(context[:, shown].norm(dim=-1))
    return data


def _row(seen: Tensor) -> str:
    return "".join("1" if x else "0" for x in seen.tolist())


def neurons(recorder: Recorder, call: Call, shown: slice) -> dict[str, Any] | None:
    """The hidden activations of an FFN: what went into its projection ``out``; of a mixture, who was chosen. None where there are none."""
    outs = [
        c for c in recorder.linears if c.layer == call.layer and c.path.startswith(f"{call.path}.") and c.path.endswith("out")
    ]
    outs = [c for c in outs if isinstance(c.x, Tensor) and c.x.dim() == 3]
    routers = [c for c in recorder.calls if c.kind == "router" and c.path.startswith(f"{call.path}.") and c.layer == call.layer]
    data: dict[str, Any] = {}
    if outs:
        hidden = outs[-1].x[0]
        data["width"] = hidden.shape[-1]
        top = hidden[shown].abs().topk(min(NEURONS, hidden.shape[-1]), -1).indices
        data["top"] = [[[int(i), float(row[i])] for i in best] for row, best in zip(hidden[shown], top)]
        data["active"] = Array((hidden[shown] != 0).float().mean(-1))
        data["silent"] = int((hidden == 0).all(0).sum())
    if routers:
        routing = routers[0].y
        data["experts"] = experts(routing, shown, call.x.shape[1]) if hasattr(routing, "tokens") else None
    return data or None


def experts(routing: Any, shown: slice, length: int) -> list[list[list[float]]]:
    """For each position: [[expert, weight], ...], the greatest weight first."""
    chosen: list[list[list[float]]] = [[] for _ in range(length)]
    for token, expert, weight, kept in zip(
        *(x.tolist() for x in (routing.tokens, routing.experts, routing.weights, routing.kept))
    ):
        if kept and token < length:
            chosen[token].append([expert, weight])
    return [sorted(c, key=lambda e: -e[1]) for c in chosen[shown]]


def lens(recorder: Recorder, side: str, shown: slice, targets: list[int | None]) -> list[dict[str, Any]]:
    """What the head says of the stream before the first layer and after each: likeliest tokens, and the probability of what does follow.

    nostalgebraist 2020 (the logit lens). Each row is as if the layers after it were not there.
    """
    heads = [c for c in recorder.of_kind("head") if isinstance(c.y, Tensor) and c.y.dim() == 3]
    calls = [c for c in recorder.layers if wiring_of(recorder.model, c.path)[0] == side]
    if not heads or not calls:
        return []
    _, wiring = wiring_of(recorder.model, calls[0].path)
    rows = []
    with torch.no_grad():
        for name, s in [("embedding", calls[0].x), *((c.path, c.y) for c in calls)]:
            logits = heads[-1].module(wiring.leave(s), heads[-1].info)[0][shown]  # type: ignore[operator]
            p = logits.double().softmax(-1)
            follow = [None if i is None else float(row[i]) for row, i in zip(p, targets)]
            rows.append({"after": name, "top": [top_of(row, LENS) for row in logits], "next": follow})
    return rows


def without(recorder: Recorder, side: str, shown: slice, targets: list[int | None]) -> list[dict[str, Any]]:
    """The probability of what does follow if one branch had written nothing, and all else stayed: its direct effect on the answer.

    Only where the stream is the plain sum of what was written into it, which is tried out; else empty.
    """
    heads = [c for c in recorder.of_kind("head") if isinstance(c.y, Tensor) and c.y.dim() == 3]
    calls = [(i, c) for i, c in enumerate(recorder.layers) if wiring_of(recorder.model, c.path)[0] == side]
    if not heads or not calls or any(x is None for x in targets[:-1]):
        return []
    _, wiring = wiring_of(recorder.model, calls[0][1].path)
    outer = [c for kind in ("attention", "ffn") for c in recorder.of_kind(kind)]
    branches = [(c.path, c.y) for i, _ in calls for c in recorder.calls if c.layer == i and any(c is o for o in outer)]
    final = calls[-1][1].y
    first = calls[0][1].x
    if not all(isinstance(y, Tensor) and y.shape == final.shape for _, y in branches):
        return []
    total = first + torch.stack([y for _, y in branches]).sum(0)
    if (total - final).norm() > 1e-3 * final.norm():
        return []
    at = torch.tensor([0 if i is None else i for i in targets])
    rows = []
    with torch.no_grad():
        for path, y in [("embedding", first), *branches]:
            logits = heads[-1].module(wiring.leave(final - y), heads[-1].info)[0][shown]  # type: ignore[operator]
            p = logits.double().softmax(-1).gather(-1, at[:, None])[:, 0]
            rows.append({"path": path, "p": [None if i is None else float(x) for x, i in zip(p, targets)]})
    return rows
