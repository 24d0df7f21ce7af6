"""Properties of kinds that are not on a model's path: samplers, schedules, optimizers, inits, losses."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from components import build
from components.check.building import equal, first_difference
from components.check.cases import Violation, holds
from components.check.host import VOCAB, Host, ids
from components.check.subject import Subject
from components.check.values import finite
from components.core.errors import UserError
from components.core.makers import make
from components.core.weights import MATRICES, Weight, generator_for, initialise, roles
from components.parts.optimizer._nested import averaging

STEPS = 100


def made(subject: Subject, **sizes: object) -> Any:
    return make(subject.maker, subject.kind, **sizes)


def some_logits() -> Tensor:
    return torch.randn(5, VOCAB, generator=torch.Generator().manual_seed(0)) * 3


@holds("keeps shape and dtype", "sampler")
def sampler_keeps_shape(host: Host) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        before = some_logits().to(dtype)
        given = before.clone()
        out = made(host.subject)(given, ids(5), None)
        if out.shape != before.shape or out.dtype != dtype:
            raise Violation(f"{tuple(before.shape)} {before.dtype} became {tuple(out.shape)} {out.dtype}".replace("torch.", ""))
        if not equal(given, before):
            raise Violation("the logits that it was given are changed in place")


@holds("leaves a token to draw", "sampler")
def sampler_leaves_a_token(host: Host) -> None:
    flat, one = torch.zeros(5, VOCAB), torch.full((5, VOCAB), -math.inf)
    one[:, 3] = 0.0
    for name, logits in (("random", some_logits()), ("equal", flat), ("all but one -inf", one), ("large", some_logits() * 1e3)):
        out = made(host.subject)(logits, ids(5), None)
        if out.isnan().any():
            raise Violation(f"{int(out.isnan().sum())} logits are NaN where they were {name}")
        if (out == math.inf).any() or not torch.isfinite(out).any(-1).all():
            raise Violation(f"no finite logit is left in a row where they were {name}")


@holds("ignores batch neighbours", "sampler", lack="batch_independent")
def sampler_ignores_neighbours(host: Host) -> None:
    together = made(host.subject)(some_logits(), ids(5), None)
    for row in range(5):
        alone = made(host.subject)(some_logits()[row : row + 1], ids(5)[row : row + 1], None)
        if not equal(together[row : row + 1], alone):
            raise Violation(f"row {row} is another one beside four others")


@holds("counts no padding", "sampler")
def sampler_counts_no_padding(host: Host) -> None:
    logits, given = some_logits(), ids(5)
    for length in (1, 2, given.shape[1]):
        own = given[:, given.shape[1] - length :]
        want = made(host.subject)(logits, own, None)
        for pad in (0, 3):
            padded = torch.cat((torch.full((5, 6), pad), own), 1)
            valid = torch.arange(padded.shape[1]).expand(5, -1) >= 6
            if not equal(made(host.subject)(logits, padded, valid), want):
                raise Violation(f"six places of padding before {length} tokens change the logits")


@holds("is finite and never negative", "schedule")
def schedule_is_finite(host: Host) -> None:
    for total in (1, 2, STEPS):
        try:
            schedule = made(host.subject, total_steps=total)
        except UserError:
            if total == STEPS:
                raise
            continue  # a run that is too short for it is refused in so many words
        factors = [float(schedule(i)) for i in range(total + 1)]
        for i, factor in enumerate(factors):
            if not (math.isfinite(factor) and factor >= 0.0):
                raise Violation(f"step {i} of {total}: {factor}")
        if total == STEPS and not max(factors) > 0:
            raise Violation("it is 0 at every step")


@holds("is a function of the step", "schedule")
def schedule_is_a_function(host: Host) -> None:
    one, other = (made(host.subject, total_steps=STEPS) for _ in range(2))
    forward, backward = [one(i) for i in range(STEPS)], [other(i) for i in reversed(range(STEPS))][::-1]
    for i, (a, b) in enumerate(zip(forward, backward)):
        if a != b:
            raise Violation(f"step {i} is {a} when asked in order and {b} when asked backwards: a resumed run would differ")


# optimizers


class Bowl:
    """The weights of a small decoder in a quadratic bowl of their own."""

    def __init__(self, subject: Subject) -> None:
        self.model = build("model", "decoder", vocab_size=VOCAB, d_model=16, n_layers=1, context_length=8)
        self.frozen = next(p for n, p in self.model.named_parameters() if n.endswith("ffn.up.weight"))
        self.frozen.requires_grad_(False)
        generator = torch.Generator().manual_seed(2)
        self.aim = [torch.empty(p.shape).normal_(0.0, 1.0, generator=generator) for p in self.model.parameters()]
        self.optimizer = made(subject, weights=list(roles(self.model)))
        self.averaging: Any = averaging(self.optimizer)

    def loss(self) -> Tensor:
        return torch.stack([(p - aim).square().sum() for p, aim in zip(self.model.parameters(), self.aim)]).sum()

    def step(self, times: int) -> None:
        if self.averaging is not None:
            self.averaging.train()
        for _ in range(times):
            self.optimizer.zero_grad()
            (self.loss() / 100).backward()
            self.optimizer.step()


@holds("goes down a quadratic bowl", "optimizer")
def optimizer_descends(host: Host) -> None:
    bowl = Bowl(host.subject)
    before = bowl.loss().item()
    bowl.step(20)
    if bowl.averaging is not None:
        bowl.averaging.eval()
    after = bowl.loss().item()
    if not after < before:
        raise Violation(f"the loss goes from {before:.4g} to {after:.4g} in 20 steps")


@holds("leaves frozen weights alone", "optimizer")
def optimizer_leaves_frozen(host: Host) -> None:
    bowl = Bowl(host.subject)
    before = bowl.frozen.detach().clone()
    bowl.step(3)
    if not equal(before, bowl.frozen):
        raise Violation(f"a frozen weight moved by {(before - bowl.frozen).abs().max():.2g}")


@holds("comes back from its state dict", "optimizer")
def optimizer_round_trip(host: Host) -> None:
    one, other = Bowl(host.subject), Bowl(host.subject)
    one.step(3)
    other.model.load_state_dict(one.model.state_dict())
    other.optimizer.load_state_dict(copy.deepcopy(one.optimizer.state_dict()))
    one.step(3)
    other.step(3)
    if name := first_difference(one.model.state_dict(), other.model.state_dict()):
        raise Violation(f"{name} differs three steps after loading: something is not in the state")


@holds("says the learning rate of every group", "optimizer")
def optimizer_groups(host: Host) -> None:
    for i, group in enumerate(Bowl(host.subject).optimizer.param_groups):
        if not (math.isfinite(float(group["lr"])) and float(group["lr"]) >= 0):
            raise Violation(f"group {i} has lr={group['lr']}")
        if not group["params"]:
            raise Violation(f"group {i} is empty")


# inits


def drawn_by(model: nn.Module, weight: Weight) -> Tensor | None:
    """What the model's init gives this weight under seed 0."""
    init: Any = model.init
    return init(weight, generator_for(0, weight.name))


@holds("draws from its generator alone", "init")
def init_is_seeded(host: Host) -> None:
    model = host.build()
    for weight in roles(model):
        values = []
        for state in (0, 1):
            torch.manual_seed(state)
            values.append(drawn_by(model, weight))
        if (values[0] is None) != (values[1] is None) or (values[0] is not None and not equal(*values)):
            raise Violation(f"{weight.name} is drawn otherwise under the same seed")


@holds("gives every matrix a value of full shape in fp32", "init")
def init_covers(host: Host) -> None:
    model = host.build()
    for weight in roles(model):
        value = drawn_by(model, weight)
        if value is None:
            if weight.role in MATRICES:
                raise Violation(f"{weight.name} of role {weight.role} is left as it happens to be")
            continue
        if value.shape != weight.parameter.shape or value.dtype != torch.float32:
            raise Violation(f"{weight.name}: {tuple(value.shape)} {value.dtype} for {tuple(weight.parameter.shape)}")
        finite(value, weight.name)


@holds("draws another model from another seed", "init")
def init_differs(host: Host) -> None:
    model = host.build()
    initialise(model, model.init, seed=1)
    one = {n: x.clone() for n, x in model.state_dict().items()}
    initialise(model, model.init, seed=2)
    if not first_difference(one, model.state_dict()):
        raise Violation("two seeds give the same weights")
