"""The tokenizer that belongs to a GGUF file."""

from __future__ import annotations

import tempfile
from pathlib import Path

from components.core.errors import UserError
from components.core.extras import lacking
from components.core.files import read_json, write_json
from components.corpus.foreign import read_any
from components.corpus.tokens import Tokens
from components.interop.gguf_header import read_header
from components.interop.gguf_words import divided

INSIDE = "tokenizer.ggml.tokens"


def read_in_gguf(file: Path) -> Tokens | None:
    """The tokenizer.json beside the file, else what transformers makes of the tokenizer inside of it; None if there is none.

    Raises:
        UserError: transformers is not installed, or does not read it.
    """
    if (file.parent / "tokenizer.json").is_file():
        return read_any(file.parent)
    values = read_header(file).values
    if INSIDE not in values:
        return None
    try:
        from transformers import AutoTokenizer
    except ImportError:
        raise lacking(str(file), "has a tokenizer inside, which transformers converts", "transformers") from None
    with tempfile.TemporaryDirectory() as folder:
        try:
            AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name, local_files_only=True).save_pretrained(folder)
        except (
            BaseException
        ) as e:  # whatever its many converters raise, a panic of the library below, which is no Exception, among it
            if isinstance(e, (KeyboardInterrupt, SystemExit)):
                raise
            said = f"transformers does not read its tokenizer: {(str(e).strip().splitlines() or [type(e).__name__])[0]}"
            raise UserError(str(file), said, "put its tokenizer.json beside it") from e
        made = Path(folder) / "tokenizer.json"
        write_json(made, divided(read_json(made), values, str(file)))
        return read_any(Path(folder))
