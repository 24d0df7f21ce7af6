"""Import a checkpoint in Hugging Face's layout as a run. The tensors keep the dtypes that they came in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.compose.request import Request
from components.core.config_types import Config
from components.core.errors import UserError
from components.corpus.foreign import numbers, read_any, token_of
from components.corpus.token_files import around, stated
from components.corpus.tokens import CONFIG_FILE, MAP_FILE, OWN_FILE, Tokens
from components.interop import convert
from components.interop.agreement import Agreement, agreement, wanted
from components.interop.gguf_file import is_gguf
from components.runs import archive, checkpoints, hub, resume, run_folder
from components.runs.foreign import Foreign, free_place, keep
from components.runs.generation_config import FILE as GENERATION
from components.runs.generation_config import decoding_of, ends_of, most_of, shown
from components.runs.gguf_tokenizer import read_in_gguf


def import_folder(path: str, to: Path, *, check: bool | None = None) -> str:
    """Write ``to``, a run's folder, from a folder or a model on the hub. Returns what to print about it.

    ``check``: whether the logits are compared with those of its class in transformers; null: where the mapping is new.

    Raises:
        UserError: something does not fit, or the logits differ. Nothing has been written then.
    """
    to = free_place(to)
    folder = located(path)
    return keep(read(folder, check=check), to, {"imported": hub.origin(path, folder)})


def is_foreign(path: Path) -> bool:
    """Whether a folder has Hugging Face's layout and is not a run of ours, or a file is in GGUF."""
    if is_gguf(path):
        return path.exists()
    return path.is_dir() and (path / "config.json").is_file() and not (path / "run.json").exists()


def located(path: str, fetched: Sequence[str] = hub.FETCHED) -> Path:
    """The folder ``path``, or the hub's folder of that name, of which the files that match ``fetched`` are downloaded."""
    folder = Path(path).expanduser()
    if is_gguf(folder) and folder.exists():
        return folder
    if folder.is_file():
        if folder.suffix not in (".json", ".safetensors"):
            raise UserError(path, "is no checkpoint", "name a folder with config.json and *.safetensors, or a .gguf file")
        folder = folder.parent
    if folder.is_dir():
        return folder
    if hub.named(path) is None:
        raise UserError(
            path, "there is no such folder", "name a folder with config.json and *.safetensors, or a model on the hub"
        )
    return hub.fetch(path, fetched)


def probe(path: str) -> Agreement:
    """Whether a folder, or a model on the hub, gives what its class in transformers gives, and where the first difference arises."""
    folder = located(path)
    return agreement(convert.read_folder(folder), folder)


def read(folder: Path, *, check: bool | None = False) -> Foreign:
    """Config, weights and tokenizer of a folder in Hugging Face's layout. ``check`` as in `import_folder`."""
    imported = convert.read_folder(folder)
    compared = agreement(imported, folder) if wanted(imported, check) else None
    if compared is not None and not compared.agrees:
        raise UserError(str(folder), compared.line, "--probe says more, --no-check imports it all the same")
    rows = convert.vocab_of(imported.recipe)
    generation = {} if is_gguf(folder) else stated(folder / GENERATION)
    tokenizer, notes = _tokenizer(folder, rows, imported.source, generation)
    notes += [n for n in (imported.note, "" if compared is None else str(compared)) if n]
    source: archive.Source = {
        "architecture": imported.architecture.label,
        "config": imported.source,
        "generation_config": generation,
        "bare": imported.bare,
    }
    if imported.whole is not None:
        notes.append(f"of {imported.whole} its text model alone: nothing here reads images")
    if imported.left:
        notes.append(f"left behind, since no output here depends on it: {', '.join(imported.left)}")
    config = _masking(imported.config, tokenizer, rows, notes)
    starts = {"decoder_start_token_id": imported.source.get("decoder_start_token_id")}
    decoding, unread = decoding_of({**starts, **generation}, str(folder / GENERATION))
    if decoding is not None:
        config = {**config, "decoding": decoding}
        most = "" if tokenizer.most is None else f"; at most {tokenizer.most} new tokens"
        notes.append(f"decoding as {GENERATION} says: {shown(decoding)}{most}")
    if unread:
        notes.append(f"{GENERATION}: {', '.join(unread[:12])} left unread: no option of decoding={config['decoding']['name']}")
    return Foreign(config, imported.weights, tokenizer, source, notes)


def _masking(config: Config, tokenizer: Tokens, rows: int, notes: list[str]) -> Config:
    """``config`` with the checkpoint's mask token. Without one, masked_lm would add a token, and the model has no row for it."""
    if config["loss"]["name"] != "masked_lm":
        return config
    said = _said(tokenizer)
    names = ([mask.content] if (mask := token_of(said.get("mask_token"))) else []) + ["[MASK]", "<mask>"]
    found = [i for n in names if (i := tokenizer.core.token_to_id(n)) is not None and i < rows]
    if not found:
        notes.append(f"no mask token there: loss.mask_id is the last id, {rows - 1}; say which it is before training on")
    return {**config, "loss": {**config["loss"], "mask_id": found[0] if found else rows - 1}}


def _said(tokenizer: Tokens) -> dict[str, object]:
    """What the files beside tokenizer.json say about special tokens."""
    return {**tokenizer.said(MAP_FILE), **tokenizer.said(CONFIG_FILE)}


def _tokenizer(
    folder: Path, rows: int, config: Mapping[str, object], generation: Mapping[str, object]
) -> tuple[Tokens, list[str]]:
    """(the folder's tokenizer, with the model's number of rows and the ids that begin and end a text; lines to print)."""
    found, notes = read_in_gguf(folder) if is_gguf(folder) else read_any(folder), []
    own: dict[str, Any] = {"vocab_size": rows}
    first, last = (config.get(f"{role}_token_id") for role in ("bos", "eos"))
    if found is None:
        found = Tokens(numbers(rows), {})
        own |= {"numbers": True, "begins": [first] if isinstance(first, int) and first < rows else []}
        notes.append("no tokenizer there: ids are written as numbers")
    else:
        own["begins"] = around(found.core)[0]
    ends = ends_of(generation, last, str(folder / (GENERATION if "eos_token_id" in generation else "config.json")))
    if ends is not None:
        own["ends"] = ends
    if (most := most_of(generation, str(folder / GENERATION))) is not None:
        own["most"] = most
    # a forced first token is the same in every text, so it is given and not chosen
    said_first = [generation.get(n, config.get(n)) for n in ("decoder_start_token_id", "forced_bos_token_id")]
    if isinstance(said_first[0], int):
        own["starts"] = [i for i in said_first if isinstance(i, int)]
    core, roles = found.core, dict(found.roles)
    said = _said(found)
    for role, name in (("bos", "bos"), ("eos", "eos"), ("pad", "pad"), ("endoftext", "eos")):
        i = config.get(f"{name}_token_id")
        if token_of(said.get(f"{name}_token")) is None and isinstance(i, int) and (token := core.id_to_token(i)) is not None:
            roles[role] = token
    if lacking := sorted(t for t, i in core.get_vocab(with_added_tokens=True).items() if i >= rows):
        notes.append(f"{len(lacking)} tokens have no row in the model and must not be used: {', '.join(lacking[:5])}")
    return Tokens(core, roles, {**found.files, OWN_FILE: json.dumps(own)}), notes


def held(name: str) -> Foreign:
    """What a run, a checkpoint or a folder in Hugging Face's layout holds. A run's best checkpoint, where it is not named.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    path = Path(name).expanduser()
    if is_foreign(path):
        return read(path)
    folder, file = run_folder.find_run(name, resume.runs_folder(Request.of([])))
    file = file or run_folder.checkpoint_of(folder, best=True)
    checkpoint = checkpoints.read(file, "weights")
    ours = checkpoint["components"]
    source = ours.get("source") or {"architecture": "own"}
    return Foreign(ours["config"], checkpoints.weights_in(checkpoint), checkpoints.tokenizer_in(checkpoint, file), source, [])
