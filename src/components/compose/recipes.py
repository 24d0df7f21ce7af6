"""Recipes: complete runs in short YAML files. Which there are, what their first line says, and what each file of a family says."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.compose.yaml_files import read_yaml, short
from components.core.errors import UserError, nearest
from components.core.paths import expanded
from components.core.resources import folders, recipe_sentence, same_recipes


@dataclass(frozen=True)
class Recipe:
    """One recipe that can be named. ``sentence``: its first comment line. ``shadows``: the shipped file that a user's own replaces.

    ``own``: it lies in ``./recipes``, or came with an installed package; any other file may be a stranger's."""

    name: str
    file: Path
    shadows: Path | None = None
    own: bool = True

    @property
    def sentence(self) -> str:
        return recipe_sentence(self.file)


@dataclass
class Page:
    """What one file says: group choices of its defaults list, then its values, in order."""

    name: str
    file: Path
    choices: list[tuple[tuple[str, ...], Any]] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    own: bool = True

    @property
    def label(self) -> str:
        return f"recipe {self.name}"


def all_recipes(cwd: Path) -> dict[str, Recipe]:
    """Every recipe by name: the user's ``./recipes``, then the shipped ones, then plug-ins'; a nearer one replaces a farther."""
    found = {name: [file for _, file in files] for name, files in same_recipes(cwd).items()}
    return {name: Recipe(name, files[0], files[1] if len(files) > 1 else None) for name, files in found.items()}


def find_recipe(name: str, cwd: Path, where: str = "recipe") -> Recipe:
    """By name, or a user's file by its path. UserError with the nearest and all."""
    if name.endswith((".yaml", ".yml")) or name.startswith((".", "/", "~")):
        file = expanded(name, where, cwd).resolve()
        for candidate in (file, file.with_name(file.name + ".yaml")):
            if candidate.is_file():
                roots = [folder.resolve() for _, folder in folders("recipes", cwd)]
                return Recipe(candidate.stem, candidate, own=any(candidate.is_relative_to(root) for root in roots))
        raise UserError(where, f"there is no file {name}", "a recipe is a name or a YAML file's path")
    known = all_recipes(cwd)
    if name not in known:
        if (cwd / name).exists():
            raise UserError(
                where,
                f"{name} is {'a folder' if (cwd / name).is_dir() else 'no YAML file'}",
                "a recipe is a name or a YAML file's path",
            )
        raise UserError(where, f"unknown recipe {name!r}", nearest(name, known, called="recipes"))
    return known[name]


def read_family(name: str, cwd: Path, notes: list[str]) -> list[Page]:
    """The recipe's file and those that it builds on, in the order in which they apply: parents first."""
    pages: list[Page] = []
    _read(find_recipe(name, cwd), cwd, [], pages, notes)
    return pages


def _read(recipe: Recipe, cwd: Path, inside: list[Path], pages: list[Page], notes: list[str]) -> None:
    if recipe.file in inside:
        raise UserError(short(recipe.file), f"builds on itself: {' -> '.join(short(f) for f in [*inside, recipe.file])}")
    if any(p.file == recipe.file for p in pages):
        return
    if recipe.shadows is not None:
        notes.append(f"recipe {recipe.name}: your own {short(recipe.file)} is used, not the shipped one")
    values = read_yaml(recipe.file)
    defaults = values.pop("defaults", None) or []
    if not isinstance(defaults, list):
        raise UserError(short(recipe.file), "defaults: is a list", "write - parent, - override /model/norm: rms")
    page = Page(recipe.name, recipe.file, values=values, own=recipe.own)
    placed = False
    for entry in defaults:
        if entry == "_self_":
            pages.append(page)
            placed = True
        elif isinstance(entry, str):
            where = f"{short(recipe.file)}: defaults"
            parent = find_recipe(entry, recipe.file.parent if entry.startswith((".", "/", "~")) else cwd, where)
            if parent.file == recipe.file and recipe.shadows is not None:  # a user's file may build on the one that it replaces
                parent = Recipe(f"{entry} (shipped)", recipe.shadows)
            _read(parent, cwd, [*inside, recipe.file], pages, notes)
        else:
            page.choices.append(_choice(entry, recipe.file))
    if not placed:
        pages.append(page)


def _choice(entry: Any, file: Path) -> tuple[tuple[str, ...], Any]:
    """``override /model/attention: gqa`` -> (("model", "attention"), "gqa")."""
    if isinstance(entry, dict) and len(entry) == 1:
        key, value = next(iter(entry.items()))
        match = re.fullmatch(r"(?:override\s+)?/?([\w./-]+)", str(key))
        if match and (str(key).startswith("override") or "/" in str(key)):
            return tuple(re.split(r"[./]", match[1])), value
    raise UserError(
        f"{short(file)}: defaults",
        f"{entry!r} is neither a recipe's name nor a choice",
        "write - parent, - override /model/norm: rms, or - _self_",
    )
