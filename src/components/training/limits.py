"""The arguments of Lightning's Trainer, checked by name and by type, and how long a run is, known before it starts.

Imports no Lightning: ``components validate`` reads this too.
"""

from __future__ import annotations

import re
from typing import Any

from components.compose.trainer_keys import trainer_keys
from components.core.errors import UserError, nearest
from components.core.option_types import parse_type
from components.training.devices import count_devices

OURS = ("max_tokens",)
DEFAULTS = {"gradient_clip_val": 1.0, "log_every_n_steps": 10, "num_sanity_val_steps": 0, "enable_model_summary": False}
NOT_OURS = {
    "use_distributed_sampler": "the order of the data is the library's own, so that it does not depend on devices",
    "overfit_batches": "give a small corpus, which a model that learns fits in the same way: data=text data.path=few.txt",
    "reload_dataloaders_every_n_epochs": "the loaders do not change between epochs",
    "plugins": "they are objects, which a config cannot hold: trainer.precision and trainer.strategy choose ours",
    "callbacks": "use the group callbacks",
    "logger": "use the group logger",
    "default_root_dir": "use paths.runs",
    "check_val_every_n_epoch": "validations are counted in optimizer steps: use task.validation_every",
    "limit_test_batches": "training does not look at the test split: components evaluate RUN --split test does, at all of it",
    "limit_predict_batches": "nothing is predicted while training: components generate RUN",
    "enable_autolog_hparams": "loggers get the whole config as it is",
    "model_registry": "use logger=wandb logger.checkpoint=true",
    "barebones": "a run without figures and checkpoints leaves nothing",
}
PRECISIONS = (
    *("32-true", "bf16-mixed", "bf16-true", "16-mixed", "16-true", "64-true"),
    *("transformer-engine", "transformer-engine-float16", "64", "32", "16", "bf16", 64, 32, 16),
)
_UNUSED = ("", "_find_unused_parameters_true", "_find_unused_parameters_false")
_STAGES = ("", "_stage_1", "_stage_2", "_stage_2_offload", "_stage_3", "_stage_3_offload", "_stage_3_offload_nvme")
STRATEGIES = (
    *("auto", "fsdp2", "single_device", "single_tpu", "single_xla", "xla", "xla_debug"),
    *(f"ddp{how}{unused}" for how in ("", "_spawn", "_fork", "_notebook") for unused in _UNUSED),
    *(f"deepspeed{stage}" for stage in _STAGES),
)
FSDP1 = ("fsdp", "fsdp_cpu_offload")  # Lightning's names
PROFILERS = ("simple", "advanced", "pytorch")
SWITCHES = ("enable_checkpointing", "enable_progress_bar", "enable_model_summary", "detect_anomaly", "inference_mode")
TYPES = {
    **dict.fromkeys((*SWITCHES, "benchmark", "sync_batchnorm"), "bool | None"),
    "accelerator": "str | None",
    "profiler": f"Literal[{', '.join(map(repr, PROFILERS))}] | None",
    **dict.fromkeys(("num_nodes", "accumulate_grad_batches", "log_every_n_steps", "val_check_interval"), "Positive | None"),
    **dict.fromkeys(("min_epochs", "min_steps"), "NonNegative | None"),
    "precision": f"Literal[{', '.join(map(repr, PRECISIONS))}] | None",
    "gradient_clip_val": "NonNegativeFloat | None",
    "gradient_clip_algorithm": "Literal['norm', 'value'] | None",
    "deterministic": "bool | Literal['warn'] | None",
    "fast_dev_run": "bool | NonNegative | None",
    "num_sanity_val_steps": "int | None",
    "max_time": "str | dict | None",
}
LENGTHS = ("max_steps", "max_epochs", "max_tokens")


def trainer_settings(node: dict[str, Any]) -> dict[str, Any]:
    """The node ``trainer`` with our defaults; unknown arguments and those that the library owns are refused."""
    known = [n for n in trainer_keys() if n not in OURS]
    for name, value in node.items():
        if name in NOT_OURS and value not in (None, False, 0, 0.0):
            raise UserError(f"trainer.{name}", "cannot be set", NOT_OURS[name])
        if known and name not in known and name not in (*OURS, "name"):
            raise UserError(
                f"trainer.{name}",
                f"Lightning's Trainer has no argument {name!r}",
                nearest(name, [*known, *OURS], called="arguments"),
            )
    kept = {n: v for n, v in node.items() if n not in NOT_OURS and n != "name"}
    settings = {**DEFAULTS, **{n: v for n, v in kept.items() if v is not None or n not in DEFAULTS or n == "gradient_clip_val"}}
    check_values(settings)
    return settings


def check_values(settings: dict[str, Any]) -> None:
    """Types and ranges, in the words of the config; what depends on the machine is left to whoever is on it."""
    for name, value in settings.items():
        fault = parse_type(TYPES[name]).fault(value) if name in TYPES else None
        if (
            name in LENGTHS
            and value is not None
            and not (_number(value) and value == int(value) and (value >= 1 or value == -1))
        ):
            fault = f"{value!r} is no number >= 1 (null: not limited by it)"
        if fault:
            raise UserError(f"trainer.{name}", fault)
    strategy, time = settings.get("strategy"), settings.get("max_time")
    if str(settings.get("precision")) == "16-true":
        raise UserError(
            "trainer.precision",
            "16-true overflows within a few steps: Adam's eps underflows in fp16",
            "use bf16-mixed or bf16-true",
        )
    if strategy in FSDP1:
        raise UserError("trainer.strategy", f"{strategy!r} is FSDP1, which is not supported", "use trainer.strategy=fsdp2")
    if strategy is not None and strategy not in STRATEGIES:
        raise UserError(
            "trainer.strategy", f"unknown strategy {strategy!r}", nearest(strategy, STRATEGIES, called="strategies")
        )
    if isinstance(time, str) and not re.fullmatch(r"\d+:\d\d:\d\d:\d\d", time):
        raise UserError("trainer.max_time", f"{time!r} is no time", "write days:hours:minutes:seconds, e.g. 00:08:00:00")
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


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e18


def _portion(settings: dict[str, Any], name: str, least: int) -> None:
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


def steps_in_epoch(settings: dict[str, Any], steps_per_epoch: int) -> int:
    """Optimizer steps in one of Lightning's epochs."""
    limit = settings.get("limit_train_batches")
    accumulate = settings.get("accumulate_grad_batches") or 1
    if isinstance(limit, float):
        return max(1, int(steps_per_epoch * limit))
    return steps_per_epoch if limit is None else max(1, min(steps_per_epoch, limit // accumulate))


def total_steps(settings: dict[str, Any], per_epoch: int, tokens_per_step: float) -> int:
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
