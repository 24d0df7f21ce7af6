"""Where the configs and recipes that travel with the package are, and where a user's own are looked for. Imports no torch."""

from __future__ import annotations

import re
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path

PACKAGE = Path(__file__).parent.parent


def shipped(folder: str) -> Path:
    """``conf`` or ``recipes``: of the checkout that this file belongs to, else the installed copy.

    An editable install leaves a stale copy beside site-packages' other files; the checkout's live files go before it.
    """
    checkout = PACKAGE.parent.parent
    live = PACKAGE.parent.name == "src" and (checkout / "pyproject.toml").is_file() and (checkout / "conf").is_dir()
    return (checkout if live else PACKAGE / "_share") / folder


def conf_folder() -> Path:
    """The groups that are no parts: trainer, logger, callbacks, paths, and ``train.yaml``."""
    return shipped("conf")


def folders(folder: str, cwd: Path | None = None) -> list[tuple[str, Path]]:
    """[(whose, where)] of every ``conf`` or ``recipes``, the nearest first: the user's own, ours, plug-ins' recipes."""
    from components.core.plugins import recipe_packages

    ours = shipped(folder)
    found = [("components", ours)]
    mine = (cwd or Path.cwd()) / folder
    if mine.is_dir() and mine.resolve() != ours.resolve():
        found.insert(0, ("here", mine))
    for origin, module in recipe_packages() if folder == "recipes" else ():
        top, *rest = module.split(".")
        spec = find_spec(top)  # of a top-level name: nothing is imported
        found += [(origin, Path(place, *rest)) for place in (spec.submodule_search_locations or ())] if spec else []
    return [(whose, where) for whose, where in found if where.is_dir()]


def recipe_files(cwd: Path | None = None) -> dict[str, tuple[str, Path]]:
    """{name: (whose, file)} of the recipes that a name means; a nearer folder goes before a farther one."""
    return {name: files[0] for name, files in same_recipes(cwd).items()}


def same_recipes(cwd: Path | None = None) -> dict[str, list[tuple[str, Path]]]:
    """{name: [(whose, file), ...]}, the nearest first. A name is the path below the recipe folder without ``.yaml``."""
    found: dict[str, list[tuple[str, Path]]] = {}
    for whose, folder in folders("recipes", cwd):
        for file in sorted(f for f in folder.rglob("*.yaml") if f.is_file()):  # a pipe of that name would wait for ever
            found.setdefault(file.relative_to(folder).with_suffix("").as_posix(), []).append((whose, file))
    return dict(sorted(found.items()))


def recipe_commands(file: Path) -> list[str]:
    """The commands that a recipe's first comment names, as they can be typed: up to what is said about them."""
    with file.open(encoding="utf8", errors="replace") as lines:
        head = list(takewhile(lambda line: line.startswith("#"), lines))
    found = (re.match(r"#\s+(components .*)", line) for line in head)
    return [re.split(r"\s+\(|;", match[1])[0].strip() for match in found if match]


def recipe_sentence(file: Path) -> str:
    """A recipe's first line, which says what and why."""
    with file.open(encoding="utf8", errors="replace") as lines:
        first = next(lines, "").strip()
    return first.lstrip("# ").strip() if first.startswith("#") else ""
