"""What happens between embedding and logits: the stream after every layer, what each branch wrote, what the head would have said there."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from components.explain import mixers
from components.explain.mixers import Reading
from components.explain.pack import Array
from components.explain.recorder import Call, Recorder
from components.explain.steps import top_of
from components.explain.trace import Ablation, Branch, LayerTrace, LensRow, Mixer, Neurons
from components.functional.routing import Routing

LENS, NEURONS = 5, 8


@runtime_checkable
class Leaves(Protocol):
    """What closes the stream."""

    def leave(self, s: Tensor, /) -> Tensor: ...


@runtime_checkable
class Closes(Protocol):
    """A residual: the stream that it keeps -> (B, T, D)."""

    def close(self, s: Tensor, /) -> Tensor: ...


def wiring_of(model: nn.Module, path: str) -> tuple[str, nn.Module]:
    """(path, module) of the nearest module around a layer that opens and closes the stream; the model itself where there is none."""
    modules = dict(model.named_modules())
    parts = path.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        found = modules[".".join(parts[:cut])]
        if isinstance(found, Leaves):
            return ".".join(parts[:cut]), found
    return "", model


def closed(wiring: nn.Module, s: Tensor) -> Tensor:
    """The stream as (B, T, D), whatever the residual keeps."""
    residual = dict(wiring.named_children()).get("residual")
    return residual.close(s) if isinstance(residual, Closes) else s


def sides_of(recorder: Recorder, source: bool) -> list[str]:
    """Paths of the stacks in the order of their calls; the last one leads to the logits. Without layers, names for what reads and writes."""
    found = list(dict.fromkeys(wiring_of(recorder.model, c.path)[0] for c in recorder.layers))
    return found or (["encoder", "decoder"] if source else [""])


def branches(recorder: Recorder) -> list[Call]:
    """Calls of the attentions and ffns that stand in no other of their kind, without those that stand for none."""
    return [c for kind in ("attention", "ffn") for c in recorder.of_kind(kind) if isinstance(c.y, Tensor) and not absent(c)]


def layer_calls(recorder: Recorder, sides: list[str], *, source: bool) -> list[tuple[Call, int]]:
    """(call, index of its side) of each layer; then of each mixer that stands in none, which counts as a layer of its own."""
    found = []
    for call in [*recorder.layers, *(c for c in branches(recorder) if c.kind == "attention" and c.layer is None)]:
        path, _ = wiring_of(recorder.model, call.path)
        side = sides.index(path) if path in sides else len(sides) - 1
        if call.kind == "attention" and source and (call.info is None or call.info.memory is None):
            side = 0
        found.append((call, side))
    return found


def layers(recorder: Recorder, sides: list[str], shown: slice, *, source: bool) -> tuple[list[LayerTrace], list[Mixer]]:
    """(layers, mixers) of the trace, in the order of their calls. A mixer that stands in no layer counts as a layer of its own.

    Args:
        recorder: of a pass over one row.
        sides: as ``sides_of`` gives them.
        shown: positions of the text that the page shows.
        source: whether the first side reads a source, all of which is shown.
    """
    found: list[LayerTrace] = []
    readers: list[Mixer] = []
    outer = branches(recorder)
    for call, side in layer_calls(recorder, sides, source=source):
        inside = call.kind != "attention"
        _, wiring = wiring_of(recorder.model, call.path)
        rows = slice(None) if source and side == 0 and len(sides) > 1 else shown
        before, after = ((closed(wiring, s) if inside else s)[0] for s in (call.x, call.y))
        visit = sum(x.path == call.path for x in found)
        norms = Array(after[rows].norm(dim=-1)), Array(before[rows].norm(dim=-1))
        layer = LayerTrace(call.path, side, [], visit, *norms)
        for inner in [c for c in outer if c.layer == call.layer] if inside else [call]:
            branch = Branch(inner.path.rpartition(".")[2], inner.kind, inner.path, Array(inner.y[0][rows].norm(dim=-1)))
            if inner.kind == "attention":
                made = [mixer(inner, reading, len(found), side, rows) for reading in mixers.readings(inner)]
                branch.mixers = list(range(len(readers), len(readers) + len(made)))
                readers += made
            else:
                branch.neurons = neurons(recorder, inner, rows)
            layer.branches.append(branch)
        found.append(layer)
    return found, readers


def absent(call: Call) -> bool:
    """Whether the part stands for none of its kind and gives zeros."""
    return bool(call.module.absent)


def mixer(call: Call, r: Reading, layer: int, side: int, shown: slice) -> Mixer:
    """One reading, as the page draws it and spells it out."""
    crossed = bool(call.module.crosses)
    columns = slice(None) if crossed else shown
    outside = None if crossed or shown.start in (None, 0) else Array(r.weights[:, shown, : shown.start].sum(-1))

    def array(x: Tensor | None, *places: slice, rank: int = 0) -> Array | None:
        return None if x is None else Array(x[(slice(None), *places)], rank=rank)

    return Mixer(
        path=call.path,
        layer=layer,
        how=r.how,
        heads=r.weights.shape[0],
        side=side,
        reads=0 if crossed else side,
        crossed=crossed,
        weights=Array(r.weights[:, shown, columns]),
        outside=outside,
        decay=array(r.decay, shown),
        divisor=array(r.divisor, shown),
        q=array(r.q, shown, rank=2),
        k=array(r.k, columns, rank=2),
        v=array(r.values, columns, rank=3),
        bias=array(r.bias, shown, columns, rank=1),
        seen=None if r.seen is None else [_row(x) for x in r.seen[0, shown, columns]],
        scale=r.scale,
        soft_cap=r.soft_cap,
        sinks=None if r.sinks is None else r.sinks.detach().tolist(),
        mixing=None if r.mixing is None else r.mixing.tolist(),
        maps=None if r.mixing is None else array(r.maps, shown, columns, rank=2),
        context_norm=None if r.context is None else Array(r.context[:, shown].norm(dim=-1)),
    )


def _row(seen: Tensor) -> str:
    return "".join("1" if x else "0" for x in seen.tolist())


def neurons(recorder: Recorder, call: Call, shown: slice) -> Neurons | None:
    """The hidden layer of an FFN, which is what its projection ``out`` read; of a mixture, the experts too. None where it has neither."""
    outs = [
        c for c in recorder.linears if c.layer == call.layer and c.path.startswith(f"{call.path}.") and c.path.endswith("out")
    ]
    outs = [c for c in outs if isinstance(c.x, Tensor) and c.x.dim() == 3]
    routers = [c for c in recorder.calls if c.kind == "router" and c.path.startswith(f"{call.path}.") and c.layer == call.layer]
    data = Neurons()
    if outs:
        hidden = outs[-1].x[0]
        data.width = hidden.shape[-1]
        top = hidden[shown].abs().topk(min(NEURONS, hidden.shape[-1]), -1).indices
        data.top = [[(int(i), float(row[i])) for i in best] for row, best in zip(hidden[shown], top)]
        data.active = Array((hidden[shown] != 0).float().mean(-1))
        data.silent = int((hidden == 0).all(0).sum())
    if routers:
        routing = routers[0].y
        data.experts = experts(routing, shown, call.x.shape[1]) if isinstance(routing, Routing) else None
    return data if outs or routers else None


def experts(routing: Routing, shown: slice, length: int) -> list[list[tuple[int, float]]]:
    """For each position its (expert, weight), the greatest weight first."""
    chosen: list[list[tuple[int, float]]] = [[] for _ in range(length)]
    for token, expert, weight, kept in zip(
        *(x.tolist() for x in (routing.tokens, routing.experts, routing.weights, routing.kept))
    ):
        if kept and token < length:
            chosen[token].append((expert, weight))
    return [sorted(c, key=lambda e: -e[1]) for c in chosen[shown]]


def logit_lens(recorder: Recorder, side: str, shown: slice, targets: list[int | None]) -> list[LensRow]:
    """What the head says of the stream before the first layer and after each: the likeliest tokens, and the probability of the one that follows.

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
            logits = heads[-1].module(wiring.leave(s), heads[-1].info)[0][shown]  # type: ignore[operator]  # wiring_of found its `leave`
            p = logits.double().softmax(-1)
            follow = [None if i is None else float(row[i]) for row, i in zip(p, targets)]
            rows.append(LensRow(name, [top_of(row, LENS) for row in logits], follow))
    return rows


def ablate_branches(recorder: Recorder, side: str, shown: slice, targets: list[int | None]) -> list[Ablation]:
    """The probability of the token that follows if one branch had written nothing and all else stayed: its direct effect on the answer.

    Empty unless the stream is the plain sum of what was written into it, which is tried out here.
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
            logits = heads[-1].module(wiring.leave(final - y), heads[-1].info)[0][shown]  # type: ignore[operator]  # wiring_of found its `leave`
            p = logits.double().softmax(-1).gather(-1, at[:, None])[:, 0]
            rows.append(Ablation(path, [None if i is None else float(x) for x, i in zip(p, targets)]))
    return rows
