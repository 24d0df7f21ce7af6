"""What the gradient says: how far each input token reaches into each answer, and, for a loss, how much of it arrives at every layer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from components.errors import UserError
from components.explain.asking import Asked
from components.explain.pack import Array
from components.explain.recorder import Recorder
from components.explain.subject import Subject
from components.makers import make
from components.sockets import Batch, Layer
from components.task.objectives import Preparation


def influence(subject: Subject, recorder: Recorder, asked: Asked, shown: slice, targets: list[int | None]) -> Array | None:
    """(targets, T): d logit / d embedding of each token times that embedding: to first order, what the token adds to the logit of the answer.

    Simonyan et al. 2013, arXiv:1312.6034; gradient times input: Shrikumar et al. 2016, arXiv:1605.01713
    """
    embeddings = recorder.of_kind("embedding")
    heads = [c for c in recorder.of_kind("head") if isinstance(c.y, Tensor)]
    if not embeddings or not heads:
        return None
    leaf: list[Tensor] = []

    def grow(_: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:  # noqa: ARG001
        leaf.append(output.detach().requires_grad_(True))
        return leaf[-1]

    handle = embeddings[0].module.register_forward_hook(grow)
    try:
        with torch.enable_grad():
            logits = subject.model(asked.batch)
            tokens = leaf[0]  # what an encoder reads comes first
            rows = []
            for t, target in (
                zip(range(logits.shape[1])[shown], targets, strict=True) if logits.dim() == 3 else ((0, targets[0]),)
            ):
                if target is None:
                    rows.append(torch.zeros(tokens.shape[1]))
                    continue
                row = logits[0, t] if logits.dim() == 3 else logits[0]
                (gradient,) = torch.autograd.grad(row[target], tokens, retain_graph=True, allow_unused=True)
                rows.append(torch.zeros(tokens.shape[1]) if gradient is None else (gradient * tokens.detach())[0].sum(-1))
    finally:
        handle.remove()
    columns = slice(None) if len(leaf) > 1 else shown
    return Array(torch.stack(rows)[:, columns])


def backward(subject: Subject, batch: Batch, seed: int) -> dict[str, Any]:
    """One backward pass of the config's own loss: the loss, and the gradient at every layer and every weight.

    Args:
        subject: its loss is made anew; one that learns from another model is refused.
        batch: one row with targets.
        seed: of what the loss draws in preparing the batch.

    Returns: {loss, terms, stream: [{path, norm}], layers: [{path, gradient, weights}], weights: [{name, gradient, norm, dead, of}]}.

    Raises:
        UserError: the loss cannot be had from one text.
    """
    model = subject.model
    vocabulary = getattr(subject.tokenizer, "vocab_size", None) or getattr(model, "vocab_size", 1)
    loss = make(subject.config["loss"], "loss", vocab_size=vocabulary)
    if getattr(loss, "wants", None) == "teacher":
        raise UserError("--loss", "this loss learns from another model", "explain without --loss, or choose loss=next_token")
    batch = Preparation(loss, seed).step(batch, 0)
    streams: list[tuple[str, Tensor]] = []
    handles = [m.register_forward_hook(_keeper(path, streams)) for path, m in model.named_modules() if isinstance(m, Layer)]
    for p in model.parameters():
        p.grad = None
    wanted = [p for p in model.parameters() if not p.requires_grad]
    try:
        with torch.enable_grad():
            for p in wanted:
                p.requires_grad_(True)
            terms = model(batch, loss)
            parts = {
                n: terms.aim.get(n, 1.0) * float(s.detach() / w.detach().clamp(min=1e-9)) for n, (s, w) in terms.losses.items()
            }
            total = torch.stack([terms.aim.get(n, 1.0) * s / w.clamp(min=1e-9) for n, (s, w) in terms.losses.items()]).sum()
            total.backward()
        return {
            "loss": float(total.detach()),
            "terms": parts,
            "tokens": int((batch.targets != -100).sum()) if batch.targets is not None else None,
            "stream": [{"path": p, "norm": float(s.grad.norm()) if s.grad is not None else 0.0} for p, s in streams],
            **_weights(model),
        }
    finally:
        for h in handles:
            h.remove()
        for p in wanted:
            p.requires_grad_(False)
        for p in model.parameters():
            p.grad = None


def _keeper(path: str, streams: list[tuple[str, Tensor]]) -> Any:
    def hook(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001
        s = output[0]
        if s.requires_grad:
            s.retain_grad()
            streams.append((path, s))

    return hook


def _weights(model: nn.Module) -> dict[str, Any]:
    layer_of = {path: path for path, m in model.named_modules() if isinstance(m, Layer)}
    rows, by_layer = [], {}
    for name, p in model.named_parameters():
        gradient = torch.zeros_like(p) if p.grad is None else p.grad
        dead = int((gradient.flatten(1) == 0).all(1).sum()) if gradient.dim() > 1 else int((gradient == 0).sum())
        row = {
            "name": name,
            "gradient": float(gradient.norm()),
            "norm": float(p.detach().norm()),
            "dead": dead,
            "of": p.shape[0] if p.dim() else 1,
        }
        rows.append(row)
        where = next((q for q in layer_of if name.startswith(f"{q}.")), name.partition(".")[0])
        squares = by_layer.setdefault(where, [0.0, 0.0])
        squares[0] += row["gradient"] ** 2
        squares[1] += row["norm"] ** 2
    layers = [{"path": where, "gradient": g**0.5, "weights": w**0.5} for where, (g, w) in by_layer.items()]
    return {"layers": layers, "weights": rows}


def with_targets(asked: Asked) -> Batch:
    """The explained row as it would be trained on: each position is asked for the token that follows."""
    batch, ids = asked.batch, asked.batch.ids
    targets = torch.cat((ids[:, 1:], torch.full_like(ids[:, :1], -100)), 1)
    if asked.why_not:  # what is hidden and asked for, the loss says itself
        targets = ids.clone()
    if batch.source is None:
        targets[:, asked.given - 1 :] = -100 if asked.writes else targets[:, asked.given - 1 :]
    return replace(batch, targets=targets)
