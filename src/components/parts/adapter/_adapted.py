"""Modules that an adapter has changed in place: their class is another one, their weight and its name stay.

Nothing else is replaced. What holds the module (a tied head, a fused product) still holds the right one, and base
checkpoints load by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from components.core.errors import UserError, nearest
from components.core.traits import lr_scale_of
from components.core.weight_names import matching, short
from components.core.weights import Weight, blank, copy_full, generator_for, init_of, key_of, roles
from components.functional.quantised_tensor import dequantise
from components.parts.adapter._base import Base, keep

OWN = ("was", "added", "axes", "factor", "dropout", "on_output")  # what adapted modules keep beside their parameters


class Adapted:
    """What every adapted module has. ``added``: its new parameters' names; ``was``: the class that it had."""

    # the ``type: ignore``s below: a mixin over nn.Linear, nn.Embedding or Experts, whose weight and bias a checker cannot see from here
    was: type[nn.Module]
    added: tuple[str, ...] = ()
    axes: dict[str, tuple[str, ...]]

    def effective_weight(self) -> Tensor:
        """The matrix that the module multiplies by."""
        raise NotImplementedError(f"{type(self).__name__} says in effective_weight() what it multiplies by")

    def effective_bias(self) -> Tensor | None:
        return self.bias  # type: ignore[attr-defined,no-any-return]

    def first_value(self, name: str, weight: Weight, generator: torch.Generator) -> Tensor:
        """The first value of one of ``added``, at full shape in fp32."""
        raise NotImplementedError(f"{type(self).__name__} says in first_value() how {name} begins")

    def follow_base(self) -> None:
        """The base weight was loaded after this module was made: what depends on it is set anew."""

    @torch.no_grad()
    def fold(self) -> None:
        """Take what was added into weight and bias, and be the plain module again."""
        bias = self.effective_bias() if hasattr(self, "bias") else None
        if bias is not None:
            bias = bias.clone()
        effective = self.effective_weight()
        dequantise(self)  # type: ignore[arg-type]  # a mixin over nn.Linear and others, as said above
        self.weight.copy_(effective)  # type: ignore[attr-defined]  # of the module that it is mixed into
        if bias is not None:
            self.bias.copy_(bias)  # type: ignore[attr-defined]  # likewise
        self.strip()

    def strip(self) -> None:
        """Be the plain module again, without what was added."""
        was = self.was
        for name in self.added:
            delattr(self, name)
        for name in OWN:
            self.__dict__.pop(name, None)
        self.__class__ = was  # type: ignore[assignment]


class First:
    """A model's init that leaves the first values of adapters to them."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __call__(self, weight: Weight, generator: torch.Generator) -> Tensor | None:
        if is_added(weight):
            return weight.module.first_value(leaf(weight), weight, generator)  # type: ignore[operator,no-any-return]
        return self.inner(weight, generator)  # type: ignore[no-any-return]

    def lr_scale(self, weight: Weight) -> float:
        """Adapters have a learning rate of their own: the init's rules are for what it draws."""
        scale = lr_scale_of(self.inner)
        return 1.0 if scale is None or is_added(weight) else float(scale(weight))

    def __getattr__(self, name: str) -> Any:
        if name == "inner":  # while it is copied
            raise AttributeError(name)
        return getattr(self.inner, name)


@contextmanager
def switched_off(model: nn.Module) -> Iterator[None]:
    """The model without its adapter, for as long as the block lasts: each changed module is of its own class again."""
    changed = [(m, type(m)) for m in model.modules() if isinstance(m, Adapted)]
    for module, _ in changed:
        module.__class__ = module.was  # type: ignore[assignment]  # a class of the same layout, as `fold` has it
    try:
        yield
    finally:
        for module, adapted in changed:
            module.__class__ = adapted  # type: ignore[assignment]  # and the way back


def learns_alone(model: nn.Module) -> bool:
    """Whether what an adapter has added is all that learns, so that the model without it stays as it was."""
    return any(isinstance(m, Adapted) for m in model.modules()) and all(
        is_added(w) for w in roles(model) if w.parameter.requires_grad
    )


def leaf(weight: Weight) -> str:
    return weight.name.rpartition(".")[2]


def is_added(weight: Weight) -> bool:
    return isinstance(weight.module, Adapted) and leaf(weight) in weight.module.added


def adapt(
    model: nn.Module, targets: dict[str, list[str]], classes: dict[type, type], train: Any, base: Base, **options: Any
) -> nn.Module:
    """Freeze the model, change what matches, and let it and what ``train`` names be trained.

    Args:
        model: with declared axes; on any device, ``meta`` too.
        targets: {option that named them: patterns over module paths}.
        classes: {class of a module: what it becomes}, whose ``put(axes, option, **options)`` adds the parameters.
        train: patterns over paths of modules or names of parameters.
        base: how the frozen matrices of layers are kept.
        options: for ``put``.

    Raises:
        UserError: a pattern that matches nothing that can be adapted, a model that has an adapter already, or whose matrices cannot be kept so.
    """
    if any(isinstance(m, Adapted) for m in model.modules()):
        raise UserError("adapter", "the model has one already", "components.merge(model) takes it in")
    declared = {id(w.module): w.axes for w in roles(model) if leaf(w) == "weight"}
    paths = {path: m for path, m in model.named_modules() if type(m) in classes and id(m) in declared}
    found: dict[str, tuple[str, nn.Module]] = {}
    for option, patterns in targets.items():
        for pattern in patterns:
            matched = [p for p in paths if fnmatchcase(p, pattern)]
            if not matched:
                kinds = ", ".join(dict.fromkeys(c.__name__ for c in classes))
                known = {short(p) for p in paths}
                what = f"{pattern!r} matches no {kinds} of the model"
                raise UserError(f"adapter.{option}", what, nearest(pattern, known, called="there are"))
            for path in matched:
                if found.setdefault(path, (option, paths[path]))[0] != option:
                    raise UserError(f"adapter.{option}", f"{path} is named by {found[path][0]} too", "name it once")
    model.requires_grad_(False)
    for option, module in found.values():
        module.__class__, was = classes[type(module)], type(module)
        module.was, axes = was, declared[id(module)]  # type: ignore[assignment]
        module.put(axes, option, **options)  # type: ignore[operator]
    names = dict(model.named_parameters())
    for pattern in train:
        for name in matching(pattern, names, "adapter.train"):
            names[name].requires_grad_(True)
    keep(model, base)
    if (init := init_of(model)) is not None:
        model.init = First(init)  # type: ignore[assignment]  # to a type checker a module holds tensors and modules alone
    draw(model)
    return model


@torch.no_grad()
def draw(model: nn.Module) -> None:
    """First values of what was added, each from a generator of its own; ``initialise`` does the same after a meta build."""
    for weight in roles(model):
        if is_added(weight) and not weight.parameter.is_meta:
            value = weight.module.first_value(leaf(weight), weight, generator_for(0, key_of(weight)))  # type: ignore[operator]
            copy_full(weight.parameter, value)


def add(module: Any, name: str, shape: tuple[int, ...], axes: tuple[str, ...]) -> None:
    """A parameter of the weight's dtype and device, with its axes declared."""
    setattr(module, name, nn.Parameter(torch.empty(shape, dtype=module.weight.dtype, device=module.weight.device)))
    module.added = (*module.added, name)
    module.axes = {**module.__dict__.get("axes", {}), name: axes}


def ones(weight: Weight, generator: torch.Generator) -> Tensor:
    return blank(weight, generator).fill_(1.0)
