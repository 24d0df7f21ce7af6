"""Export a run as one file that runs without this package: a program of ``torch.export`` or of ONNX, with the tokenizer beside it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from components.core import files
from components.core.errors import UserError
from components.interop.program import SUFFIXES, needed, onnx_of, program_of, write_program
from components.parts.adapter._merge import merge
from components.runs.exporting import tokenizer_files
from components.runs.loading import open_model, vocab_size_of


def is_program(to: Path) -> bool:
    """Whether the name of what is to be written says that it is a program."""
    return to.suffix in SUFFIXES


def export_program(run: str, to: Path) -> str:
    """Write ``to``, a ``.pt2`` or an ``.onnx`` file, of a run's best checkpoint, and the tokenizer's files beside it. Returns what to print about it.

    Raises:
        UserError: the model is no decoder of tokens or cannot be exported, a file is there already, or a package is missing. Nothing has been written then.
    """
    if to.suffix == ".onnx":
        needed(str(to))
    opened = open_model(run)
    beside = tokenizer_files(opened.tokenizer, opened.config)
    if there := [name for name in (to.name, *beside) if (to.parent / name).exists() or (to.parent / name).is_symlink()]:
        raise UserError(str(to.parent / there[0]), "is there already", "name a file in a new folder with --to")
    model, vocab_size, context = (
        opened.model,
        vocab_size_of(opened.config, opened.tokenizer),
        opened.config["model"].get("context_length", 0),
    )
    if (opened.config.get("adapter") or {}).get("name", "none") != "none":
        model = merge(model).eval()
    made = program_of(model, vocab_size, context, run)
    content = onnx_of(made, model, vocab_size, context, run) if to.suffix == ".onnx" else None
    files.make_folder(to.parent)
    with ExitStack() as undo:
        for name, text in beside.items():
            undo.callback((to.parent / name).unlink, missing_ok=True)
            files.write_text(to.parent / name, text)
        with files.whole(to) as stream:
            stream.write(content) if content is not None else write_program(made, stream)
        undo.pop_all()  # all is there
    takes = (
        f"takes ids (batch, length), int64, of at most {context} positions; gives logits (batch, length, {vocab_size}), float32"
    )
    return f"{to}: {takes}\nbeside it: {', '.join(sorted(beside)) or 'nothing: ids are written as numbers'}"
