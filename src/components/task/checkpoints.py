"""Checkpoints, read: plain data with the spelled-out config, the tokenizer and the random state of every rank besides Lightning's state.

Nothing in one is pickled code, so ``torch.load(weights_only=True)`` reads it. What writes them is in ``saving.py``.
"""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch

from components import __version__
from components.corpus.tokens import read_tokenizer
from components.errors import UserError
from components.task.records import check_config

SCHEMA = 1


def read(file: Path) -> dict[str, Any]:
    """A checkpoint as plain data, with what this package wrote into it.

    Raises:
        UserError: no checkpoint, a damaged one, one that is not ours, one of a newer release.
    """
    if file.is_dir():
        raise UserError(
            str(file),
            "is a folder of shards",
            "consolidate it first, or save with trainer.strategy=fsdp2, which writes one file",
        )
    if not file.exists():
        raise UserError(str(file), "no such checkpoint")
    if not zipfile.is_zipfile(file):  # torch would try to unpickle it, and say that it found code
        raise UserError(str(file), "is no checkpoint", "give a run, or best.ckpt or last.ckpt of one")
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception as e:  # torch raises RuntimeError, UnpicklingError, EOFError, KeyError for damaged files
        if "weights_only" in str(e).lower() or "unsupported" in str(e).lower():
            raise UserError(
                str(file),
                "holds pickled objects, which are not loaded: they could run code",
                "use a checkpoint of this package",
            ) from e
        raise UserError(str(file), f"is no readable checkpoint ({type(e).__name__}: {str(e).splitlines()[0]})") from e
    ours = checkpoint.get("components") if isinstance(checkpoint, dict) else None
    if ours is None:
        raise UserError(str(file), "was not written by this package: it has no config", "use best.ckpt or last.ckpt of a run")
    check_shape(checkpoint, ours, str(file))
    return checkpoint


def check_shape(checkpoint: dict[str, Any], ours: Any, where: str) -> None:
    """UserError for one of a newer release, or one in which something is missing that every checkpoint has."""
    schema = ours.get("schema") if isinstance(ours, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise UserError(
            where,
            f"was written by a newer release ({ours.get('version')}; this is {__version__})",
            "upgrade lightning-components",
        )
    tokenizer = ours.get("tokenizer") if isinstance(ours, dict) else None
    lacking = [
        name
        for name, there in (
            ("schema", isinstance(schema, int)),
            ("tokenizer", isinstance(tokenizer, dict) and "tokenizer.json" in tokenizer),
            ("state_dict", isinstance(checkpoint.get("state_dict"), dict)),
            ("global_step", isinstance(checkpoint.get("global_step"), int)),
        )
        if not there
    ]
    if lacking:
        raise UserError(where, f"is damaged: it lacks {', '.join(lacking)}", "use another checkpoint of the run")
    check_config(ours.get("config"), where)


def tokenizer_files(tokenizer: Any) -> dict[str, str]:
    """What ``save`` writes, as {name: text}: a checkpoint moved elsewhere still knows its tokens."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(Path(folder) / "tokenizer.json")
        return {file.name: file.read_text(encoding="utf8") for file in sorted(Path(folder).iterdir())}


def tokenizer_in(checkpoint: dict[str, Any]) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        for name, text in checkpoint["components"]["tokenizer"].items():
            (Path(folder) / Path(name).name).write_text(text, encoding="utf8")
        return read_tokenizer(Path(folder) / "tokenizer.json")


def weights_in(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The model's own state dict."""
    return {n.removeprefix("model."): v for n, v in checkpoint["state_dict"].items() if n.startswith("model.")}
