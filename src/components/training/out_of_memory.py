"""Memory that ran out, in one line: in which part, what takes the most, and what to lower.

Nothing is watched while a run trains: the part is read from the traceback, and activations are counted afterwards by shapes alone.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import cast

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from components.core.collectives import rank
from components.core.errors import UserError
from components.core.memory import shown
from components.core.meta import emptied
from components.core.sockets import Batch
from components.functional.quantised_tensor import bytes_of
from components.runs.task_module import TaskModule
from components.training.first_fault import shown as path_of

OF_CPU = ("DefaultCPUAllocator", "can't allocate memory")  # torch's words; it has no class of its own for them


def explained(error: BaseException, task: TaskModule, *, accumulate: int = 1, ranks: int = 1) -> UserError | None:
    """The error in one line, or None where memory has not run out.

    Args:
        error: what has ended the run.
        task: the run's, as it was left.
        accumulate, ranks: into how many micro-batches a step is cut, and how many ranks read one of their own.
    """
    if not ran_out(error):
        return None
    model: nn.Module = task.model if task.model is not None else task.built[0]
    rows = max(1, task.batch_size // accumulate // ranks)
    said = [f"weights {shown(total(model.parameters()))}{largest(model)}"]
    said += [f"gradients {shown(size)}"] if (size := total(p.grad for p in model.parameters())) else []
    trainer = cast(LightningModule, task)._trainer
    states = [
        v for o in (trainer.optimizers if trainer is not None else []) for held in o.state.values() for v in held.values()
    ]
    said += [f"optimizer {shown(size)}"] if (size := total(states)) else []
    kept, most = activations(task, rows)
    said += [f"activations of {rows} rows about {shown(kept)}, most in {most}"] if kept else []
    asked = f" for {size}" if (size := size_in(str(error))) else ""
    ours = f" on rank {rank()}" if ranks > 1 else ""
    what = f"out of memory{ours} in {part_in(error, model)}{asked}; {', '.join(said)}"
    return UserError("training", what, lower(task, rows, accumulate))


def ran_out(error: BaseException) -> bool:
    told = isinstance(error, RuntimeError) and all(word in str(error) for word in OF_CPU)
    return told or isinstance(error, (torch.OutOfMemoryError, MemoryError))


def size_in(message: str) -> str:
    """How much was asked for, where the message says so."""
    if found := re.search(r"allocate (\d+) bytes", message):
        return shown(int(found[1]))
    found = re.search(r"[Tt]ried to allocate ([\d.]+ \w+)", message)
    return found[1] if found else ""


def part_in(error: BaseException, model: nn.Module) -> str:
    """The innermost module of the model that was running, or what else was."""
    names = {id(m): path_of(path) for path, m in model.named_modules()}
    part, trace = "", error.__traceback__
    while trace is not None:
        held = trace.tb_frame.f_locals.get("self")
        if id(held) in names:
            part = names[id(held)]
        elif isinstance(held, torch.optim.Optimizer):
            part = "the optimizer's step"  # which runs the model inside
        elif trace.tb_frame.f_code.co_name == "backward":
            part = "the backward pass"
        trace = trace.tb_next
    return part or "the run"


def total(tensors: object) -> int:
    return sum(bytes_of(t) for t in tensors if isinstance(t, Tensor))  # type: ignore[attr-defined]  # any iterable


def largest(model: nn.Module) -> str:
    name, most = max(((n, bytes_of(p)) for n, p in model.named_parameters()), key=lambda one: one[1], default=("", 0))
    return f" ({path_of(name)} {shown(most)})" if most else ""


def activations(task: TaskModule, rows: int) -> tuple[int, str]:
    """(bytes that a forward pass keeps for the backward pass, the kind of part that keeps the most); (0, "") where it cannot be told."""
    kept: Counter[str] = Counter()
    try:
        with FakeTensorMode():  # shapes of CPU tensors, and no memory behind them; autocast knows no meta device
            model = emptied(task.new_model())
            own = {id(p) for p in model.parameters()}
            inside, seen = [""], list[Tensor]()

            def keep(value: Tensor) -> Tensor:
                if id(value) not in own and not any(value is one for one in seen):
                    seen.append(value)
                    kept[re.sub(r"\.\d+\.", ".*.", inside[-1])] += value.numel() * value.element_size()
                return value

            for path, module in model.named_modules():
                module.register_forward_pre_hook(lambda *_, path=path: inside.append(path_of(path)))
                module.register_forward_hook(lambda *_: inside.pop() and None)
            with saved_tensors_hooks(keep, lambda value: value):
                model.train()(Batch(torch.zeros(rows, cast(int, model.context_length), dtype=torch.long)))
    except (RuntimeError, NotImplementedError, UserError):  # a part whose shapes depend on values cannot be run without any
        return 0, ""
    return (kept.total(), kept.most_common(1)[0][0]) if kept else (0, "")


def lower(task: TaskModule, rows: int, accumulate: int) -> str:
    """What to lower, the first of it without a change of what is learned."""
    words = []
    if rows > 1:
        times = next(n for n in range(2, rows + 1) if rows % n == 0)
        words.append(f"set trainer.accumulate_grad_batches={accumulate * times}")
    if task.activation_checkpointing is not True:
        words.append("task.activation_checkpointing=true")
    return " or ".join([*words, "less of task.batch_size or model.context_length"])
