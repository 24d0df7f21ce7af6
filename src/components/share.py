"""Where the configs and recipes that travel with the package are, and where a user's own are looked for. Imports no torch."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

PACKAGE = Path(__file__).parent


def shared_root() -> Path:
    """The folder that holds ``conf/`` and ``recipes/``: the checkout that this file belongs to, else the installed copy.

    An editable install leaves a stale copy beside site-packages' other files; the checkout's live files go before it.
    """
    checkout = PACKAGE.parent.parent
    live = (
        PACKAGE.parent.name == "src"
        and (checkout / "pyproject.toml").is_file()
        and (checkout / "conf" / "train.yaml").is_file()
    )
    return checkout if live else PACKAGE / "_share"


def conf_folder() -> Path:
    """The groups that are no parts: trainer, logger, callbacks, paths, and ``train.yaml``."""
    return shared_root() / "conf"


def recipe_folders(cwd: Path | None = None) -> list[tuple[str, Path]]:
    """[(whose, folder)] of every existing recipe folder, the nearest first: the user's ./recipes, ours, plug-ins'."""
    from components.plugins import recipe_packages

    ours = shared_root() / "recipes"
    folders = [("components", ours)]
    mine = (cwd or Path.cwd()) / "recipes"
    if mine.is_dir() and mine.resolve() != ours.resolve():
        folders.insert(0, ("here", mine))
    for origin, module in recipe_packages():
        top, *rest = module.split(".")
        spec = find_spec(top)  # of a top-level name: nothing is imported
        places = list(spec.submodule_search_locations or ()) if spec else []
        folders += [(origin, Path(place, *rest)) for place in places]
    return [(whose, folder) for whose, folder in folders if folder.is_dir()]


def recipe_files(cwd: Path | None = None) -> dict[str, tuple[str, Path]]:
    """{name: (whose, file)}: the path below the recipe folder without ``.yaml``; a nearer folder goes before a farther one."""
    found: dict[str, tuple[str, Path]] = {}
    for whose, folder in recipe_folders(cwd):
        for file in sorted(folder.rglob("*.yaml")):
            found.setdefault(file.relative_to(folder).with_suffix("").as_posix(), (whose, file))
    return dict(sorted(found.items()))


def recipe_sentence(file: Path) -> str:
    """A recipe's first line, which says what and why."""
    with file.open(encoding="utf8") as lines:
        first = next(lines, "").strip()
    return first.lstrip("# ").strip() if first.startswith("#") else ""
