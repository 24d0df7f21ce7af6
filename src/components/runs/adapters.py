"""Adapters of runs in PEFT's layout: written from a run, read as a run over its base, or read beside a model that is loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from components.compose.request import Request
from components.core.config_types import Config
from components.core.errors import UserError
from components.core.files import whole_folder, write_text
from components.core.registry import find
from components.core.traits import provides
from components.functional.quantised_tensor import unpacked
from components.interop import convert
from components.interop.adapter_tensors import changes_of
from components.interop.compare import explicit
from components.interop.config import at
from components.interop.files import save
from components.interop.peft import Adapter, Base, write
from components.interop.peft_config import CONFIG, WEIGHTS
from components.interop.peft_reading import read
from components.interop.rotary_layout import in_halves
from components.interop.tensors import steps
from components.parts.adapter._merge import adapter_state_dict
from components.runs import archive, checkpoints, importing, resume, run_folder
from components.runs.exporting import known_form
from components.runs.foreign import free_place, keep
from components.runs.loading import model_of, vocab_size_of
from components.runs.weights import materialise

NONE = {"name": "none"}


def export_adapter(run: str, to: Path) -> str:
    """Write PEFT's folder of a run's adapter to ``to``. Returns what to print about it.

    Raises:
        UserError: the run has none, its model matches no known architecture, or ``to`` exists already. Nothing has been written then.
    """
    to = free_place(to)
    folder, file = run_folder.find_run(run, resume.runs_folder(Request.of([])))
    file = file or run_folder.checkpoint_of(folder, best=True)
    checkpoint = checkpoints.read(file, "weights")
    ours = checkpoint["components"]
    config, source = ours["config"], ours.get("source")
    node = config.get("adapter") or NONE
    if node["name"] == "none":
        raise UserError(str(file), "has no adapter", "leave --adapter out: the whole model is written then")
    vocab_size = vocab_size_of(config, checkpoints.tokenizer_in(checkpoint))
    model = model_of(config, vocab_size)
    materialise(model, "cpu", config["seed"], draw=False)
    archive.load_into(model, checkpoints.weights_in(checkpoint), str(file))
    base = base_of(config, _plain(config, unpacked(model.state_dict()), vocab_size), vocab_size, _prefer(source))
    beside = [n for n in adapter_state_dict(model) if n in base.weights]
    kept = {} if source is None else source.get("adapter", {})
    fields, tensors = write(base, node, changes_of(model), beside, {"task_type": _task(config)}, kept)
    with whole_folder(to) as part:
        save(tensors, part / WEIGHTS)
        write_text(part / CONFIG, json.dumps(fields, indent=2, sort_keys=True))
    return f"{node['name']} of {base.architecture.label}: {len(tensors)} tensors of {file}\nfolder: {to}"


def _task(config: Config) -> str | None:
    name = config["model"]["name"]
    return "SEQ_2_SEQ_LM" if provides(find("model", name), "source") else "CAUSAL_LM" if name == "decoder" else None


def _prefer(source: archive.Source | None) -> str | None:
    return None if source is None else (source.get("config", {}).get("architectures") or [source.get("architecture")])[0]


def _plain(config: Config, weights: Mapping[str, Tensor], vocab_size: int) -> dict[str, Tensor]:
    """The weights of the model without its adapter."""
    return {n: weights[n] for n in convert.on_meta(config, vocab_size).state_dict() if n in weights}


def base_of(config: Config, weights: dict[str, Tensor], vocab_size: int, prefer: str | None) -> Base:
    """What a model that has or gets an adapter is to those who know its class.

    Raises:
        UserError: it matches no known architecture.
    """
    known, turned = known_form(config, weights, vocab_size, prefer)
    architecture, _ = convert.architecture_for(known, vocab_size, prefer)
    spelled = explicit(known)
    done = steps(architecture, {n: t.shape for n, t in turned.items()}, lambda path: at(spelled, path))
    rows = {n: torch.arange(t.shape[0]) for n, t in weights.items() if turned[n] is not t}
    halved = in_halves(config, rows) if rows else None
    modules = dict(convert.on_meta(config, vocab_size).named_modules())
    tied = at(spelled, "model.head.name") == "tied"
    return Base(architecture, done, turned, modules, tied, {} if halved is None else halved[1])


def import_adapter(path: str, base: str, to: Path) -> str:
    """Write ``to``, a run of the model ``base`` with the adapter of PEFT's folder ``path``. Returns what to print about it.

    Args:
        path: a folder with adapter_config.json, or the hub's name of one.
        base: a run, a checkpoint, or a folder in Hugging Face's layout.

    Raises:
        UserError: something does not fit. Nothing has been written then.
    """
    to = free_place(to)
    folder, given = importing.located(path), importing.held(base)
    if (given.config.get("adapter") or NONE)["name"] != "none":
        raise UserError(base, "has an adapter already", "components export BASE --to FOLDER merges it; name that folder")
    vocab_size, weights = vocab_size_of(given.config, given.tokenizer), dict(given.weights)
    adapter = read(folder, base_of(given.config, weights, vocab_size, _prefer(given.source)))
    made = replace(
        given,
        config={**given.config, "adapter": adapter.node},
        weights=weights | adapter.tensors,
        source={**given.source, "adapter": adapter.source},
        notes=[f"adapter {adapter.node['name']}: {len(adapter.tensors)} tensors of {folder}"],
    )
    return keep(made, to, {"imported": path})


def read_adapter(path: str | Path, config: Config, weights: dict[str, Tensor], vocab_size: int) -> Adapter:
    """The adapter of PEFT's folder, or of a run of ours, for a model with this config and these weights.

    Raises:
        UserError: there is none, or it does not fit.
    """
    folder = Path(path).expanduser()
    if (folder / CONFIG).is_file():
        return read(folder, base_of(config, weights, vocab_size, None))
    found, file = run_folder.find_run(str(path), resume.runs_folder(Request.of([])))
    file = file or run_folder.checkpoint_of(found, best=True)
    checkpoint = checkpoints.read(file, "weights")
    theirs = checkpoint["components"]["config"]
    if (theirs.get("adapter") or NONE)["name"] == "none":
        raise UserError(str(file), "has no adapter", f"name a run with one, or a folder with {CONFIG}")
    model: nn.Module = model_of({**config, "adapter": theirs["adapter"]}, vocab_size)
    names, held = list(adapter_state_dict(model)), checkpoints.weights_in(checkpoint)
    archive.check_fits(model, held, str(file))
    if lacking := [n for n in names if n not in held]:
        raise UserError(str(file), f"has no {lacking[0]}: its adapter is another model's", "name a run over the same base")
    return Adapter(theirs["adapter"], {n: held[n] for n in names}, {})
