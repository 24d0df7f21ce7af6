"""A device of one's own that has no fp64, as Apple's GPUs have none: ``torch.device("single")``, whose tensors lie on the CPU.

Importing it registers the backend for the whole process, so it is imported in processes of their own, before anything else.
"""

from __future__ import annotations

import torch
from torch.utils import _pytree as pytree
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "single"


class Single(torch.Tensor):
    """A tensor on the device; ``raw`` is what it holds."""

    @staticmethod
    def __new__(cls, raw: torch.Tensor) -> Single:
        if raw.dtype in (torch.float64, torch.complex128):
            raise TypeError(f"Cannot convert a tensor to {raw.dtype}: {NAME} has no such numbers")
        made = torch.Tensor._make_wrapper_subclass(
            cls, raw.size(), strides=raw.stride(), storage_offset=raw.storage_offset(), dtype=raw.dtype, device=f"{NAME}:0"
        )
        made.raw = raw
        return made

    def tolist(self):
        return self.raw.tolist()

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, *args, **(kwargs or {}))


def run(op, *args, **kwargs):
    """The op on the CPU; its results on the device, if it was asked for there."""
    here = [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, Single)]
    asked = kwargs.get("device")
    to_cpu = asked is not None and torch.device(asked).type != NAME
    kwargs = {n: torch.device("cpu") if n == "device" and v is not None else v for n, v in kwargs.items()}
    kwargs.pop("pin_memory", None)
    raw_args, raw_kwargs = pytree.tree_map_only(Single, lambda x: x.raw, (args, kwargs))
    if op is torch.ops.aten._to_copy.default and not to_cpu and raw_kwargs.get("dtype") == torch.float64:
        raise TypeError(f"Cannot convert a tensor to float64: {NAME} has no such numbers")
    out = op(*raw_args, **raw_kwargs)
    known = {id(x.raw): x for x in here}

    def back(x: torch.Tensor) -> torch.Tensor:
        return known[id(x)] if id(x) in known else x if to_cpu else Single(x)

    return pytree.tree_map_only(torch.Tensor, back, out)


class Module(_DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


_setup_privateuseone_for_python_backend(NAME, backend_module=Module())
LIBRARY = torch.library.Library("_", "IMPL")
LIBRARY.fallback(lambda op, *args, **kwargs: run(op, *args, **kwargs), "PrivateUse1")

# what torch does past the dispatcher, or not for wrapped tensors
torch.inference_mode = torch.no_grad


def by_cpu(make):
    """A function that makes a tensor of numbers, by way of the CPU."""

    def made(data, *, dtype=None, device=None, **more):
        if device is None or isinstance(data, torch.Tensor):
            return make(data, dtype=dtype, device=device, **more)
        return make(data, dtype=dtype, device="cpu", **more).to(device)

    return made


torch.tensor, torch.as_tensor = by_cpu(torch.tensor), by_cpu(torch.as_tensor)
