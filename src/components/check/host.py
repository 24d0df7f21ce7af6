"""A small model around any part, in which the properties are checked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from components.check.subject import Subject
from components.core import registry
from components.core.errors import UserError
from components.core.makers import make
from components.core.sockets import Batch, Terms
from components.core.traits import tokens_ahead

VOCAB, WIDTH, LENGTH, SOURCE = 40, 32, 12, 9
# kinds that a decoder has a socket for
SOCKETS = ("embedding", "position", "attention", "ffn", "norm", "block", "residual", "stack", "head", "init")
# kinds that stand inside another part: in which socket of the model, and what stands there
INSIDE: dict[str, tuple[str, dict[str, Any]]] = {
    "mask": ("attention", {"name": "gqa", "n_heads": 4, "n_kv_heads": 2}),
    "gate": ("attention", {"name": "gqa", "n_heads": 4, "n_kv_heads": 2}),
    "value": ("attention", {"name": "gqa", "n_heads": 4, "n_kv_heads": 2}),
    "sharing": ("attention", {"name": "gqa", "n_heads": 4, "n_kv_heads": 2}),
    "scaling": ("position", {"name": "rope"}),
    "router": ("ffn", {"name": "moe", "n_experts": 4}),
    "pooling": ("head", {"name": "classification"}),
}
ON_PATH = (*SOCKETS, *INSIDE, "model")


@dataclass(frozen=True)
class Host:
    """Builds the model that has the subject in its socket. ``wiring``: decoder, encoder (parts that lack causality), or cross (the decoder's

    second attention in an encoder-decoder); ``itself`` where the subject is a whole model. ``device``: where models and batches are put; what ``run``
    returns is on the CPU whatever it is."""

    subject: Subject
    wiring: str = "decoder"
    device: str = "cpu"

    @classmethod
    def of(cls, subject: Subject, device: str = "cpu") -> Host:
        if subject.kind == "model":
            return cls(subject, "itself", device)
        if subject.kind == "attention" and subject.signature.sizes.get("d_memory"):
            return cls(subject, "cross", device)
        return cls(subject, "encoder" if "causal" in subject.lacks or subject.kind == "pooling" else "decoder", device)

    def __str__(self) -> str:
        around = (
            "a model of its own"
            if self.wiring == "itself"
            else {"cross": "an encoder-decoder, as cross attention"}.get(
                self.wiring, f"{'an' if self.wiring == 'encoder' else 'a'} {self.wiring}"
            )
        )
        return f"in {around}: 2 layers, width {WIDTH}, {LENGTH} positions"

    @property
    def causal(self) -> bool:
        return self.wiring != "encoder" and not (self.wiring == "itself" and "causal" in self.subject.lacks)

    @property
    def has_source(self) -> bool:
        return self.wiring == "cross" or (self.wiring == "itself" and "source" in self.subject.declared("provides"))

    def build(self, *, length: int = LENGTH, layers: int = 2, plain: bool = False, vocab: int = VOCAB) -> nn.Module:
        """The model in eval mode; ``plain``: the same without the subject. One that is built on meta stays there."""
        return put(self._built(length=length, layers=layers, plain=plain, vocab=vocab), self.device)

    def _built(self, *, length: int, layers: int, plain: bool, vocab: int) -> nn.Module:
        s = self.subject
        sizes: dict[str, Any] = {"d_model": WIDTH, "n_layers": layers, "context_length": length}
        needed = (s.declared("needs") or {}) if plain else ()  # what stands around the part for its sake
        beside = {socket: maker for socket, maker in s.around.items() if socket not in needed}
        chosen: dict[str, Any] = {**sizes, "attention": {"name": "gqa", "n_heads": 4, "n_kv_heads": 2}, **beside}
        if self.wiring == "itself":
            own = s.declared("needs") or {}  # a socket of which it needs something keeps what stands there by default
            options = {n: v for n, v in chosen.items() if n in s.signature.options and n not in own}
            maker = {**options, **s.maker} if isinstance(s.maker, dict) else s.maker
            return make(maker, "model", vocab_size=vocab, **({} if isinstance(s.maker, dict) else options)).eval()
        if s.kind in INSIDE and not plain:
            socket, around = INSIDE[s.kind]
            name = s.around.get(socket, around)
            around = {"name": name} if isinstance(name, str) else dict(name)
            if (socket, around["name"]) not in registry.entries():
                raise UserError(s.label, f"a {s.kind} is checked inside {socket}/{around['name']}, which is not there")
            chosen[socket] = {**around, s.kind: s.maker}
        elif not plain and s.kind in SOCKETS:
            chosen["cross" if self.wiring == "cross" else s.kind] = s.maker
        if s.kind == "attention" and not any(o.type.kind == "position" for o in s.signature.options.values()):
            chosen.setdefault("position", "none")  # it has nothing to rotate
        model = "encoder_decoder" if self.wiring == "cross" else self.wiring
        if model == "encoder":
            chosen.setdefault("position", "rope")
        return make({"name": model, **chosen}, "model", vocab_size=vocab).eval()  # `plain` may lack what another part reads

    def model(self, std: float = 0.3, *, dtype: torch.dtype = torch.float64, **sizes: Any) -> nn.Module:
        """The model with all parameters redrawn, so that initial zeros and ones hide no fault."""
        return scramble(self.build(**sizes), std).to(dtype)

    def parts(self, model: nn.Module) -> list[nn.Module]:
        """The subject's modules in the model, each once. Empty if the part is not a module."""
        if not isinstance(self.subject.target, type):
            return []
        return [m for m in model.modules() if type(m) is self.subject.target]

    def batch(self, values: Tensor, **changes: Any) -> Batch:
        """A batch. A model with a source gets the same source in every row; a part that reads numbers gets numbers made from the
        ids."""
        if self.d_in:
            changes.setdefault("values", numbers(values, self.d_in))
            values = torch.zeros_like(values)
        if self.has_source:
            source = (torch.arange(SOURCE) * 7 % VOCAB)[None].expand(values.shape[0], -1)
            changes.setdefault("source", Batch(source))
        return Batch(values, **changes).to(self.device)

    def run(self, model: nn.Module, values: Tensor | Batch, **changes: object) -> Tensor:
        """Logits without gradient, on the CPU."""
        with torch.no_grad():
            out = model(values if isinstance(values, Batch) else self.batch(values), **changes)
        return out if self.device == "cpu" else pytree.tree_map_only(Tensor, Tensor.cpu, out)

    @cached_property
    def d_in(self) -> int:
        """How many numbers per position the subject reads (its ``d_in``); 0 if it reads ids."""
        if "values" not in (self.subject.declared("needs") or {}).get("data", ()):
            return 0
        return self.parts(self.build())[0].d_in  # type: ignore[return-value]

    @cached_property
    def pooled(self) -> bool:
        """Whether the head gives one vector per sequence, so that positions have no outputs of their own."""
        if self.subject.kind not in ("head", "pooling"):
            return False
        try:
            out = self.run(self.model(), ids())
        except Exception:  # asked before the properties run: each of them meets the same fault and reports it
            return False
        return not isinstance(out, Tensor) or out.ndim < 3


def put(model: nn.Module, device: str) -> nn.Module:
    """The model on the device, unless it has no values to take there."""
    return model if device == "cpu" or any(p.is_meta for p in model.parameters()) else model.to(device)


def scramble(model: nn.Module, std: float = 0.1, seed: int = 1) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.empty(p.shape).normal_(0.0, std, generator=generator))
    return model


def ids(rows: int = 2, length: int = LENGTH, seed: int = 0) -> Tensor:
    return torch.randint(0, VOCAB, (rows, length), generator=torch.Generator().manual_seed(seed))


def numbers(ids: Tensor, count: int) -> Tensor:
    """(B, T, count) numbers for ids. Different ids get different numbers."""
    table = torch.empty(VOCAB, count).normal_(generator=torch.Generator().manual_seed(6))
    return table[ids]


def objective(hidden: Tensor, head: nn.Module, batch: Batch) -> Terms:  # noqa: ARG001  the contract's third argument
    """The distance of the head's outputs to fixed noise. Every output counts, also those for tokens further ahead."""
    further = tokens_ahead(head)
    given = [head(hidden), *(head(hidden, ahead=k) for k in range(1, further + 1))]
    outputs = [x for x in pytree.tree_leaves(given) if isinstance(x, Tensor)]
    total = torch.zeros((), dtype=torch.float32)
    for x in outputs:
        noise = torch.empty(x.shape).normal_(generator=torch.Generator().manual_seed(7))
        total = total + (x.to(torch.promote_types(x.dtype, torch.float32)) - noise.to(x.device)).square().mean()
    return Terms({"loss": (total, torch.ones(()))}, aim={"loss": 1.0})


def total_loss(terms: Terms) -> Tensor:
    """The sum of all terms, the layers' own (load balance, z-loss) included."""
    return torch.stack([(value / weight).to(torch.float64) for value, weight in terms.losses.values()]).sum()
