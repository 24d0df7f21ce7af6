"""The trace for a terminal: the same numbers as on the page, those of the answer first."""

from __future__ import annotations

from components.core import layout
from components.explain.answers import layer_name, quoted, readable_path, share
from components.explain.parts import walk
from components.explain.trace import Trace

HEAVIEST = 3


def table(trace: Trace) -> str:
    """The whole table as text."""
    lines = [layout.styled(f"{trace.name}  ({trace.trained})", "bold"), *_text(trace)]
    for name, part in (
        ("why it said that", _answers(trace)),
        ("the stream through the layers, at the token before the first answer", _stream(trace)),
        ("attention: what that token reads in each head", _attention(trace)),
        ("the whole network", _network(trace)),
        ("gradients", _gradients(trace)),
        ("parts", _parts(trace)),
    ):
        if part:
            lines += ["", layout.styled(name, "bold"), *part]
    for note in trace.notes:
        lines += ["", *layout.paragraph(note)]
    return "\n".join(lines)


def chosen(trace: Trace) -> int:
    """The position that a reader begins with: the one before the first token that the model wrote, else the last."""
    steps = trace.steps
    last = len(trace.tokens) - 1
    return max(0, min(steps[0].position - trace.first, last)) if steps else max(0, last)


def _text(trace: Trace) -> list[str]:
    given = trace.given - trace.first
    rows = [("read", " ".join(quoted(x.text) for x in trace.tokens[: max(0, given)]))]
    if trace.source is not None:
        rows.insert(0, ("source", " ".join(quoted(x.text) for x in trace.source)))
    if trace.tokens[max(0, given) :]:
        rows.append(("wrote", " ".join(quoted(x.text) for x in trace.tokens[max(0, given) :])))
    return layout.table(rows, indent=0) if trace.tokens else []


def _answers(trace: Trace) -> list[str]:
    answers = trace.answers
    written = [a for a in answers if a.written]
    if not answers:
        return []
    first = answers[0 if trace.whole is not None else chosen(trace)]  # a classifier answers once, for all positions
    lines = [f"  {quoted(first.said)}"]
    lines += layout.table([(s.about, s.text) for s in first.sentences], indent=4)
    if len(written) > 1:
        steps = {s.position: s for s in trace.steps}
        rows = []
        for t, answer in enumerate(answers):
            step = steps.get(t + trace.first)
            if step is not None:
                p = next((s.p for s in step.stages[:1]), None)
                kept = f"{step.stages[-1].kept:,}"
                others = " ".join(quoted(trace.words[str(c.id)]) for c in step.stages[0].top[:4])
                drawn = f"{step.drawn:.4f}" if step.drawn is not None else ""
                rows.append((quoted(answer.said), "" if p is None else share(p), kept, drawn, others))
        lines += ["", *layout.table(rows, head=("wrote", "p", "kept", "drawn", "likeliest"))]
    return lines


def _stream(trace: Trace) -> list[str]:
    t, side = chosen(trace), len(trace.sides) - 1
    layers = [x for x in trace.layers if x.side == side]
    if not layers:
        return []
    without = {w.path: p for w in trace.without if (p := w.p[t]) is not None}
    rows = []
    for n, name in enumerate(["embedding", *(layer_name(x.path) for x in layers)]):
        norm = layers[0].norm_before.tensor[t] if n == 0 else layers[n - 1].norm.tensor[t]
        branches = [] if n == 0 else layers[n - 1].branches
        wrote = ", ".join(f"{b.name} {float(b.norm.tensor[t]):.3g}" for b in branches)
        gone = ", ".join(f"{b.name} {share(without[b.path])}" for b in branches if b.path in without)
        lens = trace.lens[n] if trace.lens else None
        likeliest = [] if lens is None else lens.top[t][:2]
        says = " ".join(f"{quoted(trace.words[str(c.id)])} {share(c.p)}" for c in likeliest)
        rows.append((name, f"{float(norm):.3g}", wrote, gone, says))
    return layout.table(rows, head=("after", "length", "wrote", "p without", "would say"), limit=40)


def _attention(trace: Trace) -> list[str]:
    t, rows = chosen(trace), []
    for m in trace.mixers:
        if m.side != len(trace.sides) - 1:
            continue
        tokens = trace.source if m.crossed and trace.source is not None else trace.tokens
        for head in range(m.heads):
            row = m.weights.tensor[head, t]
            best = row.abs().topk(min(HEAVIEST, len(row))).indices.tolist()
            reads = ", ".join(f"{quoted(tokens[s].text)} {float(row[s]):.3f}" for s in best if row[s])
            rows.append((readable_path(m.path).removeprefix("the "), str(head), m.how, reads))
    return layout.table(rows, head=("layer", "head", "weights", "reads most"))


def _network(trace: Trace) -> list[str]:
    if trace.network is None:
        return []
    rows = []
    for n, layer in enumerate(trace.network.layers):
        inputs, sums, outputs = layer.inputs[-1], layer.sums[-1], layer.outputs[-1]
        for j, (weights, total, given) in enumerate(zip(layer.weights, sums, outputs)):
            terms = " + ".join(f"{x:.4g}·{w:.4g}" if w >= 0 else f"{x:.4g}·({w:.4g})" for x, w in zip(inputs, weights))
            bias = "" if layer.bias is None else f" + {layer.bias[j]:.4g}"
            rows.append((f"{n}.{j}", f"{given:.4g}", f"{terms}{bias} = {total:.4g}"))
    return layout.table(rows, head=("neuron", "gives", "sum"))


def _gradients(trace: Trace) -> list[str]:
    b = trace.backward
    if b is None:
        return []
    rows = [(layer_name(r.path), f"{r.gradient:.3g}", f"{r.weights:.3g}") for r in b.layers]
    dead = [(w.name, f"{w.dead:,} of {w.of:,}") for w in b.weights if w.dead and w.of > 1]
    lines = [f"  loss {b.loss:.4f}", *layout.table(rows, head=("part", "|gradient|", "|weights|"))]
    return lines + (["", *layout.table(dead, head=("no gradient at all", "rows"), limit=60)] if dead else [])


def _parts(trace: Trace) -> list[str]:
    rows = []
    for depth, node in walk(trace.model):
        if node.parameters or node.flops or not depth:
            times = f" x {node.times}" if node.times > 1 else ""
            flops = "" if node.flops is None else f"{node.flops:,}"
            rows.append(("  " * depth + node.name + times, node.label, f"{node.parameters:,}", flops, f"{node.bytes:,}"))
    return layout.table(rows, head=("part", "is", "parameters", "FLOPs", "bytes"), limit=44)
