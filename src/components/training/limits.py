"""The arguments of Lightning's Trainer, checked by name and by type, and how long a run is, known before it starts.

Imports no Lightning: ``components validate`` reads this too.
"""

from __future__ import annotations

import re
import sys
from typing import TypeGuard

from components.core import registry
from components.core.config_types import Config
from components.core.errors import UserError, nearest
from components.core.groups import GROUPS, NOT_OURS
from components.core.makers import part_values
from components.training.devices import count_devices

PART = GROUPS["trainer"].part
FSDP1 = ("fsdp", "fsdp_cpu_offload")  # Lightning's names
FLOAT8 = (
    "auto",
    "single_device",
    "ddp",
    "fsdp2",
    "hsdp",
)  # strategies under which whole matrices are multiplied, and were tried in fp8
LENGTHS = ("max_steps", "max_epochs", "max_tokens")


def trainer_settings(node: Config) -> Config:
    """Every argument that the node ``trainer`` means, defaults included; unknown ones and those that the library owns are refused.

    An argument that cannot be null has its default where the node says null.

    Raises:
        UserError: the first argument that is not there, or whose value cannot be.
    """
    known = registry.entry("trainer", node.get("name") or PART, "trainer").signature.options
    for name, value in node.items():
        if name in NOT_OURS and value not in (None, False, 0, 0.0):
            raise UserError(f"trainer.{name}", "cannot be set", NOT_OURS[name])
        if name not in (*known, *NOT_OURS, "name"):
            raise UserError(
                f"trainer.{name}",
                f"Lightning's Trainer has no argument {name!r}",
                nearest(name, [*known, *NOT_OURS], called="arguments"),
            )
    given = {n: v for n, v in node.items() if n in known and not (v is None and not known[n].type.optional)}
    settings = part_values("trainer", {"name": node.get("name") or PART, **given})
    check_values(settings)
    return settings


def check_values(settings: Config) -> None:
    """What depends on more than an option's type, in the words of the config; what depends on the machine is left to whoever is on it."""
    for name in LENGTHS:
        value = settings.get(name)
        if value is not None and not (_number(value) and value == int(value) and (value >= 1 or value == -1)):
            raise UserError(f"trainer.{name}", f"{value!r} is no number >= 1 (null: not limited by it)")
    time = settings.get("max_time")
    if str(settings.get("precision")) == "16-true":
        raise UserError(
            "trainer.precision",
            "16-true overflows within a few steps: Adam's eps underflows in fp16",
            "use bf16-mixed or bf16-true",
        )
    _check_strategy(settings.get("strategy", "auto"))
    if settings.get("precision") == "fp8-mixed" and (named := _named(settings.get("strategy"))) not in FLOAT8:
        what = f"fp8-mixed is not tried under trainer.strategy={named}"
        raise UserError("trainer.precision", what, f"use bf16-mixed, or one of {', '.join(FLOAT8)}")
    if isinstance(time, str) and not re.fullmatch(r"\d+:\d\d:\d\d:\d\d", time):
        raise UserError("trainer.max_time", f"{time!r} is no time", "write days:hours:minutes:seconds, e.g. 00:08:00:00")
    _check_keeping(settings)
    count_devices(settings.get("devices"))
    accumulate = settings.get("accumulate_grad_batches") or 1
    _portion(settings, "limit_train_batches", least=accumulate)
    if settings.get("limit_train_batches") is not None and settings.get("max_epochs") is None:
        raise UserError(
            "trainer.limit_train_batches",
            "makes epochs shorter, and nothing of this run is counted in epochs",
            "set trainer.max_epochs, or leave it out: trainer.max_steps alone says how much is read",
        )
    _portion(settings, "limit_val_batches", least=0)
    every = settings.get("val_check_interval")
    if every is not None and every % accumulate:
        raise UserError(
            "trainer.val_check_interval",
            f"{every} micro-batches are no whole number of steps of {accumulate}",
            "use task.validation_every, which counts steps",
        )
    total_steps(settings, 1, 1)


def _check_keeping(settings: Config) -> None:
    """What says which checkpoints stay, or of what form they are, where none is written."""
    if settings.get("enable_checkpointing") is not False:
        return
    strategy = settings.get("strategy")
    asked = [f"trainer.{name}" for name in ("keep_last", "keep_every") if settings.get(name)]
    if isinstance(strategy, dict) and strategy.get("checkpoint") == "sharded":
        asked.append("trainer.strategy.checkpoint")
    if asked:
        what = "is about checkpoints, and trainer.enable_checkpointing=false writes none"
        raise UserError(asked[0], what, "leave one of them out")


def _check_strategy(strategy: object) -> None:
    if strategy in FSDP1:
        raise UserError("trainer.strategy", f"{strategy!r} is FSDP1, which is not supported", "use trainer.strategy=fsdp2")
    node = strategy if isinstance(strategy, dict) and "name" in strategy else {"name": strategy}
    if not isinstance(node["name"], str):
        raise UserError(
            "trainer.strategy", f"unknown strategy {node['name']!r}", f"one of {', '.join(registry.names('strategy'))}"
        )
    own = {name for _, name in registry.entries("strategy")}
    if node["name"] not in own and (theirs := registered_strategies()):
        options = [name for name in node if name not in ("name", "preset")]
        if node["name"] in theirs and options:
            what = f"{node['name']!r} is registered with Lightning, and its options with it"
            raise UserError(f"trainer.strategy.{options[0]}", what, "register it under another name with other options")
        if node["name"] not in theirs and "preset" not in node:
            said = nearest(node["name"], sorted({*own, *theirs}), called="strategies")
            raise UserError("trainer.strategy", f"unknown strategy {node['name']!r}", said)
    if not foreign_strategy(node["name"]):
        part_values("strategy", node, "trainer.strategy")


def _named(strategy: object) -> str:
    return str((strategy.get("name") if isinstance(strategy, dict) else strategy) or "auto")


def registered_strategies() -> list[str]:
    """Names that somebody has registered with Lightning; nobody can have where Lightning has not been imported."""
    module = sys.modules.get("lightning.pytorch.strategies")
    return [] if module is None else [name for name in module.StrategyRegistry if name not in FSDP1]


def foreign_strategy(name: object) -> TypeGuard[str]:
    """Whether the strategy is no part of ours and registered with Lightning: then it is passed on by its name."""
    return isinstance(name, str) and name not in registry.names("strategy") and name in registered_strategies()


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e18


def _portion(settings: Config, name: str, least: int) -> None:
    """A share of the batches (a float up to 1.0) or a number of them."""
    value = settings.get(name)
    whole = isinstance(value, int)
    if value is None or (_number(value) and (value >= least if whole else min(least, 1e-9) <= value <= 1.0)):
        return
    raise UserError(
        f"trainer.{name}",
        f"{value!r} is neither a share up to 1.0 nor a number of micro-batches >= {least}",
        "leave it out for all" if least else "null: all, 0: none",
    )


def steps_in_epoch(settings: Config, steps_per_epoch: int) -> int:
    """Optimizer steps in one of Lightning's epochs."""
    limit = settings.get("limit_train_batches")
    accumulate = settings.get("accumulate_grad_batches") or 1
    if isinstance(limit, float):
        return max(1, int(steps_per_epoch * limit))
    return steps_per_epoch if limit is None else max(1, min(steps_per_epoch, limit // accumulate))


def total_steps(settings: Config, per_epoch: int, tokens_per_step: float) -> int:
    """The smallest of max_steps, max_tokens and max_epochs, in optimizer steps.

    Lightning's own estimate builds the loaders to count (Lightning#20550); here the counts are known.

    Raises:
        UserError: the length is not limited by any of them.
    """
    limits = []
    steps, tokens, epochs = settings.get("max_steps"), settings.get("max_tokens"), settings.get("max_epochs")
    if settings.get("fast_dev_run"):
        limits.append(max(1, int(settings["fast_dev_run"])))
    if steps is not None and steps >= 0:
        limits.append(int(steps))
    if tokens is not None and tokens >= 0:
        limits.append(max(1, int(tokens // tokens_per_step)))
    if epochs is not None and epochs >= 0:
        limits.append(int(epochs) * per_epoch)
    if not limits:
        also = " beside max_time" if settings.get("max_time") else ""
        raise UserError(
            "trainer",
            f"the schedule needs the length of the run{also}",
            "set trainer.max_steps, trainer.max_tokens or trainer.max_epochs",
        )
    return min(limits)
