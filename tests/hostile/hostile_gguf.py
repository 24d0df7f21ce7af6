"""Hostile GGUF files: a sound one, with a count, a value, a shape, a type or a place that lies, and tokenizers of no form."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from corpus import NODES, TEXTS, Case, flipped, node, shortened, text

FILE = "x.gguf"
IMPORT = ("import", FILE, "--to", "imported")
HERE = (FILE, "GGUF tensor")
U32, U64, F32 = "<I", "<Q", "<f"


def over(mark: str, beyond: int, form: str, value: float) -> Callable[[Path], None]:
    """``value`` over what stands ``beyond`` bytes behind the first ``mark``: 4 is a key's value, 0 its type."""

    def make(folder: Path) -> None:
        held = bytearray((folder / FILE).read_bytes())
        at = held.index(struct.pack("<Q", len(mark)) + mark.encode()) + 8 + len(mark) + beyond
        struct.pack_into(form, held, at, value)
        (folder / FILE).write_bytes(held)

    return make


def count(at: int, value: int) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        held = bytearray((folder / FILE).read_bytes())
        struct.pack_into("<Q", held, at, value)
        (folder / FILE).write_bytes(held)

    return make


def vocabulary(**keys: object) -> Callable[[Path], None]:
    """The sound file with these keys of a tokenizer; its tensors are those of the sound one, written again."""

    def make(folder: Path) -> None:
        import gguf

        sound = gguf.GGUFReader(folder / FILE)
        out = gguf.GGUFWriter(folder / "new.gguf", "llama")
        for name, field in sound.fields.items():
            if name.startswith(("llama.", "general.file")):
                kind = field.types[0]
                out.add_key_value(name, field.contents(), kind)
        for name, value in keys.items():
            key = f"tokenizer.{name}" if name == "chat_template" else f"tokenizer.ggml.{name}"
            kind = gguf.GGUFValueType.get_type(value) if not isinstance(value, int) else gguf.GGUFValueType.UINT32
            out.add_key_value(key, value, kind)
        for tensor in sound.tensors:
            out.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        out.write_header_to_file()
        out.write_kv_data_to_file()
        out.write_tensors_to_file()
        out.close()
        os.replace(folder / "new.gguf", folder / FILE)

    return make


def tokenizer(**changed: object) -> dict[str, object]:
    """The keys of a sound tokenizer with as many ids as the model has rows, but for what is changed."""
    from tokenizers import pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    sound = {"model": "gpt2", "pre": "gpt-2", "tokens": ["<|endoftext|>", *letters, "ab", "abc", "bc", "cb"]}
    sound |= {"token_type": [3, *[1] * 260], "merges": ["a b", "ab c", "b c", "c b"], "bos_token_id": 0, "eos_token_id": 0}
    return {n: v for n, v in {**sound, **changed}.items() if v is not None}


TOKENIZERS: dict[str, dict[str, object]] = {
    "tokens are one text": {"tokens": "abc"},
    "no tokens": {"tokens": None},
    "one token": {"tokens": ["a"], "token_type": [1]},
    "the same token 261 times": {"tokens": ["a"] * 261},
    "a token of 8 MB": {"tokens": ["x" * 2**23, *map(str, range(260))]},
    "merges of nothing": {"merges": ["", " ", "a", "a b c", "zz q"]},
    "merges are numbers": {"merges": [1, 2]},
    "no merges": {"merges": None},
    "types too few": {"token_type": [3]},
    "bos beyond": {"bos_token_id": 2**31},
    "pre is a path": {"pre": "../../x"},
    "model is a path": {"model": "/etc/passwd"},
    "SentencePiece without scores": {"model": "llama", "merges": None},
    "SentencePiece of bytes": {"model": "llama", "scores": [0.0] * 261},
    "an endless template": {"chat_template": "{% for i in range(10**9) %}{% for j in range(10**9) %}x{% endfor %}{% endfor %}"},
}
SIZES = (
    *("block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count"),
    *("attention.head_count_kv", "attention.key_length", "rope.dimension_count"),
)
QUERY = "blk.0.attn_q.weight"
SMALLER = 4 + 2 * 8  # from the number of axes of a matrix to its type


def of_gguf() -> Iterator[Case]:
    for what, content in TEXTS.items():
        yield Case(f"gguf/{what}", IMPORT, text(FILE, content), HERE, fine=False)
    for what in NODES:
        yield Case(f"gguf/{what}", IMPORT, node(FILE, what), (*HERE, "gguf"), fine=False)
    for what, at in {"tensors": 8, "values": 16}.items():
        for value in (0, 2**20, 2**63, 2**64 - 1):
            yield Case(f"gguf/{value} {what}", IMPORT, count(at, value), HERE, fine=False)
    for key in SIZES:
        for value in (0, 3, 2**20, 2**32 - 1):
            fine = key == "context_length"  # no tensor says it
            yield Case(f"gguf/{key} {value}", IMPORT, over(f"llama.{key}", 4, U32, value), HERE, fine=fine)
        for kind in (6, 8, 9):  # another type of value over the same bytes
            yield Case(f"gguf/{key} of type {kind}", IMPORT, over(f"llama.{key}", 0, U32, kind), HERE)
    for key in ("attention.layer_norm_rms_epsilon", "rope.freq_base"):
        for value in (0.0, -1.0, float("nan"), float("inf"), 1e38):
            yield Case(f"gguf/{key} {value}", IMPORT, over(f"llama.{key}", 4, F32, value), HERE, fine=False)
    for name in ("token_embd.weight", QUERY):
        for axes in (0, 1, 5, 2**31):
            yield Case(f"gguf/{name} of {axes} axes", IMPORT, over(name, 0, U32, axes), HERE, fine=False)
        for length in (0, 2**40, 2**64 - 1):
            yield Case(f"gguf/{name} of rows of {length}", IMPORT, over(name, 4, U64, length), HERE, fine=False)
            yield Case(f"gguf/{name} of {length} rows", IMPORT, over(name, 12, U64, length), HERE, fine=False)
        for kind in (2, 8, 30, 99):
            yield Case(f"gguf/{name} of type {kind}", IMPORT, over(name, SMALLER, U32, kind), HERE, fine=kind == 30)
        for place in (1, 2**40, 2**64 - 1):
            yield Case(f"gguf/{name} at {place}", IMPORT, over(name, SMALLER + 4, U64, place), HERE, fine=place == 1)
    for what, changed in TOKENIZERS.items():
        yield Case(f"gguf tokenizer/{what}", IMPORT, lambda folder, c=changed: vocabulary(**tokenizer(**c))(folder), HERE)
    for i in range(12):
        yield Case(f"gguf/flipped {i}", IMPORT, flipped(FILE, i), HERE)
    for i in range(5):
        yield Case(f"gguf/cut {i}", IMPORT, shortened(FILE, (i + 1) / 6), HERE, fine=False)
