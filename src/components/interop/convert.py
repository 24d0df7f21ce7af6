"""Converts a folder in Hugging Face's layout to one of our runs, and a run to such a folder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from components.core.config_types import Config
from components.core.errors import UserError
from components.core.files import whole_folder, write_text
from components.core.meta import on_meta
from components.core.on_demand import OnDemand
from components.interop import tensors
from components.interop.architecture import Architecture, architectures
from components.interop.compare import differences, explicit, layer_by_layer
from components.interop.config import architecture_of, at, config_of, differs_from, names_of, recipe_of, text_model_of
from components.interop.fields import FREE
from components.interop.files import SHARD_BYTES, Tensors, read_json, write
from components.interop.gguf_file import GGUFTensors, is_gguf, read_gguf
from components.interop.own import OWN
from components.interop.quantised import Dequantised, dequantised
from components.interop.spelled import spelled_out, vocab_of

# what most programs read, of several classes that are one model
COMMON = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen3MoeForCausalLM")
SLACK = 10**6  # numbers that a file may lack: biases and tables that are zero, or computed


@dataclass(frozen=True)
class Imported:
    """A folder's content in our terms: the spelled-out config, the weights in the files' dtypes, and the config.json."""

    architecture: Architecture
    recipe: Config
    config: Config
    weights: OnDemand
    used: list[str]
    source: Config
    bare: bool = False  # the files are those of a model without a head: names lack the prefix
    whole: str | None = None  # the class of the model that this is the text model of
    note: str = ""  # what was done to the numbers
    left: tuple[str, ...] = ()  # weights that are not read, since no output here depends on them


def read_config(file: Path) -> tuple[Architecture, Config, list[str], Config]:
    """(architecture, recipe, fields used, config.json) of a config.json or the folder that has one."""
    file = file / "config.json" if file.is_dir() else file
    return _fields(read_json(file), str(file))


def _fields(raw: Config, where: str) -> tuple[Architecture, Config, list[str], Config]:
    source = text_model_of(raw)
    architecture = architecture_of(source, where)
    recipe, used = recipe_of(architecture, source, where)
    return architecture, recipe, used, source


def read_folder(folder: Path) -> Imported:
    """Config and weights of a folder, or of a GGUF file.

    Raises:
        UserError: one list of everything that does not fit. Nothing has been written then.
    """
    if is_gguf(folder):
        raw, within = read_gguf(folder)
        return _read(raw, lambda: within, folder)
    raw = read_json(folder / "config.json")
    if raw.get("quantization_config") is None:  # of a model that reads more than text, it stands outside of its text model's
        return _read(raw, lambda: Tensors(folder), folder)
    return _read(raw, lambda: dequantised(Tensors(folder), raw, str(folder / "config.json")), folder)


def _read(raw: Config, opened: Callable[[], Tensors | Dequantised | GGUFTensors], folder: Path) -> Imported:
    """A config.json and its tensors, which are looked for once the class is known; ``folder``: where they are from, for messages."""
    place = folder if is_gguf(folder) else folder / "config.json"
    architecture, recipe, used, source = _fields(raw, str(place))
    files = opened()
    config, model = composed(recipe, place)
    shapes = {n: t.shape for n, t in model.state_dict().items()}
    source = {n: v for n, v in source.items() if n != "quantization_config"}
    count = sum(shape.numel() for shape in shapes.values())
    if count > files.bytes + SLACK:  # a number has two bytes, and two names may share it
        said = f"gives a model of {count:,} numbers, and the files there have {files.bytes:,} bytes"
        raise UserError(str(place), said, "fetch the whole folder again")
    get = partial(at, config)
    weights = tensors.read(architecture, files, shapes, get, str(folder))
    bare = bool(architecture.prefix) and not any(n.startswith(architecture.prefix) for n in tensors.named(architecture, files))
    left = tuple(tensors.left_behind(architecture, files, tensors.steps(architecture, shapes, get)))
    name = next(iter(names_of(raw)), None)
    whole = name if name in architecture.within else None
    return Imported(architecture, recipe, config, weights, used, source, bare, whole, files.note, left)


def composed(recipe: Config, place: Path) -> tuple[Config, nn.Module]:
    """(config, model on meta) of a recipe made from a config.json. Errors are reported as faults of the config.json."""
    with faults_of(place):
        config = spelled_out(recipe)
        return config, on_meta(config, vocab_of(recipe))


@contextmanager
def faults_of(file: Path) -> Iterator[None]:
    """What a recipe made from this file cannot be is said as a fault of the file."""
    try:
        yield
    except (UserError, ValueError, TypeError) as e:
        said = re.sub(r"\S*imported\.yaml(:\d+)?: ", "", str(e))
        raise UserError(str(file), f"gives no model: {said}") from e


def architecture_for(
    config: Mapping[str, Any], vocab_size: int, prefer: str | None = None, among: Collection[str] = ()
) -> tuple[Architecture, dict[str, Any]]:
    """The architecture that matches this model, and its config.json: read again, it composes to the same model.

    Several may match (Mistral without a window is Llama). The one that ``prefer`` names is tried first, then the most common; ``among``: no others
    than these classes are tried.

    A mapping that fails on a model that it does not know breaks no other's export: its failure is raised only if none matches.

    Raises:
        UserError: no architecture matches; the message says what the nearest would change.
    """
    if prefer in OWN.names:
        return OWN, {**config_of(OWN, config), "vocab_size": vocab_size}
    classes = ", ".join(among) or "the known architectures"
    best: tuple[int, Architecture, list[str]] | None = None
    broken: list[Exception] = []
    ours = explicit(config)
    for architecture in sorted(architectures(), key=lambda a: (prefer not in a.names, a.label not in COMMON)):
        if at(architecture.base, "model.name") != at(config, "model.name") or (among and architecture.label not in among):
            continue
        try:
            made, differing = asked(architecture, ours, vocab_size)
        except Exception as e:  # a fault of the mapping itself, which must not keep the others from being asked
            e.add_note(f"{architecture.label} was asked to write this model")
            broken.append(e)
            continue
        if not differing:
            return architecture, made
        if best is None or len(differing) < best[0]:
            best = (len(differing), architecture, differing)
    if broken:
        raise broken[0]
    if best is None:
        raise UserError("export", f"none of {classes} is a model/{at(config, 'model.name')}")
    raise UserError(
        "export",
        f"the model is none of {classes}; nearest is {best[1].label}, with {'; '.join(best[2][:6])}",
        "keep it as a run: components.load reads it",
    )


def asked(architecture: Architecture, ours: Config, vocab_size: int) -> tuple[Config, list[str]]:
    """(config.json, how it differs) of an architecture that is asked to write an ``explicit`` model."""
    faults: list[str] = []
    try:
        made = {**config_of(architecture, {**ours, "vocab_size": vocab_size}, faults), "vocab_size": vocab_size}
        recipe, _ = recipe_of(architecture, made, "export")
        theirs = explicit(spelled_out(recipe))
    except UserError as e:
        return {}, [*(faults or [str(e)]), *differs_from(architecture, ours)]
    differing = differences(layer_by_layer(ours["model"]), layer_by_layer(theirs["model"]))
    return made, merged_layers(differing) or faults


def merged_layers(differing: Iterable[str]) -> list[str]:
    """What several layers share is said once."""
    return [*dict.fromkeys(re.sub(r"^model\.layers\.\d+\.", "model.", d) for d in differing)]


UNKEPT = frozenset(("architectures", "model_type", "torch_dtype", "dtype", "auto_map", "quantization_config"))


def describes(architecture: Architecture, source: Mapping[str, object], config: Mapping[str, object], vocab_size: int) -> bool:
    """Whether a config.json still describes this model."""
    if architecture is OWN:  # written again: what training alone depends on stands there too
        return False
    try:
        return not apart(architecture, source, config, vocab_size)
    except UserError:
        return False


def apart(architecture: Architecture, source: Mapping[str, object], config: Mapping[str, object], vocab_size: int) -> list[str]:
    """How the model that a config.json describes differs from this one.

    Raises:
        UserError: it describes none.
    """
    recipe, _ = recipe_of(architecture, source, "export")
    ours, theirs = (layer_by_layer(explicit(c)["model"]) for c in (config, spelled_out(recipe)))
    rows = [] if vocab_of(recipe) == vocab_size else [f"vocab_size={vocab_of(recipe)} (yours: {vocab_size})"]
    return [*rows, *merged_layers(differences(ours, theirs))]


def write_folder(
    config: Mapping[str, object],
    weights: Mapping[str, Tensor],
    vocab_size: int,
    folder: Path,
    extra: Mapping[str, object] | None = None,
    prefer: str | None = None,
    *,
    source: Mapping[str, object] | None = None,
    bare: bool = False,
    shard_bytes: int = SHARD_BYTES,
    files: Mapping[str, str] | None = None,
    card: Callable[[str], str] | None = None,
) -> Architecture:
    """A folder that transformers loads. Written beside and moved into place: an error leaves nothing behind.

    Args:
        extra: fields for config.json that change no number (special tokens).
        prefer: name of the class to write, where the model is several.
        source: the config.json that came with the model: written again where it still says this model, else its fields without effect.
        bare: leave the prefix of all names out, as the class without a head does.
        shard_bytes: of one file at most.
        files: {name: text} of more files, such as the tokenizer's.
        card: the text of README.md, of the class that is written.
    """
    architecture, fields = architecture_for(config, vocab_size, prefer)
    spelled = explicit(config)
    made = tensors.write(architecture, weights, lambda path: at(spelled, path))
    dtypes = {str(t.dtype).removeprefix("torch.") for t in made.values()}
    fields |= extra or {}
    if source is not None:
        free = {n: v for n, v in source.items() if n in (FREE | architecture.free) - UNKEPT}
        fields = {**source} if describes(architecture, source, config, vocab_size) else {**fields, **free}
    if prefer in architecture.names:
        fields["architectures"] = [prefer]
    if bare:
        made = {n.removeprefix(architecture.prefix): t for n, t in made.items()}
    if len(dtypes) == 1:
        fields = {**{n: v for n, v in fields.items() if n != "torch_dtype"}, "dtype": dtypes.pop()}
    with whole_folder(folder) as part:
        write(made, part, shard_bytes=shard_bytes)
        said = {} if card is None else {"README.md": card(prefer if prefer in architecture.names else architecture.label)}
        for name, text in {**(files or {}), **said}.items():
            write_text(part / name, text)
        write_text(part / "config.json", json.dumps(fields, indent=2, sort_keys=True) + "\n")
    return architecture
