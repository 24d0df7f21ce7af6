"""Converts a ``config.json`` to a recipe and back. Every field is used, free, or refused; no field that changes numbers is
guessed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from components.core.config_types import Config
from components.core.errors import UserError, nearest
from components.core.option_types import parse_type
from components.interop.architecture import Architecture, architectures
from components.interop.fields import FREE, Unsupported
from components.interop.own import OWN

DEPTH = parse_type("Depth | None")
SIZE = parse_type("Positive")
DEPTHS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers", "encoder_layers", "decoder_layers")

WHOLE = (
    "tie_word_embeddings",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
)  # fields that a model of more than text has for its text model


def text_model_of(config: Mapping[str, Any]) -> Config:
    """The config.json of the text model inside a multimodal model. Any other config is returned as it is."""
    named = set(names_of(config))
    label = next((a.label for a in architectures() if named & set(a.within)), None)
    if label is None or not isinstance(config.get("text_config"), Mapping):
        return dict(config)
    kept = {n: config[n] for n in WHOLE if config.get(n) is not None}
    return {**config["text_config"], **kept, "architectures": [label]}


def architecture_of(config: Mapping[str, object], where: str) -> Architecture:
    """The architecture that a config.json names."""
    if config.get("model_type") == OWN.model_type:
        return OWN
    named = names_of(config, where)
    known = {name: a for a in architectures() for name in a.names}
    meant = [a for a in architectures() if set(named) & set(a.names)]
    if not named:
        meant = [a for a in architectures() if a.model_type == config.get("model_type")]
    fitting = [a for a in meant if _read(lambda a=a: a.fits(config), a.label, where)]
    if fitting:
        return fitting[0]
    if not named and config.get("model_type") is None:
        raise UserError(where, "names no architecture", 'it needs "architectures": ["LlamaForCausalLM"] or the like')
    name = str(named[0]) if named else str(config.get("model_type"))
    more = "; it reads more than text" if "text_config" in config else ""
    raise UserError(where, f"architecture {name} is not known here{more}", nearest(name, list(known), called="architectures"))


def names_of(config: Mapping[str, object], where: str = "") -> list[str]:
    """The classes that a config.json names in ``architectures``; empty if there are none."""
    named = config.get("architectures")
    if isinstance(named, list) and all(isinstance(n, str) for n in named):
        return named
    if named and where:
        raise UserError(where, f"architectures={named!r} is no list of names", 'write "architectures": ["LlamaForCausalLM"]')
    return []


def _read(what: Callable[[], Any], called: str, where: str) -> Any:
    """The result of a field's reader. Any error it raises means that a field's value has the wrong type."""
    try:
        return what()
    except (Unsupported, UserError):
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as e:
        missing = isinstance(e, KeyError)
        said = f"{e.args[0] if e.args else e} is missing" if missing else f"has a value that it cannot have ({e})"
        raise Unreadable(where, f"{called}: {said}", "fetch it again, or mend it") from e


class Unreadable(UserError):
    """The fields that no model of this class has."""


def recipe_of(architecture: Architecture, config: Mapping[str, object], where: str) -> tuple[Config, list[str]]:
    """(nodes of a recipe, names of the fields that were used).

    Raises:
        UserError: one list of all unknown fields and all fields whose value cannot be expressed here.
    """
    for name in DEPTHS:
        if (fault := DEPTH.fault(config.get(name))) is not None:  # before anything counts to it
            raise UserError(where, f"{architecture.label}: {name}: {fault}", "such a model cannot be composed here")
    faults: list[str] = []
    used: list[str] = []
    nodes: Config = deepcopy(dict(architecture.base))
    for field in architecture.fields:
        used += [n for n in field.names if n in config]
        try:
            read = _read(lambda field=field: field.read(config), ", ".join(field.names), "")
            for path, value in read.items():
                put(nodes, path, value)
        except Unsupported as e:
            faults.append(str(e))
        except Unreadable as e:
            faults.append(e.what)
    if "vocab_size" in nodes and (fault := SIZE.fault(nodes["vocab_size"])) is not None:
        faults.append(f"vocab_size: {fault}")
    free = FREE | architecture.free
    unknown = [n for n in config if n not in used and n not in free and config[n] is not None]
    faults += [f"{n}={config[n]!r}: not known, and it may change the numbers" for n in unknown]
    if faults:
        raise UserError(where, f"{architecture.label}: {'; '.join(faults)}", "such a model cannot be composed here yet")
    return nodes, list(dict.fromkeys(used))


def config_of(architecture: Architecture, config: Mapping[str, object], faults: list[str] | None = None) -> Config:
    """A config.json for our spelled-out ``config``.

    Args:
        architecture: whose fields are written.
        config: ours.
        faults: collects what cannot be expressed; without it, an error is raised.

    Raises:
        UserError: the model has options that the architecture lacks.
    """
    kept = faults
    faults = [] if kept is None else kept
    made: Config = {"architectures": [architecture.label], "model_type": architecture.model_type}
    for field in architecture.fields:
        lacking: list[str] = []

        def get(path: str, lacking: list[str] = lacking) -> Any:
            if not there(config, path):
                lacking.append(path)
            return at(config, path)

        try:
            made.update(field.write(get))
        except Unsupported as e:
            faults.append(str(e))
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
            # a mapping reads options of its own parts: it cannot write those that this model lacks or has in another part
            if not (other := [*(f"{path} is not there" for path in lacking), *differs_from(architecture, config)]):
                raise
            faults.append(f"{', '.join(field.names)}: {', '.join(other)}")
    if faults and kept is None:
        raise UserError("export", f"{architecture.label}: {'; '.join(faults)}")
    return made


def differs_from(architecture: Architecture, config: Mapping[str, object]) -> list[str]:
    """Parts that all models of the architecture have and this one lacks."""
    base = {n: v.get("name") if isinstance(v, Mapping) else v for n, v in architecture.base["model"].items()}
    held = {n: at(config, f"model.{n}.name") for n, v in base.items() if isinstance(v, str) and n != "name"}
    return [f"model.{n}={name} where it has {base[n]}" for n, name in held.items() if name is not None and name != base[n]]


def there(config: object, path: str) -> bool:
    """Whether a dotted path has a value, null included."""
    owner, _, last = path.rpartition(".")
    held = at(config, owner) if owner else config
    return (isinstance(held, Mapping) and last in held) or at(config, path) is not None


def at(config: Any, path: str) -> Any:
    """The value at a dotted path, or None."""
    for word in path.split("."):
        if isinstance(config, Mapping) and word in config:
            config = config[word]
        elif isinstance(config, list) and word.isdigit() and int(word) < len(config):
            config = config[int(word)]
        else:
            return None
    return config


def put(nodes: Config, path: str, value: Any) -> None:
    """Set the value at a dotted path. A bare name on the way becomes a node."""
    *words, last = path.split(".")
    for word in words:
        inner = nodes.get(word)
        inner = {"name": inner} if isinstance(inner, str) else {} if inner is None else inner
        nodes[word] = inner
        nodes = inner
    nodes[last] = value
