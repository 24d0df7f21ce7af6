"""Reading checkpoints: plain data. Beside Lightning's state it holds the spelled-out config, the tokenizer and each rank's random state.

A checkpoint holds no pickled code, so ``torch.load(weights_only=True)`` reads it. ``training/saving.py`` writes it.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch

from components.core.errors import UserError
from components.core.files import write_text
from components.corpus.tokens import Tokens, read_tokenizer
from components.runs.archive import Checkpoint, check_archive, check_shape


def read(file: Path) -> Checkpoint:
    """A checkpoint as plain data.

    Raises:
        UserError: the file is missing or damaged, or is of another package or a newer release.
    """
    if file.is_dir():
        raise UserError(
            str(file),
            "is a folder of shards",
            "consolidate it first, or save with trainer.strategy=fsdp2, which writes one file",
        )
    if not file.exists():
        raise UserError(str(file), "no such checkpoint")
    check_archive(file)
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception as e:  # torch raises RuntimeError, UnpicklingError, EOFError, KeyError for damaged files
        if "weights_only" in str(e).lower() or "unsupported" in str(e).lower():
            raise UserError(
                str(file),
                "holds pickled objects, which are not loaded: they could run code",
                "use a checkpoint of this package",
            ) from e
        raise UserError(
            str(file), f"cannot be read as a checkpoint ({type(e).__name__}: {(str(e).splitlines() or [''])[0]})"
        ) from e
    return check_shape(checkpoint, str(file))


def tokenizer_files(tokenizer: Tokens) -> dict[str, str]:
    """What ``save`` writes, as {name: text}. A checkpoint keeps it, so that it can be moved without its folder."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(Path(folder) / "tokenizer.json")
        return {file.name: file.read_text(encoding="utf8") for file in sorted(Path(folder).iterdir())}


def tokenizer_in(checkpoint: Checkpoint, file: Path | str = "") -> Tokens:
    """The tokenizer in a checkpoint; ``file`` is the checkpoint's, for messages.

    Raises:
        UserError: it cannot be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, text in checkpoint["components"]["tokenizer"].items():
            write_text(Path(folder) / name, text)
        try:
            return read_tokenizer(Path(folder) / "tokenizer.json")
        except UserError as e:  # the temporary folder would mean nothing to the reader
            where = ": ".join(filter(None, (str(file), Path(e.where).name)))
            raise UserError(where, e.what.replace(f"{folder}{os.sep}", ""), e.instead) from e


def weights_in(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """The model's own state dict."""
    return {n.removeprefix("model."): v for n, v in checkpoint["state_dict"].items() if n.startswith("model.")}
