"""Writing and reading folders of shards by ``torch.distributed.checkpoint``, which plans who writes and who reads what; the files are ours.

PyTorch's own files list their contents in a pickle, which could run code where a stranger wrote it. Ours are JSON and safetensors
(``runs/shards.py``).
"""

# ruff: noqa: ARG002, ARG003  the methods of torch.distributed.checkpoint have fixed arguments
from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner, DefaultSavePlanner
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import LoadPlan, LoadPlanner, SavePlan, SavePlanner, WriteItem
from torch.distributed.checkpoint.storage import StorageReader, StorageWriter, WriteResult
from torch.futures import Future

from components.core.errors import UserError
from components.core.files import make_folder, unwritable, write_bytes
from components.core.publishing import remove
from components.runs.shards import REST, Piece, Plan, Stored
from components.runs.tensor_file import Entry, write
from components.runs.tensor_places import Place

Fault = tuple[str, str, str]  # the parts of a UserError


def key_of(place: Place) -> str:
    return "/".join(map(str, place))


class Planned(DefaultSavePlanner):
    """PyTorch's plan of a state that was looked at beforehand, while training waited.

    Args:
        state: tensors by key, sharded or whole.
        copied: take a copy of this rank's pieces on the CPU, so that training may go on.
    """

    def __init__(self, state: Mapping[str, Tensor], *, copied: bool) -> None:
        super().__init__(flatten_state_dict=False, flatten_sharded_tensors=False)
        super().set_up_planner(dict(state))
        self.local = super().create_local_plan()
        held = {item.index: super(Planned, self).lookup_object(item.index).detach() for item in self.local.items}
        self.held = {index: torch.empty_like(t, device="cpu").copy_(t) if copied else t for index, t in held.items()}
        self.state_dict = {}

    def set_up_planner(self, state_dict: object, storage_meta: StorageMeta | None = None, is_coordinator: bool = False) -> None:
        del state_dict, storage_meta
        self.is_coordinator = is_coordinator

    def create_local_plan(self) -> SavePlan:
        self.plan = self.local
        return self.plan

    def lookup_object(self, index: MetadataIndex) -> Tensor:
        return self.held[index]


class Writer(StorageWriter):
    """Each rank's pieces into a file; the first rank adds what is left, and the plan when all files are there.

    Args:
        folder: to make; it becomes a checkpoint elsewhere when it is whole.
        rest: the bytes of rest.ckpt, on the first rank.
        places: of each key: where its tensor belongs in a checkpoint.
        publish: called on the first rank when the folder is whole.
    """

    def __init__(
        self, folder: Path, rest: bytes | None, places: Mapping[str, Sequence[Place]], publish: Callable[[], None]
    ) -> None:
        self.folder, self.rest, self.places, self.publish = folder, rest, places, publish
        self.part = f"part_{dist.get_rank() if dist.is_initialized() else 0:05d}.safetensors"

    def reset(self, checkpoint_id: object = None) -> None: ...

    def set_up_storage_writer(self, is_coordinator: bool, *args: object, **kwargs: object) -> None: ...

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        """On the first rank, before any writes."""
        try:
            remove(self.folder)  # what a killed run has left
        except OSError as e:
            raise unwritable(self.folder, e) from None
        make_folder(self.folder)
        return plans

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        items = [item for item in plan.items if item.tensor_data is not None and math.prod(item.tensor_data.chunk.sizes)]
        entries = [entry_of(item) for item in items]
        done: Future[list[WriteResult]] = Future()
        if not items:
            done.set_result([])
            return done
        sums = write(self.folder / self.part, entries, (planner.resolve_data(item) for item in items))  # type: ignore[arg-type]
        done.set_result(
            [
                WriteResult(item.index, entry.bytes, (self.part, entry.name, entry.shape, crc))
                for item, entry, crc in zip(items, entries, sums)
            ]
        )
        return done

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """On the first rank, when all have written."""
        assert self.rest is not None
        pieces: dict[str, list[Piece]] = {}
        parts: dict[str, int] = {}
        for result in (one for of_rank in results for one in of_rank):
            part, name, shape, crc = result.storage_data
            if part not in parts:
                file = self.folder / part
                if not file.exists():
                    left = "give all machines the same paths.runs, on a disk that they share, or save with checkpoint: whole"
                    raise UserError(str(file), "was written by another machine, and is not seen here", left)
                parts[part] = file.stat().st_size
            pieces.setdefault(result.index.fqn, []).append(Piece(part, name, tuple(result.index.offset or ()), shape, crc))
        stored = []
        for key, places in self.places.items():
            about = metadata.state_dict_metadata[key]
            assert isinstance(about, TensorStorageMetadata)
            found = sorted(pieces.get(key, ()), key=lambda p: p.at)
            stored.append(Stored(tuple(places), about.properties.dtype, tuple(about.size), tuple(found)))
        write_bytes(self.folder / REST, self.rest)
        Plan(self.folder, dict(sorted(parts.items())), stored).write()
        try:
            self.publish()
        except OSError as e:
            raise unwritable(self.folder, e) from None

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: object) -> bool:
        return True


def entry_of(item: WriteItem) -> Entry:
    """How a piece stands in the head of its file."""
    assert item.tensor_data is not None
    at = ",".join(map(str, item.index.offset or ()))
    return Entry(f"{item.index.fqn}@{at}", item.tensor_data.properties.dtype, tuple(item.tensor_data.chunk.sizes))


class Reader(StorageReader):
    """Gives each rank the pieces that its tensors need, from a folder that any number of ranks have written."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.stored = {stored.key: stored for stored in plan.tensors}

    def reset(self, checkpoint_id: object = None) -> None: ...

    def read_metadata(self, *args: object, **kwargs: object) -> Metadata:
        known: dict[str, Any] = {}
        for key, stored in self.stored.items():
            chunks = [ChunkStorageMetadata(torch.Size(p.at), torch.Size(p.shape)) for p in stored.pieces]
            properties = TensorProperties(dtype=stored.dtype)
            known[key] = TensorStorageMetadata(properties, torch.Size(stored.shape), chunks)
        return Metadata(known)

    def set_up_storage_reader(self, metadata: Metadata, is_coordinator: bool, *args: object, **kwargs: object) -> None: ...

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        return plan

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        return plans

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        for item in plan.items:
            stored = self.stored[item.storage_index.fqn]
            piece = next(p for p in stored.pieces if p.at == tuple(item.storage_index.offset or ()))
            held = self.plan.piece(stored, piece)
            held = held[tuple(slice(at, at + n) for at, n in zip(item.storage_offsets, item.lengths))]
            target = planner.resolve_tensor(item).detach()
            target.copy_(held)
            planner.commit_tensor(item, target)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: object) -> bool:
        return True


def save(planner: Planned, writer: Writer, group: dist.ProcessGroup | None) -> Fault | None:
    """Write a folder. All ranks call this; what one of them could not do is returned on all, with its rank."""
    try:
        state_dict_saver.save({}, storage_writer=writer, planner=planner, process_group=group)
    except CheckpointException as e:
        return told(e)
    return None


def load(plan: Plan, targets: dict[str, Tensor]) -> None:
    """Fill ``targets``, sharded or whole, with the tensors of these keys. All ranks call this.

    Raises:
        UserError: a rank could not read a part; on all of them.
    """
    try:
        planner = DefaultLoadPlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
        state_dict_loader.load(targets, storage_reader=Reader(plan), planner=planner)
    except CheckpointException as e:
        raise UserError(*told(e)) from None


def told(error: CheckpointException) -> Fault:
    """The first rank's error, and which rank it is. An error that is no user's is raised as it is."""
    rank, (cause, _) = min(error.failures.items())
    if not isinstance(cause, UserError):
        raise RuntimeError(f"rank {rank}: {cause!r}") from cause
    return cause.where, f"rank {rank}: {cause.what}", cause.instead
