"""``resume=`` goes on with a run as it was; ``init_from=`` starts a new one from another's weights. What each may change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from components.errors import UserError
from components.task import checkpoints, run_folder
from components.weights import copy_full

# what leaves the result of an uninterrupted run as it is, or only says where and how long
ALLOWED = (
    "trainer.max_steps",
    "trainer.max_tokens",
    "trainer.max_time",
    "trainer.devices",
    "trainer.strategy",
    "trainer.precision",
)
ALLOWED_GROUPS = ("logger", "callbacks", "paths")


@dataclass(frozen=True)
class Resumed:
    """The run that goes on: its folder, the checkpoint, and the config that it had."""

    folder: Path
    checkpoint: Path
    config: dict[str, Any]


def split_overrides(overrides: list[str]) -> tuple[list[str], dict[str, str]]:
    """(overrides of the config, {"resume": ..., "init_from": ..., "recipe": ...}): these three choose where a run begins."""
    special: dict[str, str] = {}
    rest: list[str] = []
    for override in overrides:
        key, sign, value = override.partition("=")
        if sign and key in ("resume", "init_from", "recipe"):
            special[key] = value
        else:
            rest.append(override)
    return rest, special


def find_resumed(name: str, overrides: list[str], runs: Path) -> Resumed:
    """The run that ``resume=name`` means, after a look at what else was asked for.

    Raises:
        UserError: no such run, or an override that would make it another run.
    """
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0].replace("/", ".").partition("@")[0]
        if key not in ALLOWED and key.split(".")[0] not in ALLOWED_GROUPS:
            raise UserError(
                key,
                f"resume= goes on with the run as it was; only {', '.join((*ALLOWED, *ALLOWED_GROUPS))} may change",
                f"for another run from these weights: init_from={name} with any overrides",
            )
    folder, checkpoint = run_folder.find_run(name, runs)
    checkpoint = checkpoint or run_folder.checkpoint_of(folder, best=False)
    if not (folder / "config.yaml").exists():
        raise UserError(
            f"resume={name}",
            f"{folder} is no run folder (it has no config.yaml)",
            f"start from the weights alone: init_from={name}",
        )
    return Resumed(folder, checkpoint, run_folder.read_config(folder))


def runs_folder(overrides: list[str], default: str = "runs") -> Path:
    """Where runs are looked for before there is a config."""
    given = [o.partition("=")[2] for o in overrides if o.startswith("paths.runs=")]
    return Path(given[-1] if given else default).expanduser()


def load_weights(model: nn.Module, found: dict[str, torch.Tensor], origin: str, say: Callable[[str], None]) -> None:
    """Copy by name what fits by shape, and say what did and what did not.

    Raises:
        UserError: nothing fits.
    """
    own = dict(model.named_parameters()) | {n: b for n, b in model.named_buffers() if n in model.state_dict()}
    fitting = [n for n in own if n in found and found[n].shape == own[n].shape]
    other_shape = [n for n in own if n in found and found[n].shape != own[n].shape]
    missing = [n for n in own if n not in found]
    unused = [n for n in found if n not in own]
    if not fitting:
        raise UserError("init_from", f"no weight of {origin} fits this model", "compare the two configs: components runs A B")
    with torch.no_grad():
        for name in fitting:
            copy_full(own[name], found[name])
    say(f"init_from {origin}: {len(fitting)} of {len(own)} tensors loaded")
    for names, text in (
        (other_shape, "of another shape, kept new"),
        (missing, "not in the checkpoint, kept new"),
        (unused, "in the checkpoint, not used"),
    ):
        if names:
            say(f"  {len(names)} {text}: {', '.join(names[:6])}{' ...' if len(names) > 6 else ''}")


@dataclass(frozen=True)
class Start:
    """Weights of another run, where they are from, and the files of its tokenizer."""

    weights: dict[str, torch.Tensor]
    origin: str
    tokenizer: dict[str, str]


def start_from(name: str, runs: Path) -> Start:
    """What ``init_from=name`` means: a run's best checkpoint, or the one that is named."""
    folder, file = run_folder.find_run(name, runs)
    file = file or run_folder.checkpoint_of(folder, best=True)
    checkpoint = checkpoints.read(file)
    return Start(checkpoints.weights_in(checkpoint), str(file), checkpoint["components"]["tokenizer"])


def compare_tokenizers(start: Start, own: dict[str, str], say: Callable[[str], None]) -> None:
    """Another tokenizer gives every id another meaning, which no shape shows."""
    if own != start.tokenizer:
        kept = Path(start.origin).parent.parent / "tokenizer.json"
        say(f"init_from {start.origin}: its tokenizer is another one; to keep its: tokenizer=pretrained tokenizer.path={kept}")
