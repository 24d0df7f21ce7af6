"""Weights & Biases through Lightning's logger: nested config, curves, a table of samples, the picture, optionally the checkpoint.

It never prompts and never hangs: without a key or a network the run goes on offline and says so once. This is the only file that
imports wandb.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wandb
import wandb.errors
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from components.compose.node import Node
from components.compose.reading import read_tree
from components.core.config_types import Config
from components.core.errors import UserError
from components.core.terminal import fault_of
from components.runs.lineage import Link, checkpoint_of, data_of
from components.runs.run_files import Figures
from components.training.sent import Sent

# our defaults, and W&B's variables that override them
VARIABLES = {"project": "WANDB_PROJECT", "name": "WANDB_NAME", "id": "WANDB_RUN_ID"}
MODES = {"dryrun": "offline", "run": "online"}  # earlier names

PROJECT = "lightning-components"
TIMEOUT = 15.0  # seconds to wait for the server
SHOWN = 1000  # the newest samples: the whole table is sent each time
OFFLINE = "written offline; send it later with: wandb sync"


def begun(
    said: Config,
    folder: Path | None,
    config: Config,
    say: Callable[[str], None],
    *,
    mode: str | None = None,
    timeout: float | None = None,
    checkpoint: bool = False,
    lineage: bool = False,
) -> Wandb:
    """A logger whose W&B run has begun (on the first rank), online if possible.

    The config overrides W&B's environment (``WANDB_PROJECT``, ``WANDB_RUN_GROUP``, ...), which overrides our defaults. Only ``WANDB_MODE`` overrides
    the config, so that a machine can be kept offline. A resumed run continues its W&B run.

    Args:
        said: what the config says of the run: project, entity, group, tags, notes.
        folder: of the run, or None on ranks that write nothing.
        config: of the run.
        say: prints.
        mode: online, offline or disabled.
        timeout: seconds to wait for the server.
        checkpoint: send the best checkpoint at the end.
        lineage: show what the run has read and left.

    Raises:
        UserError: W&B refuses the settings.
    """
    with refused():
        settled = settled_mode(mode, place_of(folder), say)
        sent = Sent(None) if folder is None else Sent.of(folder, "wandb")
        own = {} if folder is None else {"name": "/".join(folder.parts[-2:]), "id": sent.run or secrets.token_hex(6)}
        ours = {"project": PROJECT, **own}
        chosen: dict[str, Any] = {n: v for n, v in ours.items() if not os.environ.get(VARIABLES[n])} | said
        logger = Wandb(save_dir=str(place_of(folder)), log_model=False, offline=settled == "offline", **chosen)
        logger.checkpoint, logger.sent, logger.folder = checkpoint, sent, folder
        if folder is not None:
            logger.begin(settled, timeout, say)
            logger.log_config(config)
        if folder is not None and lineage:
            logger.lineage = True
            show(logger.experiment, data_of(folder), used=True)
        return logger


@contextmanager
def refused() -> Iterator[None]:
    """W&B's own errors as one line."""
    try:
        yield
    except wandb.errors.Error as e:
        told = " ".join(str(e).split())
        raise UserError("logger", f"W&B begins no run: {told}", "look at logger. and at the variables WANDB_*") from None


def show(run: wandb.Run, link: Link, file: Path | None = None, *, used: bool = False) -> None:
    """An artifact that the run leaves, or has read: the file, or what is known of it."""
    artifact = wandb.Artifact(link.name, type=link.kind, metadata=dict(link.facts))
    if file is not None:
        add = artifact.add_dir if file.is_dir() else artifact.add_file  # a folder of shards, or one file
        add(str(file))
    else:
        with artifact.new_file(f"{link.kind}.json") as f:
            json.dump(link.facts, f, indent=1, sort_keys=True)
    # W&B's own `use_artifact` calls this, but only online, and then waits for the server
    run._log_artifact(artifact, is_user_created=True, use_after_commit=used)


def place_of(folder: Path | None) -> Path:
    """The folder that W&B writes to. UserError if W&B cannot take its name."""
    place = Path(os.environ.get("WANDB_DIR") or folder or ".")
    if fault := fault_of(str(place)):
        raise UserError("logger", f"W&B cannot write to {place}: its name {fault}", "set paths.runs or WANDB_DIR")
    return place


def settled_mode(mode: str | None, place: Path, say: Callable[[str], None]) -> str:
    """``online``, ``offline`` ...: what WANDB_MODE says, else the config, else whether there is a key."""
    asked = os.environ.get("WANDB_MODE") or mode
    if asked is None and not _has_key():
        say(f"wandb: no API key, so this run is {OFFLINE} {place / 'wandb'}/offline-run-*")
        return "offline"
    return MODES.get(asked, asked) if asked else "online"


class Wandb(WandbLogger):
    """Lightning's logger over a W&B run that is begun here, with a time limit. A run that goes on gives it nothing twice."""

    checkpoint = lineage = False
    folder: Path | None = None
    sent = Sent(None)
    _first: int | None = None  # the number of the next row, where W&B cannot know it

    def extras(self) -> Extras:
        return Extras(self)

    def begin(self, mode: str, timeout: float | None, say: Callable[[str], None]) -> None:
        # without None values, which would keep W&B from reading its environment. Lightning reads WANDB_PROJECT itself
        given = {n: v for n, v in self._wandb_init.items() if v is not None and n != "resume"}
        if mode in ("online", "shared") and not os.environ.get("WANDB_RESUME"):
            given["resume"] = "allow"
        init = {**given, "mode": mode, "reinit": "finish_previous"}
        quiet = {"silent": True, "console": "off"}
        waits = {} if timeout is None and os.environ.get("WANDB_INIT_TIMEOUT") else {"init_timeout": timeout or TIMEOUT}
        try:
            self._experiment = wandb.init(**init, settings=wandb.Settings(**waits, **quiet))
        except (wandb.errors.CommError, wandb.errors.UsageError, wandb.errors.AuthenticationError, TimeoutError) as e:
            say(f"wandb: no connection ({str(e).splitlines()[0]}), so this run is {OFFLINE}")
            wandb.teardown()  # the failed attempt still holds the id
            init = {**{n: v for n, v in init.items() if n != "resume"}, "mode": "offline"}
            self._experiment = wandb.init(**init, settings=wandb.Settings(**quiet))
        if mode != "disabled":
            self._experiment.define_metric("trainer/global_step")
            self._experiment.define_metric("*", step_metric="trainer/global_step", step_sync=True)
            self.sent.begin(self._experiment.id)
            # offline, W&B counts rows from 0, and what is sent later would stand before what it goes on from
            self._first = self.sent.rows if self.sent.rows > self._experiment.starting_step else None

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, object], step: int | None = None) -> None:
        """A figure that was sent for this step, or for a later one, by a start that was killed is not sent again: it is the same."""
        run = self.experiment
        fresh = metrics if step is None else {n: metrics[n] for n in self.sent.fresh(metrics, step)}
        if not fresh:
            return
        at = {} if step is None else {"trainer/global_step": step}
        run.log({**fresh, **at}, step=self._first)
        if self._first is not None:
            run.log({}, commit=True)  # a row with a number of its own stays open
            self._first = None
        if step is not None and self.sent.run is not None:
            self.sent.note(fresh, step, run.step)

    def close(self, exit_code: int) -> None:
        """Finish the W&B run, and remember how many rows it has."""
        if self.sent.run is not None:
            self.sent.note((), 0, self._experiment.step)
        self._experiment.finish(exit_code=exit_code)

    def log_config(self, config: Config) -> None:
        """Log the nested config, and the part of each socket under one searchable key: ``parts.attention = gqa``."""
        copied = {"copied_from": self.sent.copied_from} if self.sent.copied_from else {}
        self._experiment.config.update({**config, "parts": parts_of(config), **copied}, allow_val_change=True)


class Extras:
    """What Lightning's logger does not do: the table of samples, and the picture and checkpoint at the end."""

    def __init__(self, logger: Wandb) -> None:
        self.logger = logger
        self.rows: list[Any] = []  # [step, prompt, text] each

    def keep(self, step: int, prompts: list[str], texts: list[str]) -> None:
        self.rows = [*self.rows, *([step, p, t] for p, t in zip(prompts, texts))][-SHOWN:]
        table = wandb.Table(columns=["step", "prompt", "text"], data=self.rows)
        self.logger.log_metrics({"samples": table}, step)

    def finish(self, picture: Path | None, checkpoint: Path | None, summary: Figures, exit_code: int) -> None:
        """Finish the W&B run. It is called after failures too, or the next job of a multirun would write into this run."""
        run = self.logger.experiment
        if picture is not None and picture.exists():
            run.log({"curves": wandb.Image(str(picture))})
        run.summary.update(summary)
        wanted, folder = self.logger.checkpoint or self.logger.lineage, self.logger.folder
        if wanted and folder is not None and checkpoint is not None and checkpoint.exists():
            show(run, checkpoint_of(folder, checkpoint, run.id), checkpoint if self.logger.checkpoint else None)
        self.logger.close(exit_code)


def parts_of(config: Config) -> dict[str, str]:
    """{socket: part, or the preset that was chosen} for every part that the config names; the sockets of the model without the prefix ``model``."""
    return {part.path.removeprefix("model.").replace(".", "_"): part.name for part in _named(read_tree(config))}


def _named(part: Node) -> Iterator[Node]:
    """The parts below one that are written out, those of slices of layers too. Lists of parts have no key of their own."""
    for child in [*part.parts.values(), *(c for sockets in (part.layers or {}).values() for c in sockets.values())]:
        yield child
        yield from _named(child)


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return bool(wandb.api.api_key)
    except AttributeError:
        return False
