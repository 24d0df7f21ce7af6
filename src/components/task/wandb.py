"""Weights & Biases through Lightning's logger: nested config, curves, samples as a table, the picture, the checkpoint by option.

Never a prompt and never a hang: without a key, or without a network, the run goes on offline and says so once. The only file that
imports wandb.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import WandbLogger

SHOWN = 1000  # the newest samples: the whole table is sent each time
OFFLINE = "written offline; send it later with: wandb sync"


def make_logger(options: dict[str, Any], folder: Path | None, config: dict[str, Any], say: Any) -> WandbLogger:
    """A logger whose run has begun (on the first rank), online if that is possible."""
    settings = {n: options[n] for n in ("project", "entity", "group", "tags", "notes") if options.get(n) is not None}
    settings.setdefault("project", "lightning-components")
    mode = os.environ.get("WANDB_MODE") or options.get("mode")
    if mode is None and not _has_key():
        mode = "offline"
        say(f"wandb: no API key, so this run is {OFFLINE} {folder / 'wandb' if folder else ''}/offline-run-*")
    mode = mode or "online"
    name = "/".join(folder.parts[-2:]) if folder else None
    logger = _Logger(name=name, save_dir=str(folder or "."), log_model=False, offline=mode == "offline", **settings)
    if folder is not None:
        logger.begin(mode, float(options.get("init_timeout") or 15), say)
        logger.log_config(config)
    return logger


class _Logger(WandbLogger):
    """Lightning's logger over a run that is begun here, with a time limit."""

    def begin(self, mode: str, timeout: float, say: Any) -> None:
        init = {**self._wandb_init, "mode": mode, "reinit": "finish_previous"}
        quiet = {"silent": True, "console": "off"}
        try:
            self._experiment = wandb.init(**init, settings=wandb.Settings(init_timeout=timeout, **quiet))
        except (wandb.errors.CommError, wandb.errors.UsageError, wandb.errors.AuthenticationError, TimeoutError) as e:
            say(f"wandb: no connection ({str(e).splitlines()[0]}), so this run is {OFFLINE}")
            self._experiment = wandb.init(**{**init, "mode": "offline"}, settings=wandb.Settings(**quiet))
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
        self.rows: list[list[Any]] = []

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
