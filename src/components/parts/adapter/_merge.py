"""Take an adapter into the weights, and tell which weights of a model belong to it."""

from __future__ import annotations

from torch import Tensor, nn

from components.core.weights import init_of
from components.functional.quantised_tensor import Quantised, dequantise
from components.parts.adapter._adapted import Adapted


def merge(model: nn.Module) -> nn.Module:
    """Take the adapter into the weights: the same function, the plain modules and names of a model without one, all of it trainable.

    Matrices that were kept in few bits are whole again, each as those bits say.

    Raises:
        ValueError: the model has no adapter.
    """
    for module in adapted(model):
        module.fold()
    for linear in (m for m in model.modules() if isinstance(m, nn.Linear)):
        dequantise(linear)
    return _without(model)


def take_off(model: nn.Module) -> nn.Module:
    """Leave the adapter out: the model that it was put on, all of it trainable but what is kept in few bits, which stays so. What was trained beside
    the adapter stays as it is.

    Raises:
        ValueError: the model has no adapter.
    """
    for module in adapted(model):
        module.strip()
    return _without(model)


def _without(model: nn.Module) -> nn.Module:
    if (init := init_of(model)) is not None:
        model.init = init.inner
    for parameter in model.parameters():
        parameter.requires_grad_(not isinstance(parameter, Quantised))
    return model


def adapter_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """What the adapter added, and what is trained beside it; ``model.load_state_dict(found, strict=False)`` puts it back.

    Raises:
        ValueError: the model has no adapter.
    """
    own = {id(getattr(m, name)) for m in adapted(model) for name in m.added}
    return {n: p.detach() for n, p in model.named_parameters() if p.requires_grad or id(p) in own}


def adapted(model: nn.Module) -> list[Adapted]:
    found: list[Adapted] = [m for m in model.modules() if isinstance(m, Adapted)]
    if not found:
        raise ValueError("the model has no adapter: build it with adapter=lora, dora or ia3")
    return found
