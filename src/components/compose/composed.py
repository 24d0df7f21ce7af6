"""``compose(recipe, overrides)``: every source in order, then the spelled-out config, its difference from the recipe, and the check."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from components.compose.check import check
from components.compose.difference import changes
from components.compose.node import Node
from components.compose.notes import one_line
from components.compose.recipes import find_recipe
from components.compose.request import Request
from components.compose.run_config import Run
from components.compose.settings import defaults_of
from components.compose.sources import DEFAULT
from components.compose.yaml_files import located, short
from components.core.config_types import Config, Overrides
from components.core.errors import UserError, found_in, in_file
from components.core.resources import shipped


@dataclass(frozen=True)
class Composed:
    """A composed run: the resolved ``tree`` of its parts, and ``config``, all of it as plain data with every default written.

    ``difference`` (from the recipe) and ``notes`` (of what swaps kept and dropped) are lines to print.
    """

    config: Config
    recipe: str
    tree: Node
    difference: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    origins: dict[str, str] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)

    def origin(self, path: str) -> str:
        """Who said the value at ``path``: ``default``, ``recipe <name>`` or ``command line``."""
        return self.origins.get(path, DEFAULT.label)

    @contextmanager
    def told(self) -> Iterator[None]:
        """A value that is refused within the block is the fault of the recipe that says it: the message begins with its file and line."""
        try:
            yield
        except UserError as e:
            said = next((o for path, o in self.origins.items() if f"{path}.".startswith(f"{e.where}.")), "")
            file = self.files.get(said)
            if file is None:
                raise
            raise in_file(e, located(file, e.where)) from e.__cause__

    def check(self) -> None:
        """UserError if two chosen parts cannot work together."""
        check(self.tree)


def compose(
    recipe: str | None = None,
    overrides: Overrides = (),
    *,
    base: Config | None = None,
    cwd: Path | str | None = None,
    command: str = "",
    source: Path | str = "",
) -> Composed:
    """Compose a recipe (by default the one that ``conf/train.yaml`` names), or a saved config as ``base``, with overrides.

    Args:
        recipe: its name, or a YAML file's path; ``recipe=`` among the overrides says the same.
        overrides: ``key=value``, as on the command line, or a mapping as a recipe's file has it, with values of Python.
        base: a spelled-out config to start from, instead of a recipe.
        cwd: what relative paths are relative to, and where ``./recipes`` and ``./conf`` are looked for.
        command: one that has groups of its own beside a run's, in ``conf/<command>.yaml``.
        source: the file that ``base`` is from, for messages about it.

    Raises:
        UserError: in one line, where, what, and what instead.
    """
    return compose_request(Request.of(overrides, recipe), base=base, cwd=cwd, command=command, source=source)


def compose_request(
    request: Request,
    *,
    base: Config | None = None,
    cwd: Path | str | None = None,
    command: str = "",
    source: Path | str = "",
) -> Composed:
    """Compose what a command was asked for. The arguments and errors are those of ``compose``."""
    folder = Path(cwd or Path.cwd()).absolute()
    if request.hydra:
        raise UserError(
            repr(request.hydra[0]), "Hydra's own settings steer sweeps", "add --multirun; where runs go is paths.runs"
        )
    if base is not None and "recipe" in request.given:
        raise UserError("recipe", "a saved config is there to start from, and a recipe beside it", "leave one out")
    if base is None:
        _no_train_file(folder)
    choices, values = defaults_of(shipped("conf") / "train.yaml")
    if command:
        own_choices, own_values = defaults_of(shipped("conf") / f"{command}.yaml")
        choices, values = choices | own_choices, values | own_values
    default = choices.pop("recipe", None)
    recipe = None if base is not None else request.recipe or default
    if base is None and not recipe:
        raise UserError("recipe", "none is named", "write recipe=<name>")
    arguments = [*request.without("recipe").arguments]
    with found_in(source if base is not None else _own_file(recipe, folder)):
        run = Run(recipe, base, folder, choices, values)
        if not arguments:
            return _composed(run, [])
    alone = run.config
    run.override(arguments)
    return _composed(run, changes(run.tree.root, alone, run.config))


def _own_file(recipe: str | None, folder: Path) -> str:
    """The recipe's file for messages, where it is not one that came with the package."""
    file = find_recipe(str(recipe), folder).file
    return "" if file.is_relative_to(shipped("recipes").resolve()) else short(file)


def _composed(run: Run, lines: list[str]) -> Composed:
    origins = {**run.tree.root.origins(), **run.settings.origins}
    notes = [*run.settings.notes, *run.tree.notes.lines]
    made = Composed(
        run.config,
        run.recipe,
        run.tree.root,
        [*map(one_line, lines)],
        [*map(one_line, notes)],
        origins,
        {p.label: p.file for p in run.pages},
    )
    made.check()
    return made


def _no_train_file(folder: Path) -> None:
    """A user's own ``conf/train.yaml`` would be the one file of ``./conf`` that nobody reads, so it is refused."""
    mine, ours = folder / "conf" / "train.yaml", shipped("conf") / "train.yaml"
    if mine.is_file() and mine.resolve() != ours.resolve():
        raise UserError(
            short(mine),
            "is not read: what a run starts from is a recipe",
            "say it in recipes/<name>.yaml and give recipe=<name>",
        )
