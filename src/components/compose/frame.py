"""The frame of a run: the groups that are no parts (trainer, logger, callbacks, paths), and the run's own values (seed, resume).

Composed by OmegaConf and Hydra: the chosen file of each group, then each recipe's values, then the command line's overrides.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.compose.grammar import Argument, literal, parse, read_value, refuse_targets
from components.compose.notes import show
from components.compose.sources import DEFAULT, ConfigSource
from components.compose.trainer_keys import trainer_keys
from components.compose.yaml_files import located, read_yaml, short
from components.core.errors import UserError, nearest
from components.core.paths import expanded
from components.core.resources import folders

OPEN = ("callbacks", "logger")  # whoever reads them names what is wrong, since what they may hold depends on what is chosen
CHECKED = {"trainer": trainer_keys}
LITERAL = ("resume", "init_from")
PATHS = "paths"  # the group whose values are paths: what is typed is taken as it stands


@dataclass
class Frame:
    """What is composed so far, who chose which file, and where each value came from."""

    cwd: Path
    config: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def options(self, group: str) -> dict[str, list[Path]]:
        """The files of a group by name, the winner first."""
        found: dict[str, list[Path]] = {}
        for _, root in folders("conf", self.cwd):
            for file in sorted((root / group).glob("*.yaml")):
                found.setdefault(file.stem, []).append(file)
        return dict(sorted(found.items()))

    def choose(self, group: str, option: Any, source: ConfigSource) -> None:
        """Start a group from its file. UserError with the nearest file and all."""
        self.config[group] = self._read(group, option, [])
        self._mark({group: self.config[group]}, source)

    def _read(self, group: str, option: Any, inside: list[str]) -> dict[str, Any]:
        known = self.options(group)
        if not isinstance(option, str):
            raise UserError(group, f"{show(option)} is no choice of {group}", f"{group}: {', '.join(known)}")
        if option not in known:
            raise UserError(group, f"unknown {group} {option!r}", nearest(option, known, called=f"{group} choices"))
        if option in inside:
            raise UserError(short(known[option][0]), f"builds on itself: {' -> '.join([*inside, option])}")
        if len(known[option]) > 1:
            self.notes.append(f"{group}={option}: your own {short(known[option][0])} is used, not the shipped one")
        file = known[option][0]
        values = read_yaml(file)
        parents = values.pop("defaults", None) or []
        if not isinstance(parents, list):
            raise UserError(
                located(file, "defaults"), f"defaults: {show(parents)} is no list", "write - <name> lines, or - _self_"
            )
        for key in values if group in CHECKED else ():
            try:
                self._check(group, key)
            except UserError as e:
                raise UserError(f"{located(file, str(key))}: {e.where}", e.what, e.instead) from None
        merged: dict[str, Any] = {}
        for parent in parents:
            merged = _merged(merged, values if parent == "_self_" else self._read(group, parent, [*inside, option]))
        return _merged(merged, values)

    def start(self, values: dict[str, Any]) -> None:
        """The run's own values, as ``train.yaml`` has them."""
        self.config = {**values, **self.config}

    def say(self, values: dict[str, Any], source: ConfigSource) -> None:
        """A recipe's (or a saved config's) values for groups and the run itself."""
        for key, value in values.items():
            if key not in self.config:
                raise UserError(key, f"unknown key {key!r}", nearest(key, self.config, called="keys"))
            if isinstance(self.config[key], dict):
                if not isinstance(value, dict):
                    raise UserError(
                        key,
                        f"{key} is a group of values, not {show(value)}",
                        f"choose a file of it by - override /{key}: <name>",
                    )
                for inner in value:
                    self._check(key, inner)
            self.config[key] = _merged(self.config[key], value)
        self._mark(values, source)

    def override(self, argument: Argument, source: ConfigSource) -> None:
        """One override of the command line; ``+``, ``++`` and ``~`` as in Hydra."""
        from hydra._internal.config_loader_impl import ConfigLoaderImpl
        from hydra.errors import HydraException
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        head, last, typed = argument.path[0], argument.key.split(".")[-1], repr(argument.typed)
        if len(argument.path) == 1 and head in LITERAL and argument.text is not None:
            self.config[head] = None if argument.text == "null" else argument.text.strip("'\"")
            self.origins[head] = source.label
            return
        if len(argument.path) > 1:
            if not isinstance(self.config[head], dict):
                raise UserError(argument.key, f"{head} is a value, not a group: nothing stands below it", f"write {head}=...")
            if argument.sign != "~":
                self._check(head, argument.path[1], added=argument.sign != "")
            if head == PATHS and len(argument.path) == 2 and argument.sign != "~" and argument.text is not None:
                self.config[head][argument.path[1]] = None if argument.text == "null" else literal(argument.text)
                self.origins[argument.key] = source.label
                return
        elif isinstance(self.config[head], dict) and argument.sign != "~":
            value = read_value(argument.text or "null", argument.typed)
            if isinstance(value, dict):
                return self.say({head: value}, source)
            raise UserError(argument.key, f"{argument.text} is no choice of {head}", f"{head}: {', '.join(self.options(head))}")
        elif argument.sign == "~":
            raise UserError(
                typed,
                f"{head} cannot be deleted",
                "set it to null" if not isinstance(self.config[head], dict) else "delete keys of it",
            )
        if argument.sign == "~":
            return self._delete(argument, source)
        override = parse(f"{argument.sign}{argument.key}" + ("" if argument.text is None else f"={argument.text}"))
        if override.is_sweep_override():
            raise UserError(typed, "is a sweep", "add --multirun, or write a list as [a,b] and text with a comma in quotes")
        refuse_targets(override.value(), typed)
        before = deepcopy(self.config)
        config = OmegaConf.create(self.config)
        OmegaConf.set_struct(config, argument.sign == "" and head not in (*CHECKED, *OPEN))
        try:
            ConfigLoaderImpl._apply_overrides_to_config([override], config)
        except (HydraException, OmegaConfBaseException) as e:
            cause = str(e.__cause__ or e).strip().splitlines()[0].rstrip(".")
            held = self.config[head] if isinstance(self.config[head], dict) else {}
            raise UserError(argument.key, cause, nearest(last, held, called=f"keys of {head}")) from None
        self.config = OmegaConf.to_container(config, resolve=False)  # type: ignore[assignment]
        was, now = flat(before), flat(self.config)
        self.origins.update({k: source.label for k, v in now.items() if k not in was or was[k] != v})
        self.origins.setdefault(argument.key, source.label)

    def _delete(self, argument: Argument, source: ConfigSource) -> None:
        node: Any = self.config
        for name in argument.path[:-1]:
            node = node.get(name) if isinstance(node, dict) else None
        last = argument.path[-1]
        if not isinstance(node, dict) or last not in node:
            held = node if isinstance(node, dict) else {}
            raise UserError(argument.key, "there is nothing to delete", nearest(last, held, called="keys there"))
        del node[last]
        self.origins[argument.key] = source.label

    def _check(self, group: str, key: str, *, added: bool = False) -> None:
        path = f"{group}.{key}"
        if group in CHECKED:
            known = CHECKED[group]()
            if known and key not in known:
                raise UserError(
                    path, f"the {group} has no argument {key!r}", nearest(key, known, called=f"arguments of the {group}")
                )
        elif group not in OPEN and not added and key not in self.config[group]:
            raise UserError(path, f"{group} has no key {key!r}", nearest(key, self.config[group], called=f"keys of {group}"))

    def _mark(self, values: dict[str, Any], source: ConfigSource) -> None:
        if source == DEFAULT:
            return
        self.origins.update(dict.fromkeys(flat(values), source.label))

    def resolved(self) -> dict[str, Any]:
        """The values with interpolations (``${seed}``, ``${oc.env:HOME}``) resolved. UserError for one that leads nowhere."""
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        for path, value in flat(self.config).items():
            if isinstance(value, str) and value.count("${") > 16:  # each level costs a hundred frames of the parser
                raise UserError(path, "has more than 16 interpolations in one value", "write the value")
        try:
            values: Any = OmegaConf.to_container(OmegaConf.create(self.config), resolve=True)
        except OmegaConfBaseException as e:
            raise UserError(str(getattr(e, "full_key", "") or "config"), str(e).strip().splitlines()[0]) from None
        except RecursionError:
            raise UserError("config", "a value stands for another in a circle, or too often", "write the value") from None
        for key, value in (values.get(PATHS) or {}).items():
            if isinstance(value, str):
                path = expanded(value, f"{PATHS}.{key}")
                values[PATHS][key] = str(path) if value.startswith("~") else value
        return values


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """{dotted path: leaf}; an empty mapping is a leaf."""
    if not isinstance(value, dict) or not value:
        return {path: value}
    out: dict[str, Any] = {}
    for key, inner in value.items():
        out.update(flat(inner, f"{path}.{key}".lstrip(".")))
    return out


def _merged(old: Any, new: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return deepcopy(new)
    return {**old, **{k: _merged(old.get(k), v) for k, v in new.items()}}


def defaults_of(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """({group: choice}, {key: value}) of ``train.yaml``."""
    values = read_yaml(file)
    choices: dict[str, Any] = {}
    for entry in _entries(values.pop("defaults", [])):
        choices.update(entry)
    return choices, values


def _entries(defaults: Any) -> Iterable[dict[str, Any]]:
    return (entry for entry in defaults if isinstance(entry, dict))
