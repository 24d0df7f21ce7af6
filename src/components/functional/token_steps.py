"""While a text is written, one token at a time passes all layers, and asking modules takes a third of the time of a small model. Here that is asked once a text.

Within ``token_steps`` a layer whose block ``StepsLayers`` computes a single token by what the block gave: the same operations, without the calls of modules
and the looking up of weights between them, as far as its parts ``StepsByToken``. All else, a prompt among it, is computed as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from components.core.sequence import Layer, SequenceInfo
from components.functional import chosen
from components.functional.decode_products import Product

TokenStep: TypeAlias = Callable[[Tensor, SequenceInfo], Tensor]
Out: TypeAlias = dict[str, Any]  # what a layer's parts wrote besides, by name
LayerStep: TypeAlias = Callable[[Tensor, SequenceInfo], tuple[Tensor, Out]]
Part = TypeVar("Part", bound=nn.Module)


@runtime_checkable
class StepsByToken(Protocol):
    """A part that reads ``(x, info)``, which can say what it does with one new token of each text while texts are written."""

    def token_step(self) -> TokenStep | None:
        """What ``forward(x, info)`` gives for x (B, 1, D) and a cache, bit for bit, with everything looked up that stays the same from token to token.

        It is made once a text, within its decoding form, and writes nothing into ``info.out``. None where ``forward`` itself must be asked.
        """
        ...


@runtime_checkable
class StepsLayers(Protocol):
    """A block that can say the same of its layer: the stream (B, 1, D) -> the same, and what its parts wrote besides."""

    def layer_step(self) -> LayerStep: ...


class TokenLayer:
    """A layer's ``forward`` while a text is written. What it does with a token is asked at the first one, when its matrices have been laid out."""

    def __init__(self, layer: Layer, block: StepsLayers) -> None:
        self.layer, self.block = layer, block
        self.step: LayerStep | None = None

    def __call__(self, s: Tensor, info: SequenceInfo) -> tuple[Tensor, Out]:
        if s.shape[1] != 1 or info.cache is None or torch.is_grad_enabled():
            return Layer.forward(self.layer, s, info)
        if self.step is None:
            self.step = self.block.layer_step()
        return self.step(s, info)


@contextmanager
def token_steps(model: object) -> Iterator[None]:
    """Within it, layers of ``model`` that can pass a token by the short way do: those that nobody has hooked, compiled or replaced, in eval mode."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    layers = [m for m in modules if type(m) is Layer]
    taken = {} if any(compiled(m) for m in modules) else {x: x.block for x in layers if untouched(x)}
    found = [(x, TokenLayer(x, block)) for x, block in taken.items() if isinstance(block, StepsLayers)]
    if chosen.heard is not None and layers:
        why = "modules are asked once a text" if found else "blocks without such a step, hooked or compiled ones"
        chosen.tell("layers for one token", f"{len(found)} of {len(layers)} by the short way", why)
    for layer, short in found:
        vars(layer)["forward"] = short
    try:
        yield
    finally:
        for layer, _ in found:
            vars(layer).pop("forward", None)


def untouched(layer: nn.Module) -> bool:
    """Whether calling any module of the layer calls its own ``forward`` and nothing else."""
    if nn.modules.module._has_any_global_hook():
        return False
    return all(
        not (m._forward_hooks or m._forward_pre_hooks or m.training) and isinstance(vars(m).get("forward"), Product | None)
        for m in layer.modules()
    )


def compiled(module: nn.Module) -> bool:
    """Whether ``torch.compile`` has made a program of it, which its own tokens must go through."""
    return module._compiled_call_impl is not None or "_orig_mod" in module._modules


def step_of(part: object) -> TokenStep | None:
    """The part's step for a token; None where it has none, or one that a ``forward`` further down the line of its classes knows nothing of."""
    for kind in type(part).__mro__:
        if "token_step" in vars(kind):
            return part.token_step()  # type: ignore[attr-defined,no-any-return]  # just found
        if "forward" in vars(kind):
            return None
    return None


def looked_up(module: Part, **instead: object) -> Part:
    """The module's double, which has weights and children as plain attributes, which are found at once, and ``instead`` in the place of some.

    Buffers are looked up as ever: a ``forward`` may put new ones in the place of the old.
    """
    double = object.__new__(type(module))
    double.__dict__ = {**vars(module), **module._parameters, **module._modules, **instead}
    return double
