"""Properties of losses and adapters: terms that count what was asked for; small weights that start as nothing and merge exactly."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from components import build
from components.check.cases import Violation, holds
from components.check.host import LENGTH, VOCAB, WIDTH, Host, ids, objective, scramble, total_loss
from components.check.off_path import made
from components.check.values import finite
from components.sockets import Batch, Terms


def decoder(host: Host, **sockets: Any) -> nn.Module:
    sizes = {"vocab_size": VOCAB, "d_model": WIDTH, "n_layers": 2, "context_length": LENGTH}
    model = build("model", "decoder", **{**sizes, **host.subject.around, **sockets})
    return scramble(model, 0.1)


def labelled(values: torch.Tensor, *, without: int = 0) -> Batch:
    """Next tokens as targets, the last ``without`` of every row not asked for."""
    targets = values.roll(-1, 1)
    targets[:, LENGTH - without :] = -100
    return Batch(values, targets=targets)


def terms_of(host: Host, model: nn.Module, batch: Batch, *, grad: bool = False) -> Terms:
    loss = made(host.subject, vocab_size=VOCAB)
    if isinstance(loss, nn.Module):
        loss = loss.train()
    terms = model(batch, loss)
    return terms if grad else Terms({n: (s.detach(), torch.as_tensor(w).detach()) for n, (s, w) in terms.losses.items()})


def by_position(host: Host) -> bool:
    """Losses that ask for a token at each position; others (of a whole sequence, of a source) have batches of their own."""
    return host.subject.label in ("loss/next_token", "loss/multi_token") or not getattr(host.subject.target, "of_rows", True)


@holds("is finite and has a gradient", "loss", applies=by_position)
def loss_has_a_gradient(host: Host) -> None:
    model = decoder(host)
    terms = terms_of(host, model, labelled(ids()), grad=True)
    if not terms.losses:
        raise Violation("it gives no term")
    for name, (total, weight) in terms.losses.items():
        if total.dtype != torch.float32 or total.ndim or torch.as_tensor(weight).ndim:
            raise Violation(
                f"term {name} is {total.dtype} of shape {tuple(total.shape)}, not one fp32 number".replace("torch.", "")
            )
        finite(total, f"term {name}")
        if not float(weight) > 0:
            raise Violation(f"term {name} has the weight {float(weight)}")
    total_loss(terms).backward()
    for name, p in model.named_parameters():
        if p.grad is not None:
            finite(p.grad, f"the gradient of {name}")
    if not any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters()):
        raise Violation("no parameter of the model has a gradient")


@holds("sums over rows", "loss", applies=by_position)
def loss_adds_up(host: Host) -> None:
    """Sum and weight of two rows together are those of each alone: micro-batches and ranks then change nothing."""
    model = decoder(host).double()
    values = ids()
    together = terms_of(host, model, labelled(values, without=3)).losses
    alone = [terms_of(host, model, labelled(values[i : i + 1], without=3)).losses for i in range(2)]
    for name, figures in together.items():
        for what, i in (("sum", 0), ("weight", 1)):
            added = sum(float(a[name][i]) for a in alone)
            if abs(float(figures[i]) - added) > 1e-4 * max(1.0, abs(added)):
                raise Violation(f"the {what} of {name} is {float(figures[i]):.6g} for two rows, {added:.6g} for each alone")


@holds("counts only what is asked for", "loss", applies=by_position)
def loss_ignores(host: Host) -> None:
    model = decoder(host).double()
    values = ids()
    none = terms_of(host, model, labelled(values, without=LENGTH)).losses
    for name, (total, weight) in none.items():
        if not (float(total) == 0.0 and float(weight) == 0.0):
            raise Violation(f"term {name} is {float(total):.4g} with weight {float(weight):.4g} where nothing is asked")


@holds("starts as the model without it", "adapter")
def adapter_starts_as_nothing(host: Host) -> None:
    plain = decoder(host).eval()
    want = plain(ids()).detach()
    adapted = made(host.subject).apply(decoder(host)).eval()
    error = (adapted(ids()) - want).abs().max().item()
    if not error <= 1e-5:
        raise Violation(f"before any step, logits differ by {error:.2g}")


@holds("trains only its own weights", "adapter", applies=lambda host: host.subject.label != "adapter/none")
def adapter_freezes(host: Host) -> None:
    before = {n: p.detach().clone() for n, p in decoder(host).named_parameters()}
    model = made(host.subject).apply(decoder(host))
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    if not trained:
        raise Violation("no weight is left to train")
    if own := sorted(trained & before.keys()):
        raise Violation(f"{own[0]} of the model itself is trained as well")
    total_loss(model(Batch(ids()), objective)).backward()
    if dead := [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]:
        raise Violation(f"{dead[0]} has no gradient")
