"""A part from Python, by name: its options are checked as a config's are, and so is whether the parts in it can work together. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from components.compose.check import check
from components.compose.reading import read_tree
from components.core import registry
from components.core.errors import UserError
from components.core.makers import make

if TYPE_CHECKING:
    from components.core import contracts as c


@overload
def build(kind: Literal["embedding"], name: str, /, *, seed: int | None = None, **given: object) -> c.Embedding: ...
@overload
def build(kind: Literal["position"], name: str, /, *, seed: int | None = None, **given: object) -> c.Position: ...
@overload
def build(kind: Literal["mask"], name: str, /, *, seed: int | None = None, **given: object) -> c.Mask: ...
@overload
def build(kind: Literal["attention"], name: str, /, *, seed: int | None = None, **given: object) -> c.Attention: ...
@overload
def build(kind: Literal["value"], name: str, /, *, seed: int | None = None, **given: object) -> c.Value: ...
@overload
def build(kind: Literal["sharing"], name: str, /, *, seed: int | None = None, **given: object) -> c.Sharing: ...
@overload
def build(kind: Literal["scaling"], name: str, /, *, seed: int | None = None, **given: object) -> c.Scaling: ...
@overload
def build(kind: Literal["gate"], name: str, /, *, seed: int | None = None, **given: object) -> c.Gate: ...
@overload
def build(kind: Literal["norm"], name: str, /, *, seed: int | None = None, **given: object) -> c.Norm: ...
@overload
def build(kind: Literal["ffn"], name: str, /, *, seed: int | None = None, **given: object) -> c.FFN: ...
@overload
def build(kind: Literal["router"], name: str, /, *, seed: int | None = None, **given: object) -> c.Router: ...
@overload
def build(kind: Literal["block"], name: str, /, *, seed: int | None = None, **given: object) -> c.Block: ...
@overload
def build(kind: Literal["residual"], name: str, /, *, seed: int | None = None, **given: object) -> c.Residual: ...
@overload
def build(kind: Literal["pooling"], name: str, /, *, seed: int | None = None, **given: object) -> c.Pooling: ...
@overload
def build(kind: Literal["head"], name: str, /, *, seed: int | None = None, **given: object) -> c.Head: ...
@overload
def build(kind: Literal["stack"], name: str, /, *, seed: int | None = None, **given: object) -> c.Stack: ...
@overload
def build(kind: Literal["model"], name: str, /, *, seed: int | None = None, **given: object) -> c.Model: ...
@overload
def build(kind: Literal["init"], name: str, /, *, seed: int | None = None, **given: object) -> c.Init: ...
@overload
def build(kind: Literal["loss"], name: str, /, *, seed: int | None = None, **given: object) -> c.Loss: ...
@overload
def build(kind: Literal["optimizer"], name: str, /, *, seed: int | None = None, **given: object) -> c.Optimizer: ...
@overload
def build(kind: Literal["schedule"], name: str, /, *, seed: int | None = None, **given: object) -> c.Schedule: ...
@overload
def build(kind: Literal["adapter"], name: str, /, *, seed: int | None = None, **given: object) -> c.Adapter: ...
@overload
def build(kind: Literal["tuning"], name: str, /, *, seed: int | None = None, **given: object) -> c.Tuning: ...
@overload
def build(kind: Literal["sampler"], name: str, /, *, seed: int | None = None, **given: object) -> c.Sampler: ...
@overload
def build(kind: Literal["decoding"], name: str, /, *, seed: int | None = None, **given: object) -> c.Decoding: ...
@overload
def build(kind: Literal["tokenizer"], name: str, /, *, seed: int | None = None, **given: object) -> c.Tokenizer: ...
@overload
def build(kind: Literal["data"], name: str, /, *, seed: int | None = None, **given: object) -> c.Data: ...
@overload
def build(kind: Literal["evaluation"], name: str, /, *, seed: int | None = None, **given: object) -> c.Evaluation: ...
@overload
def build(kind: Literal["task"], name: str, /, *, seed: int | None = None, **given: object) -> c.Task: ...
@overload
def build(kind: str, name: str, /, *, seed: int | None = None, **given: object) -> Any: ...
def build(kind: str, name: str, /, *, seed: int | None = None, **given: Any) -> Any:
    """Make the part ``kind/name`` from Python: sizes and options by name, each checked against the part's signature.

    ``build("attention", "gqa", d_model=512, n_heads=8, n_kv_heads=2)``. A socket takes any maker; nothing is held against a
    function or a class that is not registered.

    A model draws each weight from a generator of its own, seeded by ``seed`` (0 if left out) and the weight's name: ``torch.manual_seed`` changes
    nothing, and a swap leaves all other weights as they were. A part alone has what its torch modules draw from the global generator.

    Raises:
        UserError: an unknown part, size or option, a value that the option does not allow, two parts that cannot work together, or a seed
            for what is no model.
    """
    entry = registry.entry(kind, name)
    if seed is not None and ("seed" in entry.signature.options or "seed" in entry.signature.sizes):
        given["seed"], seed = seed, None  # the part's own
    offers = {k: v for k, v in given.items() if k in registry.KINDS[kind].offers or k in entry.signature.sizes}
    node = {"name": name, **{k: v for k, v in given.items() if k not in offers}}
    part = make(node, kind, **offers)
    check(read_tree({kind: node}))  # after: a name that is not there is the nearer fault
    if seed is not None:
        from components.core.weights import redraw  # torch, which whatever has weights has imported

        try:
            redraw(part, seed)
        except ValueError as e:
            raise UserError(f"{entry.label}.seed", str(e), "leave it out, or call torch.manual_seed before") from e
    return part
