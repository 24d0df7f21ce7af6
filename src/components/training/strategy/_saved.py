"""How a strategy that shards weights saves: gathered into one ordinary file, or in a folder where each rank writes its own shards."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, cast

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_model_state_dict
from torch.optim import Optimizer

from components.core import files
from components.core.errors import UserError
from components.core.options import Options
from components.core.publishing import publish, remove
from components.runs import checkpoints, shards
from components.runs.tensor_places import Place, put_together, taken_apart
from components.training.optimizer_state import load_sharded, ordered, sharded_state, whole_state
from components.training.strategy._shards import Fault, Planned, Writer, key_of, load, save


class Saved(Options):
    """Beside Lightning's ``ModelParallelStrategy``, whose way to save it takes the place of.

    Args:
        checkpoint: ``whole`` gathers weights and optimizer state into one file on the first rank; ``sharded`` makes a folder, where each rank writes its
            own shards, and any layout can read them.
        asynchronous: with ``sharded``: training goes on as soon as the shards are copied to the memory of the CPU, and they are written meanwhile.
    """

    checkpoint: Literal["whole", "sharded"] = "whole"
    asynchronous: bool = False

    _group: dist.ProcessGroup | None = None  # on which ranks agree on a checkpoint while others train
    _thread: threading.Thread | None = None
    _fault: Fault | None = None
    _error: BaseException | None = None

    @property
    def sharded(self) -> bool:
        return self.checkpoint == "sharded"

    @property
    def whole_checkpoints(self) -> bool:
        return not self.sharded

    def check_saving(self) -> None:
        """UserError for options that do nothing together."""
        if self.asynchronous and not self.sharded:
            raise UserError(
                "trainer.strategy.asynchronous",
                "one file is written by one rank, while the others wait",
                "set trainer.strategy.checkpoint=sharded beside it",
            )

    def open_group(self, timeout: timedelta) -> None:
        """A way for the ranks to agree on a checkpoint while they train. All ranks call this."""
        self._group = cast(dist.ProcessGroup, dist.new_group(backend="gloo", timeout=timeout))

    # -- saving ----------------------------------------------------------------------------------------------------------

    def begin_shards(self, checkpoint: dict[str, object], folder: Path, publish: Callable[[], None]) -> Fault | None:
        """Write a folder of shards. All ranks call this, after ``settle_shards``.

        Args:
            checkpoint: Lightning's, with sharded tensors.
            folder: to make; what is there is removed.
            publish: called on the first rank when all of the folder is there. Its OSErrors and UserErrors are all ranks'.

        Returns:
            What one of the ranks could not do, on all of them. Where saving is asynchronous, ``settle_shards`` says it.
        """
        rest, tensors = taken_apart(checkpoint)
        state, places = _by_key(tensors, ties(cast(nn.Module, self._own.model)))
        planner = Planned(state, copied=self.asynchronous)
        first = not dist.is_initialized() or dist.get_rank() == 0
        writer = Writer(folder, _bytes_of(rest) if first else None, places, publish)
        if not self.asynchronous:
            return self._write(planner, writer)
        self._thread = threading.Thread(target=self._write_aside, args=(planner, writer), name="checkpoint", daemon=True)
        self._thread.start()
        return None

    def settle_shards(self, within: float | None = None) -> Fault | None:
        """Wait until what was begun is written, at most so many seconds; what one of the ranks could not do. All ranks call this."""
        if self._thread is None:
            return None
        self._thread.join(within)
        if self._thread.is_alive():
            return None
        self._thread, fault, error = None, self._fault, self._error
        self._fault = self._error = None
        if error is not None:
            raise error
        return fault

    def _write_aside(self, planner: Planned, writer: Writer) -> None:
        try:
            self._fault = self._write(planner, writer)
        except BaseException as e:
            self._error = e

    def _write(self, planner: Planned, writer: Writer) -> Fault | None:
        fault = save(planner, writer, self._group)
        if fault is not None and writer.rest is not None:
            with suppress(OSError):  # the next checkpoint tries it again
                remove(writer.folder)
        return fault

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: str | os.PathLike[str], storage_options: object = None
    ) -> None:
        """What Lightning's own callbacks call. UserError if it cannot be written."""
        if not self.sharded:
            super().save_checkpoint(checkpoint, filepath, storage_options)  # type: ignore[misc]
            return
        place = Path(self._own.broadcast(os.fspath(filepath)))
        part = place.with_name(f"{place.name}.fresh{files.PART}")
        fault = (
            self.settle_shards() or self.begin_shards(checkpoint, part, lambda: publish(part, place)) or self.settle_shards()
        )
        if fault is not None:
            raise UserError(*fault)

    def lightning_module_state_dict(self) -> dict[str, object]:
        if self.sharded:
            return {**get_model_state_dict(cast(nn.Module, self._own.model))}
        return super().lightning_module_state_dict()  # type: ignore[misc]

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, object]:
        state = sharded_state if self.sharded else whole_state
        return {**state(cast(nn.Module, self._own.model), getattr(optimizer, "_optimizer", optimizer))}

    # -- reading ---------------------------------------------------------------------------------------------------------

    def load_folder(self, folder: Path, optimizers: list[Optimizer]) -> dict[str, object]:
        """Fill weights and optimizers from a folder of shards; each rank reads what it holds. All ranks call this.

        Returns:
            The rest of the checkpoint.

        Raises:
            UserError: it is damaged, or is another model's.
        """
        model, plan = cast(nn.Module, self._own.model), shards.read_plan(folder)
        rest: Any = checkpoints.rest_of(plan)
        targets: dict[Place, Tensor] = {("state_dict", n): cast(Tensor, t) for n, t in get_model_state_dict(model).items()}
        known = {place: stored for stored in plan.tensors for place in stored.places}
        weights = {place for place in known if place[0] == "state_dict"}
        if odd := sorted(key_of(p) for p in weights.symmetric_difference(targets)):
            raise UserError(
                str(folder), f"its weights are another model's: {odd[0]} is on one side alone", "use another checkpoint"
            )
        states: list[Any] = rest.get("optimizer_states") or []
        for i, optimizer in enumerate(optimizers[: len(states)]):
            _, here = taken_apart({"optimizer_states": [sharded_state(model, optimizer)]})
            names = [name for group in ordered(model, optimizer) for name in group]
            for place in (p for p in known if p[:2] == ("optimizer_states", i)):
                target = here.get((place[0], 0, *place[2:]))
                if target is None or tuple(target.shape) != known[place].shape:
                    target = _room(known[place], model.get_parameter(names[int(place[3])]))
                targets[place] = target
        load(plan, _one_each(targets, known))
        put_together(rest, ((p, t) for p, t in targets.items() if p[0] != "state_dict"), str(folder))
        for optimizer, state in zip(optimizers, states):
            load_sharded(model, optimizer, state)
        return {**rest, "state_dict": {}}

    @property
    def _own(self) -> ModelParallelStrategy:
        return cast(ModelParallelStrategy, self)


def ties(model: nn.Module) -> dict[str, str]:
    """{name of a parameter: the first name of the same parameter}."""
    first: dict[int, str] = {}
    return {name: first.setdefault(id(p), name) for name, p in model.named_parameters(remove_duplicate=False)}


def _by_key(tensors: Mapping[Place, Tensor], tied: Mapping[str, str]) -> tuple[dict[str, Tensor], dict[str, list[Place]]]:
    """({key: tensor}, {key: its places}): tied weights once."""
    state: dict[str, Tensor] = {}
    places: dict[str, list[Place]] = {}
    for place, tensor in tensors.items():
        first = (
            ("state_dict", tied.get(str(place[1]), str(place[1]))) if place[0] == "state_dict" and len(place) == 2 else place
        )
        key = key_of(first if first in tensors else place)
        state.setdefault(key, tensor)
        places.setdefault(key, []).append(place)
    return state, places


def _room(stored: shards.Stored, weight: Tensor) -> Tensor:
    """For what the optimizer keeps of a weight, and has not kept yet: sharded as the weight is, if it has its shape."""
    if tuple(weight.shape) == stored.shape:
        return torch.zeros_like(weight, dtype=stored.dtype, requires_grad=False)
    return torch.zeros(stored.shape, dtype=stored.dtype, device=weight.device)


def _one_each(targets: Mapping[Place, Tensor], known: Mapping[Place, shards.Stored]) -> dict[str, Tensor]:
    """Targets by the key of what is stored. A tied weight is one tensor here as well, if it is tied here."""
    found: dict[str, Tensor] = {}
    for place, tensor in targets.items():
        found.setdefault(known[place].key, tensor)
    return found


def _bytes_of(rest: dict[str, object]) -> bytes:
    held = io.BytesIO()
    torch.save(rest, held)
    return held.getvalue()
