"""The battery on a device that is not the CPU, without one: fake tensors say where each tensor is, and refuse to mix devices.

``python on_another_device.py [KIND/NAME ...]`` prints a line for each case that mixes devices or ends otherwise than by looking at a value, then how many ended how;
exit code 1 if there is one.
Fake tensors have no values, so a property ends where it first looks at one; what comes before it has run: building, moving, forward and backward passes, caches.
"""

from __future__ import annotations

import collections
import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

from components.check import Violation, battery, host
from components.core.registry import register, static_entries

OTHER = "other"
# a forward and a backward pass, a pass with padding, and decoding with documents; others run the same code, or bring a mode of their own
TRIED = ("every parameter has a gradient", "ignores padding on the right", "cached with documents equals the full pass")

# what ends a case where fake tensors do: it looked at a value
LOOKED = ("DataDependentOutputException", "DynamicOutputShapeException")
# they copy a list of numbers to the device, which this one has no kernel for
NOT_HERE = ("attention/retention", "position/alibi", "scaling/longrope")


def replace(module: nn.Module, change: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """As ``Module._apply``, with new parameters in the place of the old ones: fake tensors cannot be swapped. Ties stay."""
    del recurse
    made: dict[int, nn.Parameter] = {}
    for m in module.modules():
        for name, p in m._parameters.items():
            if p is not None:
                if id(p) not in made:
                    made[id(p)] = nn.Parameter(change(p.detach()), p.requires_grad)
                m._parameters[name] = made[id(p)]
        for name, b in m._buffers.items():
            if b is not None:
                m._buffers[name] = change(b)
    return module


class Backend(_DummyBackendModule):
    """The backend's module, with what autocast asks of one."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


@register("norm", "faulty")
class Faulty(nn.Module):
    """A part that makes a tensor on the CPU, wherever its input is: what must be found."""

    axes = {"weight": ("d_model",)}

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor, info: object = None) -> Tensor:  # noqa: ARG002
        return x * self.weight * torch.ones(x.shape[-1])


def outcome(text: str) -> str:
    """What a violation says of a case: that it mixes devices, or how it ended."""
    return "mixes devices" if "device" in text and "Exception" not in text.split(":")[0] else text.split(":")[0][:60]


if __name__ == "__main__":
    _setup_privateuseone_for_python_backend(OTHER, Backend())
    asked = sys.argv[1:] or [f"{k}/{n}" for k, n in sorted(static_entries()) if k in (*host.ON_PATH, "cache")]
    asked = [part for part in asked if part not in NOT_HERE]
    found: collections.Counter[str] = collections.Counter()
    nn.Module._apply = replace  # type: ignore[method-assign]  # for this process, which ends with the battery
    for part in asked:
        for case in battery(part, device=OTHER):
            if case.name not in TRIED:
                continue
            try:
                with FakeTensorMode(allow_non_fake_inputs=True):
                    case()
            except Violation as e:
                kind = outcome(str(e))
                found[kind] += 1
                if kind not in LOOKED:
                    print(f"{case} {kind}: {e}", flush=True)
            else:
                found["ran to its end"] += 1
    print(dict(found))
    sys.exit(int(any(kind not in (*LOOKED, "ran to its end") for kind in found)))
