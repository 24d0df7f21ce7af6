"""Export a run as one GGUF file, which llama.cpp and what is built on it run."""

from __future__ import annotations

import os
from pathlib import Path

from components.core.errors import UserError
from components.interop.gguf_writing import OutType, form_of, write_gguf
from components.runs.exporting import opened, plain_weights, tokenizer_files


def export_gguf(run: str, to: Path, outtype: OutType) -> str:
    """Write the file ``to`` from a checkpoint, or from a run's best one. Returns what to print about it.

    Args:
        run: as ``components export`` takes it.
        to: a new file.
        outtype: type of matrices; vectors are F32.

    Raises:
        UserError: the model is of no architecture that GGUF files are read of, or ``to`` exists already. Nothing has been written then.
    """
    to = to.expanduser()
    if os.path.lexists(to):
        raise UserError(str(to), "is there already", "name a new file with --to")
    held = opened(run)
    # a model without an adapter stays where it is, to be read tensor by tensor
    adapted = (held.config.get("adapter") or {}).get("name", "none") != "none"
    weights = plain_weights(held.vocab_size, dict(held.weights), held.config) if adapted else held.weights
    form = form_of(held.config, weights, held.vocab_size, held.prefer)
    files = tokenizer_files(held.tokenizer, held.config)
    count, note = write_gguf(form, held.vocab_size, to, outtype, name=to.stem, files=files, ids=held.ids)
    said = f"{form.architecture.label}: {count} tensors of {held.file} in {outtype}{held.folded(weights)}"
    return "\n".join([said, *([note] if note else []), f"file: {to}"])
