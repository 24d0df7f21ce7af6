"""A ``config.json`` to a recipe and back: every field is used, free, or refused; none that changes the numbers is guessed at."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from components.errors import UserError, nearest
from components.interop.architecture import Architecture, architectures
from components.interop.fields import FREE, Unsupported

WHOLE = (
    "tie_word_embeddings",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
)  # fields that a model of more than text has for its text model


def text_model_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config.json of the text model within a model that reads more than text; any other as it is."""
    named = set(config.get("architectures") or ())
    label = next((a.label for a in architectures() if named & set(a.within)), None)
    if label is None or not isinstance(config.get("text_config"), Mapping):
        return dict(config)
    kept = {n: config[n] for n in WHOLE if config.get(n) is not None}
    return {**config["text_config"], **kept, "architectures": [label]}


def architecture_of(config: Mapping[str, Any], where: str) -> Architecture:
    """The architecture that a config.json names."""
    named = config.get("architectures") or []
    known = {name: a for a in architectures() for name in a.names}
    fitting = [a for a in architectures() if set(named) & set(a.names) and a.fits(config)]
    if not named:
        fitting = [a for a in architectures() if a.model_type == config.get("model_type") and a.fits(config)]
    if fitting:
        return fitting[0]
    if not named and config.get("model_type") is None:
        raise UserError(where, "names no architecture", 'it needs "architectures": ["LlamaForCausalLM"] or the like')
    name = str(named[0]) if named else str(config.get("model_type"))
    more = "; it reads more than text" if "text_config" in config else ""
    raise UserError(where, f"architecture {name} is not known here{more}", nearest(name, list(known), called="architectures"))


def recipe_of(architecture: Architecture, config: Mapping[str, Any], where: str) -> tuple[dict[str, Any], list[str]]:
    """(nodes of a recipe, names of the fields that were used).

    Raises:
        UserError: one list of all fields that have a value we do not express or that nobody knows.
    """
    faults: list[str] = []
    used: list[str] = []
    nodes: dict[str, Any] = deepcopy(dict(architecture.base))
    for field in architecture.fields:
        used += [n for n in field.names if n in config]
        try:
            for path, value in field.read(config).items():
                put(nodes, path, value)
        except Unsupported as e:
            faults.append(str(e))
    free = FREE | architecture.free
    unknown = [n for n in config if n not in used and n not in free and config[n] is not None]
    faults += [f"{n}={config[n]!r}: not known, and it may change the numbers" for n in unknown]
    if faults:
        raise UserError(where, f"{architecture.label}: {'; '.join(faults)}", "such a model cannot be composed here yet")
    return nodes, list(dict.fromkeys(used))


def config_of(architecture: Architecture, config: Mapping[str, Any], faults: list[str] | None = None) -> dict[str, Any]:
    """A config.json for our spelled-out ``config``.

    Args:
        architecture: whose fields are written.
        config: ours.
        faults: takes what cannot be said, instead of raising it.

    Raises:
        UserError: options that the architecture does not have.
    """
    kept = faults
    faults = [] if kept is None else kept
    made: dict[str, Any] = {"architectures": [architecture.label], "model_type": architecture.model_type}
    for field in architecture.fields:
        try:
            made.update(field.write(lambda path: at(config, path)))
        except Unsupported as e:
            faults.append(str(e))
    if faults and kept is None:
        raise UserError("export", f"{architecture.label}: {'; '.join(faults)}")
    return made


def at(config: Any, path: str) -> Any:
    """The value at a dotted path, None where there is none."""
    for word in path.split("."):
        if isinstance(config, Mapping) and word in config:
            config = config[word]
        elif isinstance(config, list) and word.isdigit() and int(word) < len(config):
            config = config[int(word)]
        else:
            return None
    return config


def put(nodes: dict[str, Any], path: str, value: Any) -> None:
    """Set the value at a dotted path; a name that stands where a node is needed becomes one."""
    *words, last = path.split(".")
    for word in words:
        inner = nodes.get(word)
        inner = {"name": inner} if isinstance(inner, str) else {} if inner is None else inner
        nodes[word] = inner
        nodes = inner
    nodes[last] = value
