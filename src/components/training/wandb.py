"""Weights & Biases through Lightning's logger: nested config, curves, samples as a table, the picture, the checkpoint by option.

Never a prompt and never a hang: without a key, or without a network, the run goes on offline and says so once. The only file that
imports wandb.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import wandb
import wandb.errors
from lightning.pytorch.loggers import WandbLogger

from components.core.errors import UserError
from components.core.terminal import fault_of
from components.runs.records import read_about

# what we would choose, and the variables of W&B's that go before it
VARIABLES = {"project": "WANDB_PROJECT", "name": "WANDB_NAME", "id": "WANDB_RUN_ID"}
MODES = {"dryrun": "offline", "run": "online"}  # earlier names

PROJECT = "lightning-components"
TIMEOUT = 15.0  # seconds to wait for the server
SHOWN = 1000  # the newest samples: the whole table is sent each time
OFFLINE = "written offline; send it later with: wandb sync"


def begun(
    said: dict[str, Any],
    folder: Path | None,
    config: dict[str, Any],
    say: Any,
    *,
    mode: str | None = None,
    timeout: float | None = None,
    checkpoint: bool = False,
) -> Wandb:
    """A logger whose run has begun (on the first rank), online if that is possible.

    What the config says goes before W&B's own environment (``WANDB_PROJECT``, ``WANDB_RUN_GROUP``, ...), and that before what we would choose; of
    ``WANDB_MODE`` the environment goes first, so that a machine can be kept offline. A run that goes on goes on there too.

    Args:
        said: what the config says of the run: project, entity, group, tags, notes.
        folder: of the run, or None on ranks that write nothing.
        config: of the run.
        say: prints.
        mode: online, offline or disabled.
        timeout: seconds to wait for the server.
        checkpoint: send the best checkpoint at the end.

    Raises:
        UserError: W&B does not take what it is given.
    """
    try:
        settled = settled_mode(mode, place_of(folder), say)
        ours = {"project": PROJECT, **({"name": "/".join(folder.parts[-2:]), "id": id_of(folder)} if folder else {})}
        chosen: dict[str, Any] = {n: v for n, v in ours.items() if not os.environ.get(VARIABLES[n])} | said
        logger = Wandb(save_dir=str(place_of(folder)), log_model=False, offline=settled == "offline", **chosen)
        logger.checkpoint = checkpoint
        if folder is not None:
            logger.begin(settled, timeout, say)
            logger.log_config(config)
    except wandb.errors.Error as e:
        told = " ".join(str(e).split())
        raise UserError("logger", f"W&B begins no run: {told}", "look at logger. and at the variables WANDB_*") from None
    return logger


def place_of(folder: Path | None) -> Path:
    """Where W&B writes. UserError where its name is one that W&B cannot take."""
    place = Path(os.environ.get("WANDB_DIR") or folder or ".")
    if fault := fault_of(str(place)):
        raise UserError("logger", f"W&B cannot write to {place}: its name {fault}", "set paths.runs or WANDB_DIR")
    return place


def settled_mode(mode: str | None, place: Path, say: Any) -> str:
    """``online``, ``offline`` ...: what WANDB_MODE says, else the config, else whether there is a key."""
    asked = os.environ.get("WANDB_MODE") or mode
    if asked is None and not _has_key():
        say(f"wandb: no API key, so this run is {OFFLINE} {place / 'wandb'}/offline-run-*")
        return "offline"
    return MODES.get(asked, asked) if asked else "online"


def id_of(folder: Path) -> str:
    """W&B's id of a run: of when and as what it began, so that it is the same when the run goes on, wherever its folder lies by then."""
    known = f"{folder.name} {read_about(folder)['began']!r}"
    return hashlib.blake2b(known.encode(errors="replace"), digest_size=6).hexdigest()


class Wandb(WandbLogger):
    """Lightning's logger over a run that is begun here, with a time limit."""

    checkpoint = False

    def extras(self) -> Extras:
        return Extras(self, checkpoint=self.checkpoint)

    def begin(self, mode: str, timeout: float | None, say: Any) -> None:
        # without those that are None: W&B would look no further. Lightning reads WANDB_PROJECT itself
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
            # the id is held by the attempt that has failed
            init = {
                **{n: v for n, v in init.items() if n != "resume"},
                "mode": "offline",
                "id": f"{init.get('id', '')}-offline",
            }
            self._experiment = wandb.init(**init, settings=wandb.Settings(**quiet))
        if mode != "disabled":
            self._experiment.define_metric("trainer/global_step")
            self._experiment.define_metric("*", step_metric="trainer/global_step", step_sync=True)

    def log_config(self, config: dict[str, Any]) -> None:
        """The config as it is nested, and the part chosen at each place under one searchable key: ``parts.attention = gqa``."""
        self._experiment.config.update({**config, "parts": parts_of(config)}, allow_val_change=True)


class Extras:
    """What the logger does not do by itself: the table of samples, the picture and the checkpoint at the end."""

    def __init__(self, logger: WandbLogger, *, checkpoint: bool) -> None:
        self.logger, self.checkpoint = logger, checkpoint
        self.rows: list[Any] = []

    def keep(self, step: int, prompts: list[str], texts: list[str]) -> None:
        self.rows = [*self.rows, *([step, p, t] for p, t in zip(prompts, texts))][-SHOWN:]
        table = wandb.Table(columns=["step", "prompt", "text"], data=self.rows)
        self.logger.experiment.log({"samples": table, "trainer/global_step": step})

    def finish(self, picture: Path | None, checkpoint: Path | None, summary: dict[str, Any], exit_code: int) -> None:
        """Always called, also after a failure: otherwise the next job of a multirun would write into this run."""
        run = self.logger.experiment
        if picture is not None and picture.exists():
            run.log({"curves": wandb.Image(str(picture))})
        run.summary.update(summary)
        if self.checkpoint and checkpoint is not None and checkpoint.exists():
            artifact = wandb.Artifact(f"model-{run.id}", type="model")
            artifact.add_file(str(checkpoint))
            run.log_artifact(artifact)
        run.finish(exit_code=exit_code)


def parts_of(config: dict[str, Any], path: str = "") -> dict[str, str]:
    """{socket: part, or the preset that was chosen} for every node; the sockets of the model without the prefix ``model``."""
    found: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            here = f"{path}.{key}".lstrip(".")
            if isinstance(value.get("name"), str):
                found[here.removeprefix("model.").replace(".", "_")] = value.get("preset") or value["name"]
            found.update(parts_of(value, here))
    return found


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return bool(wandb.api.api_key)
    except AttributeError:
        return False
