"""Whether a run can go on from a checkpoint: its contents are checked before anything is written or built on a device.

A checkpoint that can be read may still be damaged, or belong to another run. Lightning takes whatever it finds, and the optimizer's kernels
trust the shapes that they get.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

from torch import Tensor, nn

from components.core.config_types import Config
from components.core.errors import UserError
from components.core.makers import make
from components.runs import archive, checkpoints, run_files
from components.runs.archive import Checkpoint
from components.runs.resume import Resumed
from components.runs.task_module import TaskModule
from components.training.callback_group import STATE_KEY as GROUP_STATE
from components.training.data_module import PackedDataModule
from components.training.tuning import tuned

Key = int | str  # a weight's number, or its name
States = Mapping[Key, Mapping[str, object]]  # what an optimizer keeps of each weight
# where a checkpoint has the state of the loaders: under the name that their class has, or had
DATA_STATES = ("PackedDataModule", "Blocked")
# averages and copies that an optimizer keeps in the parameter's own shape
WHOLE = {
    *("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_inf", "momentum_buffer", "square_avg", "grad_avg", "acc_delta", "sum"),
    *("prev", "step_size", "ax", "average", "trained", "x", "z"),
}


def place(resumed: Resumed, config: Config, module: TaskModule, data: PackedDataModule) -> tuple[int, bool]:
    """(the checkpoint's step, whether only the end of the run is left to do).

    Args:
        resumed: the run that goes on.
        config: what it goes on with.
        module: its LightningModule with the number of steps, the model on the meta device.
        data: its loaders.

    Raises:
        UserError: the data differ, something is missing or has another shape, or the run is finished.
    """
    where = str(resumed.checkpoint)
    held = checkpoints.read(Path(where), "shapes")
    step, total = held["global_step"], module.total_steps
    state = next((found for name in DATA_STATES if (found := cast(Mapping[str, dict[str, object]], held).get(name))), {})
    if (identity := state.get("identity")) is not None and identity != data.identity:
        raise UserError(
            "resume", f"the data are not those of the run: {data.identity} instead of {identity}", "start anew with init_from="
        )
    fault = fault_in(held, module.built[0], config)
    if fault:
        raise UserError(
            where,
            f"is damaged, or is not this run's: {fault}",
            "use another checkpoint of the run, or init_from= for its weights",
        )
    archive.check_kinds(module.built[0].state_dict(), checkpoints.weights_in(held), where)
    finished = run_files.read_summary(resumed.folder).get("state") in run_files.DONE
    if step > total or (step == total and finished):
        raise UserError("resume", f"the run has done its {step} steps", "set trainer.max_steps to more")
    stopped = bool(held["components"].get("stopped"))
    if stopped and finished and config.get("callbacks") == resumed.config.get("callbacks"):
        raise UserError(
            "resume",
            f"early stopping ended the run at step {step}",
            "set callbacks.early_stopping.patience to more, or callbacks.early_stopping=null",
        )
    return step, step == total or (stopped and not finished)


def fault_in(held: Checkpoint, model: nn.Module, config: Config) -> str:
    """The first thing that does not fit, in words; empty if all fits."""
    return _weights(held, model) or _optimizer(held, model, config) or _rest(held)


def _weights(held: Checkpoint, model: nn.Module) -> str:
    found, wanted = checkpoints.weights_in(held), model.state_dict()
    if lacking := sorted(wanted.keys() - found.keys()):
        return f"there is no weight {lacking[0]} ({len(lacking)} are missing)"
    if more := sorted(found.keys() - wanted.keys()):
        return f"the model has no weight {more[0]} ({len(more)} too many)"
    for name, value in wanted.items():
        if not isinstance(found[name], Tensor) or found[name].shape != value.shape:
            return f"{name} is {_shape(found[name])}, and should be {_shape(value)}"
    return ""


def _optimizer(held: Checkpoint, model: nn.Module, config: Config) -> str:
    states = held.get("optimizer_states")
    if not isinstance(states, list) or len(states) != 1 or not _is_state(states[0]):
        return "there is no state of the optimizer"
    state, groups = states[0]["state"], states[0]["param_groups"]
    optimizer = make(config["optimizer"], "optimizer", weights=tuned(model, config))
    sizes, own = [len(g["params"]) for g in groups], [len(g["params"]) for g in optimizer.param_groups]
    if sizes != own:
        return f"the optimizer's groups have {sizes} weights, and should have {own}"
    counted = held["components"].get("optimizer_tensors")
    if counted is not None and counted != tensors_in(state):
        return f"the optimizer's state has {tensors_in(state)} tensors, and should have {counted}"
    keys = [key for group in groups for key in group["params"]]
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    names = {id(p): n for n, p in named}
    grouped = [(names.get(id(p), "a weight"), p) for g in optimizer.param_groups for p in g["params"]]
    # a state that was gathered from shards may be in the model's order
    faults = [_misshapen(state, keys, order) for order in (grouped, named) if len(order) == len(keys)]
    return faults[0] if faults and all(faults) else ""


def _misshapen(state: States, keys: list[Key], order: Sequence[tuple[str, Tensor]]) -> str:
    by_name = dict(order)
    scalars, shaped = set(), set()
    for key, (name, parameter) in zip(keys, order):
        if isinstance(key, str):
            name, parameter = key, by_name.get(key.removeprefix("model."), parameter)
        for what, value in (state.get(key) or {}).items():
            if not isinstance(value, Tensor):
                continue
            size, single = tuple(parameter.shape), value.numel() == 1 and parameter.numel() > 1
            if tuple(value.shape) not in ({size} if what in WHOLE else {*_derived(size), (), (1,)}):
                return f"the optimizer's {what} of {name} is {_shape(value)}, and the weight {_shape(parameter)}"
            if parameter.numel() > 1:
                (scalars if single else shaped).add(what)
    mixed = sorted(scalars & shaped)
    return f"the optimizer's {mixed[0]} is one number for some weights" if mixed else ""


def _derived(size: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Shapes of what optimizers keep for a weight: its own, its rows or columns, a square of each side."""
    yield size
    for side in range(len(size)):
        yield size[:side] + size[side + 1 :]
        yield (*size[:side], 1, *size[side + 1 :])
    if len(size) > 1:
        yield (*size[:-2], size[-2], size[-2])
        yield (*size[:-2], size[-1], size[-1])


def _rest(held: Checkpoint) -> str:
    schedulers, callbacks = held.get("lr_schedulers"), held.get("callbacks")
    if not isinstance(schedulers, list) or len(schedulers) != 1 or not isinstance(schedulers[0], dict):
        return "there is no state of the schedule"
    if not {"base_lrs", "last_epoch", "lr_lambdas"} <= schedulers[0].keys():
        return "the state of the schedule is cut short"
    members = callbacks.get(GROUP_STATE) if isinstance(callbacks, dict) else None
    recorder = members.get("Recorder") if isinstance(members, dict) else None
    if not isinstance(recorder, dict) or not {"seconds", "best", "final"} <= recorder.keys():
        return "there are no figures of the run so far"
    random = held["components"].get("random")
    names = ("torch", "python", "python_gauss", "numpy", "numpy_place", "numpy_gauss")
    if not isinstance(random, list) or not random:
        return "there is no random state"
    for state in random:
        if not isinstance(state, dict) or not all(isinstance(state.get(n), Tensor) for n in names):
            return "the random state of a rank is missing"
        if state["python"].numel() != 626 or state["numpy"].numel() != 624 or state["torch"].numel() < 5000:
            return "the random state of a rank is cut short"
    return ""


def tensors_in(state: States) -> int:
    """The number of tensors that an optimizer keeps, to notice a lost one."""
    return sum(isinstance(v, Tensor) for kept in state.values() if isinstance(kept, dict) for v in kept.values())


def _is_state(found: object) -> bool:
    return (
        isinstance(found, dict)
        and isinstance(found.get("state"), dict)
        and isinstance(found.get("param_groups"), list)
        and all(isinstance(g, dict) and isinstance(g.get("params"), list) for g in found["param_groups"])
    )


def _shape(value: object) -> str:
    return "x".join(map(str, value.shape)) or "one number" if isinstance(value, Tensor) else type(value).__name__
