"""Convert the optimizer state of sharded weights to the form of a single process, and back.

``torch.optim`` numbers weights in the order of its groups (weights with decay, weights without). Lightning numbers sharded weights in the order
of the modules, and reads every file that way. So a run could not go on from one process onto shards.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, TypedDict, cast

from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict, set_optimizer_state_dict
from torch.optim import Optimizer

from components.core.errors import UserError


class State(TypedDict):
    """What ``torch.optim`` gives as the state of an optimizer."""

    state: dict[int, dict[str, object]]  # of each weight, by its number
    param_groups: list[dict[str, Any]]


def whole_state(model: nn.Module, optimizer: Optimizer) -> Mapping[str, object]:
    """The state dict of ``optimizer``, gathered on the first rank, empty on the others. All ranks call this."""
    return _numbered(model, optimizer, StateDictOptions(full_state_dict=True, cpu_offload=True))


def sharded_state(model: nn.Module, optimizer: Optimizer) -> Mapping[str, object]:
    """The same, with the shards that this rank holds: the optimizer's own tensors. One that has taken no step gets its first state."""
    return _numbered(model, optimizer, StateDictOptions())


def _numbered(model: nn.Module, optimizer: Optimizer, options: StateDictOptions) -> Mapping[str, object]:
    found = cast(dict[str, Any], get_optimizer_state_dict(model, optimizer, options=options))
    if not found.get("param_groups"):
        return {}
    numbers = {name: i for i, name in enumerate(n for group in ordered(model, optimizer) for n in group)}
    return {
        "state": {numbers[name]: state for name, state in found["state"].items()},
        "param_groups": [{**g, "params": sorted(numbers[n] for n in g["params"])} for g in found["param_groups"]],
    }


def load_whole(model: nn.Module, optimizer: Optimizer, state: State) -> None:
    """Give each rank its shards of a state dict that ``torch.optim`` wrote in one process, or ``whole_state``. All ranks call this.

    Weights are matched by their place in their group, as ``Optimizer.load_state_dict`` does.

    Raises:
        UserError: the groups are of other sizes.
    """
    _load(model, optimizer, state, StateDictOptions(full_state_dict=True))


def load_sharded(model: nn.Module, optimizer: Optimizer, state: State) -> None:
    """The same for a state dict whose tensors are shards already, as ``sharded_state`` lays them out."""
    _load(model, optimizer, state, StateDictOptions())


def _load(model: nn.Module, optimizer: Optimizer, state: State, options: StateDictOptions) -> None:
    own, groups = ordered(model, optimizer), state["param_groups"]
    sizes = [len(g["params"]) for g in groups], [len(names) for names in own]
    if sizes[0] != sizes[1]:
        raise UserError(
            "resume",
            f"the optimizer's state is of groups of {sizes[0]} weights, here are {sizes[1]}",
            "start anew with init_from=",
        )
    if not state["state"]:  # the optimizer keeps nothing; torch would look for the device of its tensors
        optimizer.load_state_dict({"state": {}, "param_groups": groups})
        return
    # every rank has read the file; group options bypass torch, which flattens lists and loses entries that were added
    names = {number: name for group, here in zip(groups, own) for number, name in zip(group["params"], here)}
    named = {
        "state": {names[number]: held for number, held in state["state"].items()},
        "param_groups": [{"params": here} for here in own],
    }
    set_optimizer_state_dict(model, optimizer, optim_state_dict=named, options=options)
    for here, held in zip(optimizer.param_groups, groups):
        here.update({n: deepcopy(v) for n, v in held.items() if n != "params"})


def ordered(model: nn.Module, optimizer: Optimizer) -> list[list[str]]:
    """Names of the weights in each group, in the group's order."""
    names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
    return [[names[p] for p in group["params"]] for group in optimizer.param_groups]
