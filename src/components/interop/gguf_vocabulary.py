"""A tokenizer as keys of a GGUF file, as llama.cpp's convert_hf_to_gguf.py writes them.

Two kinds have a form there: byte-level BPE (``gpt2``), and BPE over characters with bytes for the rest (``llama``, which llama.cpp reads as SentencePiece).
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from tokenizers import Tokenizer

from components.core.config_types import Config
from components.core.files import write_text
from components.corpus.token_files import CONFIG_FILE, MAP_FILE, around, said_in
from components.interop.gguf_file import Writer
from components.interop.gguf_words import SPACES, Held, name_of

Found: TypeAlias = Any  # gguf.SpecialVocab, gguf.TokenType
FILE = "tokenizer.json"
BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
MARKED = re.compile(r"<\|.*\|>|<｜.*｜>|<pad>|<mask>")  # taken for special there, whatever the file says
METASPACE = {"type": "Metaspace", "replacement": "▁", "split": False}
LEAST = -1000.0  # the score of what no merge makes
ROLES = ("bos", "eos", "unk", "sep", "pad", "mask")


class Formless(Exception):
    """A tokenizer that no key of a GGUF file describes; the message is why."""


def add_vocabulary(package: ModuleType, writer: Writer, files: Mapping[str, str], config: Config, rows: int) -> str:
    """Add the keys of a tokenizer to ``writer``, or that there is none; a note about what differs elsewhere, or is left out.

    Args:
        package: ``gguf``.
        writer: its ``GGUFWriter``.
        files: {name: text}, as an exported folder has them; none where ids are numbers.
        config: config.json, for the ids of special tokens.
        rows: tokens that the model has a row for; there are no others in the file.
    """
    try:
        return _add(package, writer, files, config, rows)
    except Formless as e:
        writer.add_tokenizer_model("none")
        return f"no tokenizer in it: {e}"


def _add(package: ModuleType, writer: Writer, files: Mapping[str, str], config: Config, rows: int) -> str:
    if FILE not in files:
        raise Formless("ids are numbers")
    held = json.loads(files[FILE])
    core = Tokenizer.from_str(files[FILE])
    model, way = _kind(held)
    special = _special(package, files, held, config, rows)
    before, after = around(core)
    if len(before) == 1:  # the only token that llama.cpp puts there
        special.special_token_ids["bos"] = before[0]
    for role, ids in (("bos", before), ("eos", after)):
        if ids and ids != [special.special_token_ids.get(role)]:
            raise Formless(f"it puts {' '.join(map(str, map(core.id_to_token, ids)))} around a text")
        special.add_special_token[role] = bool(ids)  # said in either case: what holds unsaid depends on the way
    tokens, types = zip(*_tokens(core, held, rows, package.TokenType), strict=True)
    writer.add_tokenizer_model(model)
    writer.add_tokenizer_pre(way)
    writer.add_token_list(tokens)
    note = ""
    if model == "llama":
        writer.add_token_scores(_scores(held, tokens))
        unlike = _joined_elsewhere(held)
        note = f"llama.cpp may cut rare words otherwise: it joins {unlike} pairs that are no merges here" if unlike else ""
    writer.add_token_types(types)
    special.add_to_gguf(writer, quiet=True)
    return note


def _kind(held: Held) -> tuple[str, str]:
    """(``tokenizer.ggml.model``, ``tokenizer.ggml.pre``) of a tokenizer.json."""
    model, decoder = held["model"], (held.get("decoder") or {}).get("type")
    if model.get("type") != "BPE" or model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise Formless(f"llama.cpp has no form for {model.get('type')} as a model of this class has it")
    if not model.get("merges"):
        raise Formless("llama.cpp reads no BPE without merges")
    normalizer, pre = held.get("normalizer"), held.get("pre_tokenizer")
    if model.get("byte_fallback") and decoder == "Sequence":
        prefixed = pre is None and (normalizer or {}).get("normalizers") == SPACES
        if prefixed or (
            normalizer is None
            and {n: (pre or {}).get(n) for n in METASPACE} == METASPACE
            and (pre or {}).get("prepend_scheme") != "never"
        ):
            return "llama", "default"
        raise Formless("llama.cpp has no name for its way to write spaces")
    if decoder != "ByteLevel" or (normalizer or {"type": "NFC"}).get("type") != "NFC":  # llama.cpp normalises nothing
        raise Formless("llama.cpp has no form for its normalizer or decoder")
    way = name_of(held)
    if way is None:
        raise Formless("llama.cpp has no name for its way to divide text")
    return "gpt2", way


def _special(package: ModuleType, files: Mapping[str, str], held: Held, config: Config, rows: int) -> Found:
    """Merges, ids of special tokens and chat template, found by llama.cpp's own code.

    It reads special tokens from one file of two, and guesses what stands around a text: it is given both as one, and no template.
    """
    said = {**said_in(dict(files), MAP_FILE), **said_in(dict(files), CONFIG_FILE)}
    changed = {
        FILE: json.dumps({**held, "post_processor": None}),
        CONFIG_FILE: json.dumps(said),
        "config.json": json.dumps(config),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, text in {**files, **changed}.items():
            write_text(Path(folder) / name, text)
        found = package.SpecialVocab(folder, load_merges=True, special_token_types=ROLES, n_vocab=rows)
    found.add_special_token.clear()
    return found


def _tokens(core: Tokenizer, held: Held, rows: int, types: Found) -> Iterator[tuple[str, int]]:
    """(text, type) of each id that the model has a row for."""
    names = {i: name for name, i in core.get_vocab(with_added_tokens=True).items()}
    added = {token["id"]: token for token in held.get("added_tokens") or ()}
    in_bytes = bool(held["model"].get("byte_fallback"))
    for i in range(rows):
        if i not in names:
            yield f"[PAD{i}]", types.UNUSED
        elif i not in added:
            yield names[i], types.BYTE if in_bytes and BYTE.fullmatch(names[i]) else types.NORMAL
        else:
            # llama.cpp takes these for normalised
            ids = core.encode(names[i], add_special_tokens=False).ids
            text = names[i] if added[i]["normalized"] else core.decode(ids, skip_special_tokens=False)
            if added[i]["special"] or MARKED.fullmatch(text):
                yield text, types.CONTROL
            else:
                yield text.replace("▁", " "), types.USER_DEFINED


def _pairs(held: Held) -> list[tuple[str, str]]:
    return [(m[0], m[1]) for m in (m.split(" ", 1) if isinstance(m, str) else m for m in held["model"]["merges"])]


def _scores(held: Held, tokens: tuple[str, ...]) -> list[float]:
    """SentencePiece joins the pair whose whole has the highest score, so the first merge that makes a token is its score."""
    rank: dict[str, int] = {}
    for i, (left, right) in enumerate(_pairs(held)):
        rank.setdefault(left + right, i)
    return [-float(rank[token]) if token in rank else LEAST - len(rank) for token in tokens]


def _joined_elsewhere(held: Held) -> int:
    """Pairs that SentencePiece joins, since their whole is a token, and that are no merges."""
    vocab, known = held["model"]["vocab"], set(_pairs(held))
    cuts = ((token[:i], token[i:]) for token in vocab if not BYTE.fullmatch(token) for i in range(1, len(token)))
    apart = {t["content"] for t in held.get("added_tokens") or ()}
    return sum(
        left in vocab and right in vocab and (left, right) not in known and left + right not in apart for left, right in cuts
    )
