"""torch.optim's classes by name: the same options with the same defaults as torch's signature, and the same steps."""

from __future__ import annotations

import copy
import inspect

import pytest
import torch
import torch.nn.functional as F

from components import build
from components.core import registry
from components.core.errors import UserError
from components.core.weights import roles

# ours -> torch's; adamw and sgd have other defaults, their options are named as torch's
BY_NAME = {
    "adadelta": "Adadelta", "adagrad": "Adagrad", "adam": "Adam", "adamax": "Adamax", "asgd": "ASGD", "nadam": "NAdam",
    "radam": "RAdam", "rmsprop": "RMSprop", "rprop": "Rprop",
}  # fmt: skip
# why a class of torch.optim has no part of its name here
LEFT_OUT = {
    "Optimizer": "the base class",
    "LBFGS": "calls the closure several times a step: no step of a run is one batch then",
    "SparseAdam": "takes sparse gradients only, and no part makes any",
}
OWN_TERMS = {"AdamW": "adamw", "SGD": "sgd", "Muon": "muon", "Adafactor": "adafactor"}


def test_every_class_of_torch_has_a_part_or_a_reason():
    classes = {n for n, c in vars(torch.optim).items() if inspect.isclass(c) and issubclass(c, torch.optim.Optimizer)}
    assert classes == set(BY_NAME.values()) | set(LEFT_OUT) | set(OWN_TERMS)
    assert {*BY_NAME, *OWN_TERMS.values()} <= set(registry.names("optimizer"))


@pytest.mark.parametrize("name", BY_NAME)
def test_options_are_those_of_torchs_signature(name):
    theirs = inspect.signature(getattr(torch.optim, BY_NAME[name]).__init__).parameters
    expected = {n: p.default for n, p in theirs.items() if n not in ("self", "params")}
    ours = registry.entry("optimizer", name).signature.options
    defaults = {n: tuple(o.default) if isinstance(o.default, list) else o.default for n, o in ours.items()}
    if "weight_decay" in expected:
        assert defaults.pop("decay_embedding") is False
    assert defaults == expected


@pytest.mark.parametrize("name", [*BY_NAME, "sgd"])
def test_steps_are_torchs(name, model, ids):
    twin = copy.deepcopy(model)
    mine = build("optimizer", name, weights=list(roles(model)), lr=0.01)
    theirs = getattr(torch.optim, BY_NAME.get(name, "SGD"))
    lambd = {"lambd": 0.0} if name == "asgd" else {}  # decays every weight in torch's, those that have the role in ours
    if lambd:
        mine = build("optimizer", name, weights=list(roles(model)), lr=0.01, **lambd)
    other = theirs(twin.parameters(), lr=0.01, **lambd, **({"momentum": 0.9} if name == "sgd" else {}))
    for _ in range(4):
        for net, optimizer in ((model, mine), (twin, other)):
            optimizer.zero_grad()
            F.cross_entropy(net(ids), (ids.flatten() + 1) % 11).backward()
            optimizer.step()
    for (n, a), b in zip(model.named_parameters(), twin.parameters()):
        assert torch.equal(a, b), n


def test_options_reach_torch(weights):
    optimizer = build("optimizer", "rmsprop", weights=weights, alpha=0.5, momentum=0.3, centered=True, maximize=True)
    assert all(
        (g["alpha"], g["momentum"], g["centered"], g["maximize"]) == (0.5, 0.3, True, True) for g in optimizer.param_groups
    )
    with pytest.raises(UserError, match="Invalid eta values"):
        build("optimizer", "rprop", weights=weights, etas=(2.0, 1.0))
