"""The tokenizer that belongs to a GGUF file."""

from __future__ import annotations

import tempfile
from pathlib import Path

from components.core.errors import UserError
from components.core.extras import lacking
from components.core.files import read_json, write_json
from components.corpus.foreign import read_any, token_of
from components.corpus.token_files import CONFIG_FILE
from components.corpus.tokens import Tokens
from components.interop.gguf_header import read_header
from components.interop.gguf_words import Held, divided

INSIDE = "tokenizer.ggml.tokens"
LONGEST = 2**16  # transformers reads a text byte by byte


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
    tokens = values[INSIDE]
    if not (isinstance(tokens, list) and all(isinstance(t, str) and len(t) <= LONGEST for t in tokens)):
        what = f"{INSIDE} holds something else than tokens of at most {LONGEST:,} characters"
        raise UserError(str(file), what, "fetch it again, or put its tokenizer.json beside it")
    try:
        from transformers import AutoTokenizer
    except ImportError:
        raise lacking(str(file), "has a tokenizer inside, which transformers converts", "transformers") from None
    with tempfile.TemporaryDirectory() as folder:
        try:
            AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name, local_files_only=True).save_pretrained(folder)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as e:  # whatever its converters raise, with a panic of the library below, which is no Exception
            said = f"transformers does not read its tokenizer: {(str(e).strip().splitlines() or [type(e).__name__])[0]}"
            raise UserError(str(file), said, "put its tokenizer.json beside it") from e
        _mend(Path(folder), values, str(file))
        return read_any(Path(folder))


def _mend(folder: Path, values: Held, where: str) -> None:
    """What transformers made of a file, with llama.cpp's division of text, and without the tokens that a class of theirs has and the file has not."""
    made, said = folder / "tokenizer.json", folder / CONFIG_FILE
    held, known = divided(read_json(made), values, where), set(values[INSIDE])
    kept = [t for t in held.get("added_tokens") or () if t["content"] in known]
    write_json(made, {**held, "added_tokens": kept})
    config = read_json(said)
    named = {n: token for n in config if n.endswith("_token") and (token := token_of(config[n])) is not None}
    write_json(said, {n: v for n, v in config.items() if n not in named or named[n].content in known})
