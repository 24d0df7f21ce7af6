"""What each kind of part promises, as a type; what a part leaves out has the default that stands here. Imports no torch when it runs: composing reads it too.

A part inherits from nothing of this: ``make`` types it for a checker, and gives it the attributes that it lacks (``complete``). Methods: ``core/traits.py``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.core.abilities import NeedsModel as NeedsModel

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import Module
    from torch.optim import Optimizer as TorchOptimizer

    from components.core.sequence import Batch, Cache, Info, SequenceInfo, Terms
    from components.core.weights import Weight
else:
    Module = TorchOptimizer = object


class Part:
    """What may be asked of a part of any kind."""

    provides: tuple[str, ...] = ()  # what others may need of it
    lacks: tuple[str, ...] = ()  # properties that it does not have
    identity: bool = False  # it changes nothing: a parent need not call it
    splits: Mapping[str, int] = {}  # {axis: number}: it is the sum of what so many pieces of its weights give


class Embedding(Part, Module):
    dropout: float = 0.0  # of token plus position, by the model
    d_in: int | None = None  # numbers of a position, where it reads numbers and not ids

    def forward(self, ids: Tensor, info: SequenceInfo | None = None) -> Tensor: ...  # (B, T) -> (B, T, D)


class Position(Part, Module):  # any of the methods may be missing: ``traits`` tells which of the first three are there
    sets_lengths: bool = False  # a norm after the rotation would undo it
    n_vectors: int = 0  # of distances, where it has any

    def embed(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor: ...
    def rotate(self, q: Tensor, k: Tensor, q_info: Info = None, k_info: Info = None) -> tuple[Tensor, Tensor]: ...
    def bias(self, q: Tensor, k: Tensor, q_info: Info = None, k_info: Info = None) -> Tensor | None: ...
    def vectors(self) -> Tensor: ...  # (n_vectors, D), one for each bucket of distances: it provides distance_vectors
    def rows(self, q_info: SequenceInfo, k_info: SequenceInfo) -> Tensor: ...  # (B or 1, Tq, Tk), which of them


class Mask(Part, Module):
    """``functional.attention_mask.MaskRule`` as a part."""

    key: tuple[object, ...]
    reach: int | None = None  # no key that far back, or farther, is seen
    anchored: bool = False  # pieces are counted from position 0

    def covers(self, length: int) -> bool: ...
    def cells(self, length: int, causal: bool) -> int: ...
    def allow(self, q_positions: Tensor, k_positions: Tensor) -> Tensor | None: ...


class Attention(Part, Module):
    absent: bool = False  # a block leaves the branch out
    crosses: bool = False  # reads ``info.memory``, and not the sequence itself
    lends: bool = False  # later layers read its keys and values
    reads_backwards: bool = False
    mask: Mask | None = None

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor: ...  # (B, T, D) -> the same


class Value(Part, Module):
    of_keys: bool = False  # it is given the keys as they were projected, and there is no projection of values

    def forward(self, v: Tensor, x: Tensor, info: SequenceInfo | None = None) -> Tensor: ...  # (B, G, T, K) -> the same


class Sharing(Part, Module):
    borrows: bool = False  # the layer has no keys and values of its own

    def lend(self, k: Tensor, v: Tensor, k_info: SequenceInfo, info: SequenceInfo) -> None: ...
    def borrow(self, info: SequenceInfo) -> tuple[Tensor, Tensor, SequenceInfo]: ...


class Scaling(Part, Module):
    factor: float = 1.0

    def scale(self, frequencies: Tensor, info: SequenceInfo) -> Tensor: ...


class Gate(Part, Module):
    def forward(self, read: Tensor, x: Tensor, info: SequenceInfo | None = None) -> Tensor: ...  # (B, T, H, K) -> the same


class Norm(Part, Module):
    def forward(self, x: Tensor) -> Tensor: ...  # (..., D) -> the same


class FFN(Part, Module):
    absent: bool = False

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor: ...  # (B, T, D) -> the same


class Router(Part, Module):
    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Any: ...  # (B, T, D) -> functional.routing.Routing
    def choices(self, tokens: int) -> int: ...


class Block(Part, Module):
    def forward(self, s: Tensor, info: SequenceInfo | None = None) -> Tensor: ...  # the stream -> the stream


class Residual(Part, Module):
    def open(self, x: Tensor) -> Tensor: ...
    def close(self, s: Tensor) -> Tensor: ...
    def read(self, s: Tensor) -> Tensor: ...
    def write(self, s: Tensor, y: Tensor) -> Tensor: ...


class Pooling(Part, Module):
    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor: ...  # (B, T, D) -> (B, D)


class Head(Part, Module):
    n_classes: int | None = None
    n_outputs: int | None = None
    n_ahead: int = 0  # tokens beyond the next one that it predicts on request

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor: ...  # (B, T, D) -> (B, T, V)


class Stack(Part, Module):
    def enter(self, x: Tensor, info: SequenceInfo) -> Tensor: ...
    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> tuple[Tensor, dict[str, Any]]: ...


class Model(Part, Module):
    vocab_size: int
    context_length: int
    head: Head

    def forward(
        self, batch: Tensor | Batch, objective: Any = None, *, cache: Cache | None = None, last: bool = False
    ) -> Any: ...


class Init(Part):
    def __call__(self, weight: Weight, generator: torch.Generator) -> Tensor | None: ...
    def check(self, weights: Sequence[Weight]) -> None: ...  # may be missing: traits.check_of
    def lr_scale(self, weight: Weight) -> float: ...  # may be missing: traits.lr_scale_of


class Loss(Part):
    extra_tokens: int = 0  # ids beyond the tokenizer's
    likelihood: bool | None = None  # of the whole text, left to right; None: if nothing is prepared
    whole: bool = False  # it reads documents with all that the tokenizer puts around them
    mask_id: int | None = None
    compares: bool = False  # it reads ``batch.reference``: what a model that stays as it is says of the same targets
    mismatches: bool = False  # it reads ``batch.baseline``: how far the model is from that one, on answers to other prompts

    def __call__(self, hidden: Tensor, head: object, batch: Batch) -> Terms: ...
    def prepare(self, batch: Batch, generator: torch.Generator) -> Batch: ...  # may be missing: traits.prepare_of


class Optimizer(Part, TorchOptimizer): ...


class Schedule(Part):
    def __call__(self, step: int) -> float: ...


class Adapter(Part):
    def apply(self, model: Module) -> Module: ...


class Tuning(Part):
    def rates(self, weights: list[Weight]) -> list[float]: ...


class Sampler(Part):
    def __call__(self, logits: Tensor, ids: Tensor, valid: Tensor | None) -> Tensor: ...


class Decoding(Part):
    samplers: Sequence[Sampler] = ()

    def generate(
        self, model: Any, batch: Batch, *, cache: Cache | None = None, max_new_tokens: int, **options: Any
    ) -> Tensor: ...


class Tokenizer(Part):
    vocab_size: int
    specials: dict[str, int]
    begins: list[int] | None = None
    ends: list[int] | None = None
    labels: tuple[str, ...] = ()

    def train(self, texts: Iterable[str]) -> None: ...
    def encode(self, text: str) -> list[int]: ...
    def decode(self, ids: Iterable[int]) -> str: ...


class Data(Part):
    notes: Sequence[str] = ()
    labels: tuple[str, ...] = ()

    def fingerprint(self) -> str: ...
    def documents(self) -> Iterator[Any]: ...  # this, or examples: traits.gives_examples
    def examples(self) -> Iterator[Any]: ...
    def judge(self, text: str) -> bool: ...  # may be missing: traits.judge_of


class Evaluation(Part):
    asks: tuple[str, ...] = ()
    gives: Mapping[str, str | None] = {}  # {name: "higher" or "lower" is better, None: neither}

    def measure(self, model: Any, held: Any) -> Mapping[str, Any]: ...


class Reward(Part):
    """A number for an answer; higher is better. It reads texts alone, so a function ``(answer, prompt, reference) -> float`` is one too.

    ``answer``: what the model wrote, without the token that ends it. ``prompt``: all it had read before. ``reference``: the data's answer. Same texts, same reward.
    """

    weight: float = 1.0  # its factor where several are added up

    def __call__(self, answer: str, prompt: str, reference: str) -> float: ...


class Task(Part):
    labelled: bool = False


CONTRACTS: dict[str, type[Part]] = {c.__name__.lower(): c for c in Part.__subclasses__()}
DEFAULTS: dict[str, dict[str, Any]] = {
    kind: {name: vars(c)[name] for c in (contract, Part) for name in c.__annotations__ if name in vars(c)}
    for kind, contract in CONTRACTS.items()
}


def complete(part: Any, kind: str) -> Any:
    """``part``, with the attributes of its kind's contract that it lacks."""
    for name, default in DEFAULTS.get(kind, {}).items():
        if not hasattr(type(part), name) and not hasattr(part, name):
            object.__setattr__(part, name, default)
    return part
