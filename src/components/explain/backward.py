"""Gradients: what each input token adds to each answer, and how much of a loss's gradient arrives at every layer."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from components.core.abilities import TakesModel
from components.core.errors import UserError
from components.core.makers import make
from components.core.sockets import Batch, Layer
from components.corpus.preparation import Preparation
from components.corpus.special_ids import stop_ids
from components.explain.asking import Asked
from components.explain.pack import Array
from components.explain.recorder import Recorder
from components.explain.subject import Subject
from components.explain.tokens import numbers
from components.explain.trace import Backward, LayerGradient, StreamGradient, WeightGradient


def influence(subject: Subject, recorder: Recorder, asked: Asked, shown: slice, targets: list[int | None]) -> Array | None:
    """(T, S): d logit / d embedding of each token, times that embedding: to first order, what the token adds to the logit of the answer.

    Simonyan et al. 2013, arXiv:1312.6034; gradient times input: Shrikumar et al. 2016, arXiv:1605.01713
    """
    embeddings = recorder.of_kind("embedding")
    heads = [c for c in recorder.of_kind("head") if isinstance(c.y, Tensor)]
    if not embeddings or not heads:
        return None
    leaf: list[Tensor] = []

    def grow(_: nn.Module, args: object, output: Tensor) -> Tensor:  # noqa: ARG001
        leaf.append(output.detach().requires_grad_(True))
        return leaf[-1]

    handle = embeddings[0].module.register_forward_hook(grow)
    try:
        with torch.enable_grad():
            logits = subject.model(asked.batch)
            tokens = leaf[0]  # an encoder embeds before a decoder does
            asks = (
                zip(range(logits.shape[1])[shown], targets, strict=True)
                if asked.output_kind == "tokens"
                else [(-1, targets[0])]
            )
            rows = []
            for t, target in asks:
                row = logits[0, t] if asked.output_kind == "tokens" else logits[0].reshape(-1)
                gradient = None
                if target is not None:
                    (gradient,) = torch.autograd.grad(row[target], tokens, retain_graph=True, allow_unused=True)
                rows.append(torch.zeros(tokens.shape[1]) if gradient is None else (gradient * tokens.detach())[0].sum(-1))
    finally:
        handle.remove()
    columns = slice(None) if len(leaf) > 1 else shown
    return Array(torch.stack(rows)[:, columns])


def backward(subject: Subject, batch: Batch, seed: int) -> Backward:
    """One backward pass of the config's own loss: the loss, and the gradient at every layer and every weight.

    Args:
        subject: its loss is made anew. A loss that learns from another model is refused.
        batch: one row with targets.
        seed: of what the loss draws in preparing the batch.

    Raises:
        UserError: the loss cannot be had from one text.
    """
    model = subject.model
    vocabulary = subject.tokenizer.vocab_size if subject.tokenizer is not None else getattr(model, "vocab_size", 1)
    loss = make(subject.config["loss"], "loss", vocab_size=vocabulary)
    if isinstance(loss, TakesModel):
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
        asked = None if batch.targets is None else int((batch.targets != -100).sum())
        stream = [StreamGradient(p, 0.0 if s.grad is None else float(s.grad.norm())) for p, s in streams]
        return Backward(float(total.detach()), parts, asked, stream, *_weights(model))
    finally:
        for h in handles:
            h.remove()
        for p in wanted:
            p.requires_grad_(False)
        for p in model.parameters():
            p.grad = None


def _keeper(path: str, streams: list[tuple[str, Tensor]]) -> Callable[..., None]:
    """A hook that keeps the gradient of a layer's stream."""

    def hook(_: nn.Module, args: object, output: tuple[Tensor, object]) -> None:  # noqa: ARG001
        s = output[0]
        if s.requires_grad:
            s.retain_grad()
            streams.append((path, s))

    return hook


def _weights(model: nn.Module) -> tuple[list[LayerGradient], list[WeightGradient]]:
    """Gradients by layer and by parameter."""
    layers = [path for path, m in model.named_modules() if isinstance(m, Layer)]
    rows: list[WeightGradient] = []
    by_layer: dict[str, list[float]] = {}
    for name, p in model.named_parameters():
        gradient = torch.zeros_like(p) if p.grad is None else p.grad
        dead = int((gradient.flatten(1) == 0).all(1).sum()) if gradient.dim() > 1 else int((gradient == 0).sum())
        row = WeightGradient(name, float(gradient.norm()), float(p.detach().norm()), dead, p.shape[0] if p.dim() else 1)
        rows.append(row)
        own = re.match(r"(\w+\.\d+)\.|(\w+)", name)
        where = next((q for q in layers if name.startswith(f"{q}.")), (own[1] or own[2]) if own else name)
        squares = by_layer.setdefault(where, [0.0, 0.0])
        squares[0] += row.gradient**2
        squares[1] += row.norm**2
    return [LayerGradient(where, g**0.5, w**0.5) for where, (g, w) in by_layer.items()], rows


def with_targets(subject: Subject, asked: Asked, target: str | None) -> Batch:
    """The explained input with the targets that training would give it.

    Args:
        subject: its tokenizer knows the labels.
        asked: of a text, each token that was given is the target of the one before it.
        target: a label, amounts with commas, or what an encoder-decoder should have written; None: what it did write.

    Raises:
        UserError: a target is missing, or the model does not know it.
    """
    batch, tokenizer = asked.batch, subject.tokenizer
    if asked.output_kind == "classes":
        labels = subject.labels
        if target not in labels:
            raise UserError("--target", f"{target!r} is no label of this model", f"--target one of {', '.join(labels)}")
        return replace(batch, targets=torch.tensor([labels.index(target)]))
    if asked.output_kind == "amounts":
        if target is None:
            raise UserError("--target", "a loss of amounts needs them", "--target 1.5,2")
        return replace(batch, targets=torch.tensor([numbers(target, 1)]))
    if batch.source is not None:
        written = tokenizer.encode(target) if target is not None else asked.ids[asked.given :]
        ids = torch.tensor([[*asked.ids[: asked.given], *written, *stop_ids(tokenizer)[:1]]])
        return Batch(ids[:, :-1], targets=ids[:, 1:], source=batch.source)
    if asked.why_not:  # the loss itself chooses what is hidden and asked for
        return replace(batch, targets=batch.ids.clone())
    ids = batch.ids[:, : asked.given]
    if ids.shape[1] < 2:
        raise UserError("--prompt", "one token has no next one to ask for", "give more text")
    return Batch(ids[:, :-1], targets=ids[:, 1:])
