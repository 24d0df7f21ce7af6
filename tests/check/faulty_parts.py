"""Parts that break their contract on purpose, each in one way; what is sound stands first, to be broken below."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from components.core.flops import Flops, Work, children
from components.core.signature import Positive
from components.core.sockets import Maker, SequenceInfo, adopt, make
from components.functional.attention import attend
from components.functional.attention_mask import MaskSpec
from components.functional.earlier import starts
from components.parts.attention._cross import CrossAttention
from components.parts.attention.gqa import GroupedQueryAttention
from components.parts.cache.growing import Growing
from components.parts.evaluation.calibration import Calibration
from components.parts.evaluation.cloze import Cloze
from components.parts.evaluation.matching import Matching
from components.parts.evaluation.minimal_pairs import MinimalPairs
from components.parts.evaluation.parse_rate import ParseRate
from components.parts.mask.sliding_window import SlidingWindowMask
from components.parts.optimizer.sgd import SGD
from components.parts.tokenizer.byte import Byte

# sound


class Attention(nn.Module):
    """Plain softmax attention."""

    provides = ("rotates", "biases")
    axes = {"q": ("d_model", "heads"), "k": ("d_model", "heads"), "v": ("d_model", "heads"), "out": ("heads", "d_model")}

    def __init__(
        self,
        d_model: int,
        *,
        n_heads: Positive = 4,
        position: Maker["position"] = "inherit",
        mask: Maker["mask"] = "full",
    ) -> None:
        super().__init__()
        self.width = d_model // n_heads
        self.q, self.k, self.v, self.out = (nn.Linear(d_model, d_model, bias=False) for _ in range(4))
        self.mask = make(mask, "mask")
        adopt(self, "position", make(position, "position", d_model=d_model, n_heads=n_heads, head_dim=self.width))

    def heads(self, y: Tensor) -> Tensor:
        return y.unflatten(-1, (-1, self.width)).transpose(1, 2)

    def rotated(self, q: Tensor, k: Tensor, v: Tensor, info: SequenceInfo) -> tuple[Tensor, Tensor, Tensor]:
        return *self.position.rotate(q, k, info, info), v

    def forward(self, x: Tensor, info: SequenceInfo) -> Tensor:
        q, k, v = self.rotated(self.heads(self.q(x)), self.heads(self.k(x)), self.heads(self.v(x)), info)
        k_info = info
        if info.cache is not None:
            k, v, k_info = info.cache.slot(self, info.visit).append(k, v, info)
        return self.out(attend(q, k, v, MaskSpec(info, k_info, info.causal, self.mask)).transpose(1, 2).flatten(2))

    def flops(self, work: Work) -> Flops:
        wide, t = 4 * self.q.out_features, work.length
        return children(self, work, leave=("position", "mask")) + Flops(wide * t * t, wide * self.mask.cells(t, work.causal))


class FeedForward(nn.Module):
    """Two matrices with a bend."""

    axes: Any = {"up": ("d_model", "d_ff"), "out": ("d_ff", "d_model")}

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.up, self.out = nn.Linear(d_model, 2 * d_model, bias=False), nn.Linear(2 * d_model, d_model, bias=False)

    def forward(self, x: Tensor, info: SequenceInfo) -> Tensor:  # noqa: ARG002  the contract's second argument
        return self.out(torch.nn.functional.silu(self.up(x)))


class Leaky(nn.Module):
    """A leaky sum of what came before in the document."""

    axes = {"v": ("d_model", "heads"), "out": ("heads", "d_model")}

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.v, self.out = nn.Linear(d_model, d_model, bias=False), nn.Linear(d_model, d_model, bias=False)

    def kept(self, state: dict[str, Any], s: Tensor) -> None:
        state["sum"] = s

    def forward(self, x: Tensor, info: SequenceInfo) -> Tensor:
        v = self.v(x)
        state: dict[str, Any] = {} if info.cache is None else info.cache.slot(self, info.visit).state
        rows, length = v.shape[:2]
        new = starts(info, rows, length, state)
        s = state.get("sum", torch.zeros_like(v[:, 0]))
        read = []
        for t in range(length):
            if new is not None:
                s = torch.where(new[:, t, None], torch.zeros_like(s), s)
            after = 0.9 * s + 0.1 * v[:, t]
            s = after if info.valid is None else torch.where(info.valid[:, t, None], after, s)
            read.append(s)
        if info.cache is not None:
            self.kept(state, s)
        return self.out(torch.stack(read, 1))


class Norm(nn.Module):
    """Root mean square."""

    axes: Any = {"weight": ("d_model",)}

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * self.weight.to(x.dtype)


class Bidirectional(Attention):
    """Sees everything, and says so."""

    lacks = ("causal", "cacheable")

    def forward(self, x: Tensor, info: SequenceInfo) -> Tensor:
        return super().forward(x, info.with_(causal=False))


class WithReference(FeedForward):
    """Its formula beside it."""

    def reference(self, x: Tensor, info: SequenceInfo) -> Tensor:  # noqa: ARG002
        y = x @ self.up.weight.T
        return (y / (1 + torch.exp(-y))) @ self.out.weight.T


# faulty


class SeesOneAhead(FeedForward):
    def forward(self, x: Tensor, info: SequenceInfo) -> Tensor:
        return super().forward(x + 0.1 * torch.cat((x[:, 1:], torch.zeros_like(x[:, :1])), 1), info)


class IgnoresDocuments(Attention):
    def forward(self, x: Tensor, info: SequenceInfo) -> Tensor:
        return super().forward(x, info.with_(documents=None))


class IgnoresPadding(Attention):
    def forward(self, x: Tensor, info: SequenceInfo) -> Tensor:
        return super().forward(x, info.with_(valid=None))


class DeafToThePaddingOfTheMemory(CrossAttention):
    def __init__(self, d_model: int, d_memory: int) -> None:
        super().__init__(d_model, d_memory)

    def forward(self, x: Tensor, info: SequenceInfo) -> Tensor:
        return super().forward(x, info.with_(memory_info=info.memory_info.with_(valid=None)))


class IgnoresPaddingOfTheMemory(GroupedQueryAttention):
    """As cross attention only."""

    provides = ("rotates", "memory")
    across = DeafToThePaddingOfTheMemory

    def __init__(self, d_model: int, *, position: Maker["position"] = "inherit") -> None:
        super().__init__(d_model, position=position)


class StateRunsThroughPadding(Leaky):
    def forward(self, x: Tensor, info: SequenceInfo) -> Tensor:
        return super().forward(x, info.with_(valid=None))


class OffByOneAtTheEdge(SlidingWindowMask):
    """The window is one wider when a cache stands between query and keys."""

    checked_with = ("window=5",)

    def __init__(self, *, window: Positive = 64) -> None:
        super().__init__(window=window)

    def allow(self, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        cached = q_positions.shape[1] != k_positions.shape[2]
        return (q_positions - k_positions).abs() < self.window + cached


class MiscountsCells(SlidingWindowMask):
    checked_with = ("window=5",)

    def __init__(self, *, window: Positive = 64) -> None:
        super().__init__(window=window)

    def cells(self, length: int, causal: bool) -> int:
        return super().cells(length, causal) - length


class RotatesValues(Attention):
    def rotated(self, q: Tensor, k: Tensor, v: Tensor, info: SequenceInfo) -> tuple[Tensor, Tensor, Tensor]:
        return *self.position.rotate(q, k, info, info), self.position.rotate(v, v, info, info)[0]


class WidensBf16(FeedForward):
    def forward(self, x: Tensor, info: SequenceInfo) -> Tensor:
        y = super().forward(x, info)
        return y.float() if y.dtype == torch.bfloat16 else y


class Overflows(FeedForward):
    def forward(self, x: Tensor, info: SequenceInfo) -> Tensor:
        return super().forward(x, info) + (x * 1e30).square() * 0.0


class DeadParameter(FeedForward):
    axes = {**FeedForward.axes, "scale": ("d_model",)}

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.scale = nn.Parameter(torch.empty(d_model))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.ones_(self.scale)

    def forward(self, x: Tensor, info: SequenceInfo) -> Tensor:
        return super().forward(x * torch.cat((self.scale[:1], torch.ones_like(self.scale[1:]))), info)


class UndeclaredParameter(Norm):
    axes = {}


class ReportsHalf(Attention):
    def flops(self, work: Work) -> Flops:
        return children(self, work, leave=("position",))


class PromisesTooMuch(Attention):
    def flops(self, work: Work) -> Flops:
        found = super().flops(work)
        return Flops(found.executed, 2 * found.executed)


class CallsTwiceReportsOnce(FeedForward):
    def forward(self, x: Tensor, info: SequenceInfo) -> Tensor:
        return super().forward(x, info) + 0.5 * super().forward(-x, info)


class NormsOverRows(Norm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - 0.5 * x.mean(0, keepdim=True))


class NormsOverRowsInTraining(Norm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - 0.5 * x.mean(0, keepdim=True) if self.training else x)


class CountsInForward(FeedForward):
    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.register_buffer("calls", torch.zeros(()))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.calls.zero_()

    def forward(self, x: Tensor, info: SequenceInfo) -> Tensor:
        if self.training:
            self.calls.add_(1)
        return super().forward(x, info)


class CountsInBf16(FeedForward):
    """Its count between steps is cast with the model."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.register_buffer("steps", torch.zeros(()))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.steps.zero_()

    def after_step(self, stats: dict[str, Tensor]) -> None:
        self.steps.add_(float(len(stats) > 0))


class GrowsWithCalls(FeedForward):
    """What it gives depends on how often it was asked, so that a recomputation gives something else."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.calls = 0

    def forward(self, x: Tensor, info: SequenceInfo) -> Tensor:
        self.calls += self.training
        return super().forward(x * (1 + self.calls), info)


class DrawsInConstructor(Norm):
    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight)


class DrawsOutsideTorch(FeedForward):
    def forward(self, x: Tensor, info: SequenceInfo) -> Tensor:
        return super().forward(x, info) * (1.0 + random.random() if self.training else 1.0)


class AsksAFigure(FeedForward):
    def forward(self, x: Tensor, info: SequenceInfo) -> Tensor:
        return super().forward(x, info) * (2.0 if x.sum().item() == 0.5 else 1.0)


class KeepsATensorAside(FeedForward):
    """A plain attribute: in no state dict."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.learned = 0.0

    def after_step(self, stats: dict[str, Tensor]) -> None:  # noqa: ARG002
        self.learned += 0.5

    def forward(self, x: Tensor, info: SequenceInfo) -> Tensor:
        return super().forward(x, info) * (1.0 + self.learned)


class LosesItsTableOnMeta(FeedForward):
    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.register_buffer("table", torch.linspace(0.5, 1.5, d_model), persistent=False)

    def forward(self, x: Tensor, info: SequenceInfo) -> Tensor:
        return super().forward(x * self.table, info)


class MakesParametersLate(FeedForward):
    def forward(self, x: Tensor, info: SequenceInfo) -> Tensor:
        if self.training and not hasattr(self, "late"):
            self.late = nn.Parameter(torch.zeros(x.shape[-1], dtype=x.dtype))
        return super().forward(x, info) + (self.late if self.training else 0.0)


class ChangesItsInput(FeedForward):
    def forward(self, x: Tensor, info: SequenceInfo) -> Tensor:
        y = super().forward(x, info)
        if not torch.is_grad_enabled():
            x.mul_(1.5)
        return y


class WritesOverItsState(Leaky):
    """A snapshot then holds what came after it."""

    def kept(self, state: dict[str, Any], s: Tensor) -> None:
        if "sum" in state:
            state["sum"].copy_(s)
        else:
            state["sum"] = s.clone()


class ForgetsItsState(Leaky):
    def kept(self, state: dict[str, Any], s: Tensor) -> None:
        pass


class CountsFromZero(nn.Module):
    """Positions by arange."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.d_model = d_model

    def embed(self, x: Tensor, info: SequenceInfo) -> Tensor:  # noqa: ARG002
        places = torch.arange(x.shape[1], device=x.device, dtype=x.dtype)[:, None]
        return x + torch.sin(places / torch.arange(1, self.d_model + 1, device=x.device, dtype=x.dtype))


class ClaimsToNeedTheBatch(Norm):
    lacks = ("batch_independent",)


class ClaimsNoCache(Attention):
    lacks = ("cacheable",)


class ClaimsNonsense(Norm):
    lacks = ("patience",)


class AnotherFormula(WithReference):
    def forward(self, x: Tensor, info: SequenceInfo) -> Tensor:  # noqa: ARG002
        return self.out(torch.relu(self.up(x)))


class RefusesEverything:
    def __call__(self, logits: Tensor, ids: Tensor, valid: Tensor | None) -> Tensor:  # noqa: ARG002
        return torch.full_like(logits, float("-inf"))


class ComparesRows:
    def __call__(self, logits: Tensor, ids: Tensor, valid: Tensor | None) -> Tensor:  # noqa: ARG002
        return logits + 0.1 * torch.arange(len(logits), dtype=logits.dtype)[:, None]


class ReadsPadding:
    def __call__(self, logits: Tensor, ids: Tensor, valid: Tensor | None) -> Tensor:  # noqa: ARG002
        return logits.scatter_add(1, ids, logits.new_full((), -0.1).expand(ids.shape))


class DrawsBelowZero:
    def __init__(self, total_steps: int) -> None:
        self.total = total_steps

    def __call__(self, step: int) -> float:
        return 0.5 - step / self.total


class CountsItsCalls:
    def __init__(self, total_steps: int) -> None:
        self.total, self.calls = total_steps, 0

    def __call__(self, step: int) -> float:  # noqa: ARG002
        self.calls += 1
        return 1.0 / self.calls


class Climbs(SGD):
    def __init__(self, weights: list) -> None:
        super().__init__(weights, lr=0.01)
        for group in self.param_groups:
            group["maximize"] = True


class ForgetsItsMomentum(SGD):
    def __init__(self, weights: list) -> None:
        super().__init__(weights, lr=0.01, momentum=0.9)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "state": {}}


class DrawsFromTheWorld:
    def __call__(self, weight: Any, generator: torch.Generator) -> Tensor | None:  # noqa: ARG002
        return None if weight.role in ("scale", "bias", "special") else torch.randn(weight.parameter.shape)


class LeavesTheHead:
    def __call__(self, weight: Any, generator: torch.Generator) -> Tensor | None:
        if weight.role in ("scale", "bias", "special", "head"):
            return None
        return torch.empty(weight.parameter.shape).normal_(generator=generator)


class KeepsTheOrderOfRows(Growing):
    def __init__(self) -> None:
        super().__init__()

    def reorder(self, rows: Tensor) -> None:
        super().reorder(torch.arange(rows.shape[0]) % self.rows)


class StartsAwake:
    """An adapter that changes the model before its first step."""

    def __init__(self) -> None:
        pass

    def apply(self, model: nn.Module) -> nn.Module:
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(1.1)
                p.requires_grad_(False)
        return model


class SwallowsSpaces(Byte):
    def decode(self, ids: Any) -> str:
        return super().decode(ids).replace("  ", " ")


class ForgetsNothing(Byte):
    lacks = ("round_trip",)


class CountsPadding:
    """A loss over every position, asked for or not."""

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    def __call__(self, hidden: Tensor, head: Any, batch: Any) -> Any:
        from components.core.sockets import Terms

        logits = head(hidden).float()
        return Terms({"loss": (logits.logsumexp(-1).sum(), torch.tensor(float(batch.ids.numel())))}, aim={"loss": 1.0})


class LooksAtTheAnswer(Cloze):
    """The real word is scored with what follows it as well, which no other choice is."""

    def __init__(self) -> None:
        super().__init__(band=5)

    def measure(self, model: Any, held: Any) -> Any:
        class Peeks:
            fit = staticmethod(model.fit)

            @staticmethod
            def score(texts: list[str]) -> list[float]:
                return [s + 100.0 * any(t.startswith(text) for t in held.texts()) for s, text in zip(model.score(texts), texts)]

        return super().measure(Peeks(), held)


class DrawsUnseeded(MinimalPairs):
    def __init__(self) -> None:
        super().__init__(count=20)

    def measure(self, model: Any, held: Any) -> Any:
        self.seed = random.randrange(2**31)
        return super().measure(model, held)


class AsksInSecret(ParseRate):
    """It scores texts, and declares that it writes them."""

    def __init__(self) -> None:
        super().__init__(count=5)

    def measure(self, model: Any, held: Any) -> Any:
        model.score(["a text"])
        return super().measure(model, held)


class PrefersTheWrong(MinimalPairs):
    """The pair the other way round: at chance for one that guesses, and wrong for one that knows."""

    def __init__(self) -> None:
        super().__init__(count=100)

    def measure(self, model: Any, held: Any) -> Any:
        return {n: replace(f, value=1 - f.value) for n, f in super().measure(model, held).items()}


class SaysTheOtherWay(Calibration):
    """A larger error of calibration is called the better one."""

    def __init__(self) -> None:
        super().__init__(count=50)
        self.gives = {**self.gives, "expected_calibration_error": "higher"}


class HidesAFigure(Cloze):
    gives = {"accuracy": "higher"}

    def __init__(self) -> None:
        super().__init__(band=5)


class PromisesAFigure(Cloze):
    gives = {**Cloze.gives, "f1": "higher"}

    def __init__(self) -> None:
        super().__init__(band=5)


class DeclaresNoFigure(Matching):
    gives = {}

    def __init__(self) -> None:
        super().__init__(count=50)


class SaysNoError(Matching):
    def __init__(self) -> None:
        super().__init__(count=50)

    def measure(self, model: Any, held: Any) -> Any:
        return {n: replace(f, error=None) for n, f in super().measure(model, held).items()}
