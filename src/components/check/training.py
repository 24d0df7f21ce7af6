"""Properties of losses (terms count what was asked), adapters (they start without effect and merge exactly) and tunings
(rates)."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import nn
from torch.utils import _pytree as pytree

from components import build, merge
from components.check.building import equal
from components.check.cases import Violation, holds
from components.check.host import LENGTH, VOCAB, WIDTH, Host, ids, objective, put, scramble, total_loss
from components.check.off_path import made
from components.check.values import finite, tensors
from components.core import registry
from components.core.abilities import NeedsModels, TakesModel
from components.core.errors import UserError
from components.core.sockets import Batch, Terms
from components.core.traits import prepare_of, provides
from components.core.weights import roles
from components.corpus.batches import once_a_row
from components.functional.cross_entropy import IGNORED


def decoder(host: Host, *, model: str = "decoder", vocab: int = VOCAB, **sockets: object) -> nn.Module:
    sizes = {"vocab_size": vocab, "d_model": WIDTH, "n_layers": 2, "context_length": 2 * LENGTH}
    return scramble(put(build("model", model, **{**sizes, **sockets, **host.subject.around}), host.device), 0.1)


class Course:
    """A loss, with a model and a batch that give what it needs."""

    def __init__(self, host: Host) -> None:
        needs = host.subject.declared("needs") or {}
        self.loss, self.device = made(host.subject, vocab_size=VOCAB), host.device
        wiring = {"bidirectional": "encoder", "source": "encoder_decoder"}
        model = next((wiring[word] for word in needs.get("model", ()) if word in wiring), "decoder")
        heads = [
            e.name
            for e in registry.entries("head").values()
            if {*needs.get("head", ())} <= {*e.signature.declared.get("provides", ())}
        ]
        if not heads:
            raise UserError(host.subject.label, f"there is no head that provides {' and '.join(needs['head'])}")
        head = "linear" if "linear" in heads else heads[0]
        self.words = {*needs.get("head", ())}
        vocab = VOCAB + self.loss.extra_tokens
        self.model = decoder(host, model=model, vocab=vocab, head=head)
        if isinstance(self.loss, TakesModel):
            count = len(self.loss.runs) if isinstance(self.loss, NeedsModels) else 1
            teachers = [scramble(decoder(host, model=model, vocab=vocab, head=head), 0.1, seed=2 + i) for i in range(count)]
            self.loss.attach(nn.ModuleList(teachers) if isinstance(self.loss, NeedsModels) else teachers[0])

    def batch(self, *, asked: bool = True, seed: int = 0) -> Batch:
        values = ids()
        if self.words & {"classes", "amounts"}:
            numbers = self.words & {"amounts"}
            targets = torch.tensor([0.5, 1.5]) if numbers else torch.tensor([0, 1])
            asked_for = targets if asked else torch.full_like(targets, float("nan") if numbers else -100)
            return Batch(values, targets=asked_for).to(self.device)
        given = Batch(values, targets=values.roll(-1, 1))
        batch = self.prepared(answers_in(given, self.loss), seed).to(self.device)
        return batch if asked else replace(batch, targets=torch.full_like(batch.targets, -100))  # type: ignore[arg-type]

    def prepared(self, batch: Batch, seed: int) -> Batch:
        prepare = prepare_of(self.loss)
        return batch if prepare is None else prepare(batch, torch.Generator().manual_seed(seed))

    def terms(self, batch: Batch) -> Terms:
        return self.model(batch, self.loss)

    def figures(self, batch: Batch) -> dict[str, tuple[float, float]]:
        """The terms, with gradients on: a loss may compute less without them."""
        return {n: (float(s.detach()), float(torch.as_tensor(w).detach())) for n, (s, w) in self.terms(batch).losses.items()}


def answers_in(batch: Batch, loss: object) -> Batch:
    """``batch`` as rows of whole answers, where the loss reads such."""
    if provides(loss, "groups"):
        return groups_in(batch)
    return pairs_in(batch) if any(provides(loss, word) for word in ("pairs", "rewards")) else batch


def groups_in(batch: Batch) -> Batch:
    """Each row as one answer, with its reward and those of two others as long as it."""
    assert batch.targets is not None
    rewards = torch.tensor([1.0, 0.0, 0.5]).expand(len(batch.ids), 3)
    lengths = (batch.targets != IGNORED).sum(1, keepdim=True).expand(-1, 3)
    said = torch.full(batch.ids.shape, -3.0)
    return replace(batch, weights=once_a_row(batch.targets), rewards=rewards, lengths=lengths, reference=said)


def pairs_in(batch: Batch) -> Batch:
    """Each row as a pair: its first half is the chosen answer, the second the rejected one."""
    half = batch.ids.shape[1] // 2
    places = torch.arange(batch.ids.shape[1]).expand_as(batch.ids)
    weights = (places == 0).float()
    said = torch.tensor([[-3.0, -2.0]]).expand(len(batch.ids), 2)
    baseline = torch.full((len(batch.ids),), 0.5)
    given = {"documents": places // half, "positions": places % half, "weights": weights}
    return replace(batch, **given, reference=said, baseline=baseline)


@holds("is finite and has a gradient", "loss")
def loss_has_a_gradient(host: Host) -> None:
    course = Course(host)
    terms = course.terms(course.batch())
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
    grads = [p.grad for p in course.model.parameters() if p.grad is not None]
    for grad in grads:
        finite(grad, "a gradient")
    if not any(grad.abs().sum() > 0 for grad in grads):
        raise Violation("no parameter of the model has a gradient")


@holds("sums over rows", "loss")
def loss_adds_up(host: Host) -> None:
    """Sum and weight of two rows equal the sums over each alone, so that micro-batches and ranks change nothing."""
    course = Course(host)
    course.model.double()
    if isinstance(course.loss, TakesModel):
        course.loss.attached.double()
    batch = course.batch()
    rows = [pytree.tree_map(lambda x, i=i: x[i : i + 1], batch) for i in range(2)]
    together, alone = course.figures(batch), [course.figures(row) for row in rows]
    for name, figures in together.items():
        for what, i in (("sum", 0), ("weight", 1)):
            added = sum(a[name][i] for a in alone)
            if abs(figures[i] - added) > 1e-4 * max(1.0, abs(added)):
                raise Violation(f"the {what} of {name} is {figures[i]:.6g} for two rows, {added:.6g} for each alone")


@holds("counts only what is asked for", "loss")
def loss_ignores(host: Host) -> None:
    course = Course(host)
    for name, (total, weight) in course.figures(course.batch(asked=False)).items():
        if not (total == 0.0 and weight == 0.0):
            raise Violation(f"term {name} is {total:.4g} with weight {weight:.4g} where nothing is asked")


@holds("prepares the same batch under the same seed", "loss", applies=lambda host: prepare_of(host.subject.target) is not None)
def loss_prepares(host: Host) -> None:
    course = Course(host)
    given = Batch(ids(), targets=ids().roll(-1, 1))
    made_ = []
    for state in (0, 1):
        torch.manual_seed(state)
        made_.append(tensors(course.prepared(given, 3)))
    if not all(equal(a, b) for a, b in zip(*made_, strict=True)):
        raise Violation("it draws from another generator than the one that it is given")
    if not torch.equal(given.ids, ids()):
        raise Violation("it changes the batch that it is given")


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


@holds("merges exactly", "adapter", applies=lambda host: host.subject.label != "adapter/none")
def adapter_merges(host: Host) -> None:
    plain = decoder(host).double()
    model = made(host.subject).apply(decoder(host).double()).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(torch.empty(p.shape, dtype=p.dtype).normal_(0.0, 0.1, generator=generator))
        want = model(ids())
        merged = merge(model)
        error = (merged(ids()) - want).abs().max().item()
        moved = (want - plain.eval()(ids())).abs().max().item()
    if not moved > 0:
        raise Violation("its weights change nothing")
    if not error <= 1e-9:
        raise Violation(f"merged, logits differ by {error:.2g}")
    names = {n: p.shape for n, p in merged.named_parameters()}
    if names != {n: p.shape for n, p in plain.named_parameters()}:
        raise Violation("merged, the model has other parameters than without it")


def rates(host: Host, model: nn.Module) -> list[float]:
    return made(host.subject).rates(list(roles(model)))


@holds("gives each weight a rate", "tuning")
def tuning_gives_rates(host: Host) -> None:
    for wiring in ("decoder", "encoder_decoder"):
        model = decoder(host, model=wiring)
        found = rates(host, model)
        if len(found) != len(list(roles(model))):
            raise Violation(f"{len(found)} rates for the {len(list(roles(model)))} weights of {wiring}")
        if wrong := [r for r in found if not 0.0 <= r < math.inf]:
            raise Violation(f"{wrong[0]} is no factor on a learning rate")
        if not any(found):
            raise Violation(f"no weight of {wiring} is left to learn")


@holds("changes nothing itself", "tuning")
def tuning_only_says(host: Host) -> None:
    model, twin = decoder(host), decoder(host)
    rates(host, model)
    for (name, p), q in zip(model.named_parameters(), twin.parameters(), strict=True):
        if p.requires_grad != q.requires_grad or not torch.equal(p, q):
            raise Violation(f"{name} is another one after it was asked")


@holds("needs no values", "tuning")
def tuning_on_meta(host: Host) -> None:
    """Training asks a tuning about a model on meta, which has no values yet."""
    if rates(host, decoder(host).to("meta")) != rates(host, decoder(host)):
        raise Violation("it says something else of a model on the meta device")
