"""A class that inherits from nothing of this package is known by what it has."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from components import register
from components.core import registry
from components.core.abilities import CheckedWith, address
from components.core.flops import Flops, Work, flops_of
from components.core.makers import adopt
from components.core.traits import has_after_step, lr_scale_of, rotates, stands_for
from components.core.weights import initialise


class Foreign(nn.Module):
    checked_with = ("window=5",)

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.count = nn.Linear(3, 2, bias=False), nn.Parameter(torch.empty(2))

    def reset_parameters(self) -> None:
        nn.init.constant_(self.count, 7.0)

    def flops(self, work: Work) -> Flops:
        return Flops(work.length, 1)

    def after_step(self, stats: dict[str, torch.Tensor]) -> None: ...


class Numbered(nn.Module):
    """It has the names, and they are no methods."""

    flops = after_step = reset_parameters = 3

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 2, bias=False)


def test_methods_without_a_base_of_ours_are_asked():
    assert flops_of(Foreign(), Work(5)) == (5, 1)
    assert has_after_step(Foreign())
    assert has_after_step(Foreign), "of the class too"
    initialise(part := Foreign(), None, 0, draw=False)
    assert part.count.tolist() == [7.0, 7.0]
    assert isinstance(Foreign, CheckedWith)


def test_what_has_the_name_and_is_no_method_is_left_alone():
    assert flops_of(Numbered(), Work(5)) == (60, 60), "the sum of what is in it"
    assert not has_after_step(Numbered())
    initialise(Numbered(), None, 0, draw=False)


def test_a_part_that_says_nothing_is_none_of_them():
    plain = nn.Linear(2, 2)
    assert not has_after_step(plain)
    assert not isinstance(nn.Linear, CheckedWith)
    assert stands_for(nn.Linear) == ("", "")
    parent = nn.Module()
    adopt(parent, "child", plain)
    assert dict(parent.named_children()) == {"child": plain}
    plain.shared_by_model = True
    adopt(other := nn.Module(), "child", plain)
    assert not dict(other.named_children())
    assert other.child is plain


def test_a_child_module_or_what_a_wrapper_hands_on_answers_too():
    class Turning(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rotate = nn.Identity()

    class Scaled:
        def lr_scale(self, _: object) -> float:
            return 0.5

    class Wrapper:
        def __init__(self, inner: object) -> None:
            self.inner = inner

        def __getattr__(self, name: str) -> object:
            return getattr(self.inner, name)

    assert rotates(Turning())
    scale = lr_scale_of(Wrapper(Scaled()))
    assert scale is not None
    assert scale(None) == 0.5


@functools.lru_cache
def made() -> nn.Module:
    return nn.Identity()


def test_the_address_of_whatever_is_registered():
    assert address(Foreign) == (__name__, "Foreign")
    assert address(made) == (__name__, "made")
    assert address(functools.partial(made)) == ("functools", "")


def test_a_function_with_a_wrapper_can_be_registered(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(registry, "LIVE", dict(registry.LIVE))
    monkeypatch.setattr(registry, "TARGETS", dict(registry.TARGETS))
    register("norm", "of_a_function")(made)
    assert registry.find("norm", "of_a_function") is made
    assert registry.entry("norm", "of_a_function").qualname == "made"
