"""Checks of a checkpoint's file before it is used: an undamaged archive that holds plain data.

PyTorch maps the file without comparing checksums, so a flipped byte would load as a different weight. The archive holds a checksum of every
member. Comparing them reads the file once, at more than a gigabyte a second.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict, TypeGuard, cast

import torch
from torch import nn

from components import __version__
from components.core.config_types import Config
from components.core.content import plain
from components.core.errors import UserError
from components.core.files import parse_json, reason, regular
from components.core.on_demand import outline
from components.core.weight_names import first_few
from components.corpus.tokens import LABELS_FILE, MAP_FILE, OWN_FILE
from components.runs.run_files import check_config

SCHEMA = 1
PICKLED = 64 * 2**20  # bytes of the member that lists the contents; tensors are in members of their own
DAMAGED = "use another checkpoint of the run"


class Ours(TypedDict):
    """What this package writes into a checkpoint beside Lightning's state."""

    version: str
    schema: int
    config: Config
    tokenizer: dict[str, str]  # its files, {name: text}
    random: NotRequired[list[dict[str, torch.Tensor]]]  # the state of every rank
    sums: NotRequired[dict[str, torch.Tensor]]
    optimizer_tensors: NotRequired[int]
    due: NotRequired[bool]  # a validation of this step has still to be made
    stopped: NotRequired[bool]  # early stopping has ended the run
    source: NotRequired[Source]


class Source(TypedDict):
    """Where an imported model is from: what an export needs to write the same again."""

    architecture: str
    config: NotRequired[dict[str, Any]]
    generation_config: NotRequired[dict[str, Any]]
    bare: NotRequired[bool]
    adapter: NotRequired[dict[str, Any]]  # PEFT's adapter_config.json


class Checkpoint(TypedDict):
    """A checkpoint, as Lightning and this package write it. Its optional entries are Lightning's, of a run that can go on."""

    components: Ours
    state_dict: dict[str, torch.Tensor]
    global_step: int
    optimizer_states: NotRequired[list[dict[str, Any]]]
    lr_schedulers: NotRequired[list[dict[str, Any]]]
    callbacks: NotRequired[dict[str, Any]]
    loops: NotRequired[dict[str, Any]]


def check_archive(file: Path) -> None:
    """Check that ``file`` is a zip archive as ``torch.save`` writes it, and that the checksum of every member is right.

    Raises:
        UserError: it is not, or cannot be read.
    """
    size = regular(file).stat().st_size
    try:
        sound = zipfile.is_zipfile(file)
    except OSError as e:
        raise UserError(str(file), f"cannot be read ({reason(e)})", "give a file that can be read") from None
    if not sound:  # torch would try to unpickle it, and report that it found code
        raise UserError(str(file), "is not a checkpoint", "give a run, or best.ckpt or last.ckpt of one")
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            packed = any(m.compress_type != zipfile.ZIP_STORED or m.flag_bits & 1 for m in members)
            if packed or sum(m.file_size for m in members) > size or len({m.filename for m in members}) < len(members):
                raise UserError(str(file), "is not a checkpoint: torch.save does not write such an archive", DAMAGED)
            if large := [m.filename for m in members if m.filename.endswith(".pkl") and m.file_size > PICKLED]:
                raise UserError(str(file), f"is not a checkpoint: {large[0]} is larger than {PICKLED:,} bytes", DAMAGED)
            wrong = archive.testzip()
    except UserError:
        raise
    except Exception as e:  # zipfile raises BadZipFile, EOFError, struct.error, NotImplementedError for damaged ones
        raise UserError(str(file), f"is damaged ({reason(e)})", DAMAGED) from None
    if wrong is not None:
        raise UserError(str(file), f"is damaged: the checksum of {wrong} is wrong", DAMAGED)


def check_shape(loaded: object, where: str) -> Checkpoint:
    """What was loaded, as a checkpoint.

    Raises:
        UserError: it is of a newer release, or anything in it is missing or of another type than we write.
    """
    checkpoint = loaded if isinstance(loaded, dict) else {}
    ours = checkpoint.get("components")
    if ours is None:
        raise UserError(where, "was not written by this package: it has no config", "use best.ckpt or last.ckpt of a run")
    ours = ours if isinstance(ours, dict) else {}
    schema, tokenizer = ours.get("schema"), ours.get("tokenizer")
    if _whole(schema) and schema > SCHEMA:
        raise UserError(
            where,
            f"was written by a newer release ({ours.get('version')}; this is {__version__})",
            "upgrade lightning-components",
        )
    step = checkpoint.get("global_step")
    lacking = [
        name
        for name, there in (
            ("schema", _whole(schema)),
            ("tokenizer", isinstance(tokenizer, dict) and "tokenizer.json" in tokenizer),
            ("state_dict", isinstance(checkpoint.get("state_dict"), dict)),
            ("global_step", _whole(step) and step >= 0),
        )
        if not there
    ]
    if lacking or not isinstance(tokenizer, dict):
        raise UserError(where, f"is damaged: it lacks {', '.join(lacking)}", DAMAGED)
    check_tokenizer(tokenizer, f"{where}: tokenizer")
    plain(ours.get("config"), f"{where}: config", names=True)
    plain(ours.get("source"), f"{where}: source")
    check_config(ours.get("config"), where)
    for name, tensor in checkpoint["state_dict"].items():
        if not (isinstance(name, str) and isinstance(tensor, torch.Tensor) and _whole_tensor(tensor)):
            raise UserError(where, f"is damaged: {name!r} is not a weight", DAMAGED)
    return cast(Checkpoint, checkpoint)


def check_tokenizer(files: dict[str, str], where: str) -> None:
    """Check the files of a tokenizer, {name: text}, and the contents of those that this package reads itself.

    Raises:
        UserError: one of them is damaged.
    """
    for name, text in plain(files, where).items():
        if not (isinstance(name, str) and isinstance(text, str) and name and name == Path(name).name and name.isprintable()):
            raise UserError(where, f"is damaged: the file {name!r} has a bad name or no text", DAMAGED)
    for name in files:
        if name in (OWN_FILE, MAP_FILE, LABELS_FILE, "tokenizer_config.json"):
            held = plain(parse_json(files[name], f"{where}: {name}"), f"{where}: {name}")
            if not isinstance(held, list if name == LABELS_FILE else dict):
                raise UserError(f"{where}: {name}", f"is damaged: it holds a {type(held).__name__}", DAMAGED)
            if name == LABELS_FILE and not all(isinstance(label, str) for label in held):
                raise UserError(f"{where}: {name}", "is damaged: a label is not text", DAMAGED)
            if (
                name == OWN_FILE
                and isinstance(held, dict)
                and (odd := [n for n, v in held.items() if not OWN.get(n, lambda _: True)(v)])
            ):
                raise UserError(f"{where}: {name}", f"is damaged: {odd[0]}={held[odd[0]]!r}", DAMAGED)


def check_fits(model: nn.Module, weights: Mapping[str, torch.Tensor], where: str) -> None:
    """Check that weights have the shapes and the sort of number that the model has. The model may be on meta.

    Raises:
        UserError: one of them does not fit.
    """
    own = model.state_dict()
    for name, tensor in weights.items():
        if name not in own:
            continue
        if tensor.shape != own[name].shape:
            shapes = f"{name} is {tuple(tensor.shape)} there and {tuple(own[name].shape)} here"
            raise UserError(where, f"the weights do not fit the config: {shapes}", "leave overrides of the model out")
    check_kinds(own, weights, where)


def check_kinds(own: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor], where: str) -> None:
    """UserError if a tensor holds whole numbers on one side and floating-point numbers on the other."""
    for name in own:
        if name in weights and weights[name].is_floating_point() != own[name].is_floating_point():
            raise UserError(where, f"is damaged: {name} is {weights[name].dtype}, not {own[name].dtype}", DAMAGED)


def load_into(model: nn.Module, weights: Mapping[str, torch.Tensor], where: str) -> None:
    """Copy all weights into the model, which has its memory. UserError if they belong to another model."""
    check_fits(model, outline(weights), where)
    own = model.state_dict()
    for said, names in (("lacks", [n for n in own if n not in weights]), ("has", [n for n in weights if n not in own])):
        if names:
            what = f"the weights do not fit the config: it {said} {first_few(names)}"
            raise UserError(where, what, "leave overrides of the model out")
    with torch.no_grad():
        for name in weights:  # one after another: those that are read on demand are in memory one by one
            own[name].copy_(weights[name])


def _ids(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(_whole(i) and i >= 0 for i in value))


# what a tokenizer that came with a model keeps in components.json
OWN: dict[str, Callable[[object], bool]] = {
    "vocab_size": lambda v: v is None or (_whole(v) and 0 < v < 2**31),
    **dict.fromkeys(("begins", "ends", "starts"), _ids),
    "most": lambda v: v is None or (_whole(v) and 0 < v < 2**31),
}


def _whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _whole_tensor(tensor: torch.Tensor) -> bool:
    """Whether a tensor is dense and real, and has memory for all its elements. A view with strides of 0 claims more than it holds."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
