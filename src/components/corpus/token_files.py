"""Reads the files of a tokenizer. Anybody may have written them, so they are checked before use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from components.core import files
from components.core.errors import UserError

ROLES = ("unk", "endoftext", "bos", "eos", "pad")
# Where a tokenizer made elsewhere says nothing about roles, these names do, the first that is there.
USUAL_NAMES: dict[str, tuple[str, ...]] = {
    "unk": ("<|unk|>", "<unk>", "[UNK]"),
    "endoftext": ("<|endoftext|>", "<|end_of_text|>", "<|eos|>", "</s>", "<eos>", "[SEP]"),
    "bos": ("<|bos|>", "<|begin_of_text|>", "<s>", "<bos>", "[CLS]"),
    "eos": ("<|eos|>", "<|end_of_text|>", "</s>", "<eos>", "<|endoftext|>", "[SEP]"),
    "pad": ("<|pad|>", "<pad>", "[PAD]"),
}
CONFIG_FILE = "tokenizer_config.json"
MAP_FILE = "special_tokens_map.json"  # Hugging Face's name: {"bos_token": "<s>", ...}
# Ours, where a model came with its tokenizer: {"vocab_size": its rows, "begins": ids before a text, "ends": ids at which one is over, "starts": ids
# that stand before what an encoder-decoder writes}.
OWN_FILE = "components.json"
LABELS_FILE = "labels.json"  # what a classifier's scores stand for, in their order: ["leaf", "flower"]
TEMPLATE_FILE = "chat_template.jinja"
KEPT = (CONFIG_FILE, MAP_FILE, TEMPLATE_FILE, OWN_FILE, LABELS_FILE)  # files that go wherever tokenizer.json goes
MOST_IDS = 2**24  # no vocabulary is as large; every id is a row of a matrix


def parsed(file: Path) -> Tokenizer:
    """A tokenizer.json as the library's object. UserError if it is not one."""
    if not file.exists():
        raise UserError(str(file), "no such tokenizer file", "give a tokenizer.json or a folder with one")
    text = files.read_text(file)
    with guarded(file, "tokenizer.json"):
        core = Tokenizer.from_str(text)
        _check(core, str(file))
        return core


@contextmanager
def guarded(file: str | Path, what: str = "tokenizer") -> Iterator[None]:
    """Turn what the library raises for an unreadable file into a UserError: bare Exception, type errors, and panics (no
    Exception)."""
    try:
        yield
    except UserError:
        raise
    except BaseException as e:
        known = type(e) is Exception or isinstance(e, (TypeError, ValueError, OverflowError, UnicodeError))
        if not known and type(e).__name__ != "PanicException":
            raise
        said = " ".join(str(e).split())[:200]
        raise UserError(str(file), f"is no {what} that the tokenizers library reads: {said}", "give another") from None


def _check(core: Tokenizer, where: str) -> None:
    most = max(core.get_vocab(with_added_tokens=True).values(), default=-1)
    if most < 0:
        raise UserError(where, "has no token", "give another")
    if most >= MOST_IDS:
        raise UserError(where, f"has the id {most}, and a vocabulary has {MOST_IDS:,} at most", "give another")
    lacking = (
        None if core.post_processor is None else _unexplained(json.loads(core.post_processor.__getstate__()))
    )  # over such a one the library panics
    if lacking is not None:
        raise UserError(where, f"puts the token {lacking!r} around a text and does not say its id", "mend its post_processor")


def _unexplained(processor: object) -> str | None:
    """A special token of the template that is missing in the template's own table."""
    if not isinstance(processor, dict):
        return None
    known = processor.get("special_tokens")
    for piece in [*(processor.get("single") or ()), *(processor.get("pair") or ())] if isinstance(known, dict) else ():
        name = (piece.get("SpecialToken") or {}).get("id")
        if name is not None and name not in known:
            return str(name)
    return next((n for p in processor.get("processors") or () if (n := _unexplained(p)) is not None), None)


def files_beside(folder: Path) -> dict[str, str]:
    """The files of ``KEPT`` that exist in the folder, {name: text}."""
    return {name: files.read_text(folder / name) for name in KEPT if (folder / name).exists()}


def said_in(held: dict[str, str], name: str, where: str | Path = "") -> dict[str, Any]:
    """The object in the JSON file ``name`` of {name: text}; empty if the file is missing.

    Raises:
        UserError: the file is not JSON, or is not an object.
    """
    if name not in held:
        return {}
    path = str(Path(where) / name)
    found = files.parse_json(held[name], path)
    if not isinstance(found, dict):
        raise UserError(path, f"holds no object but {type(found).__name__}", 'it is {"name": value, ...}')
    return found


def stated(file: Path) -> dict[str, Any]:
    """The object in a JSON file; empty if the file does not exist."""
    return said_in({file.name: files.read_text(file)}, file.name, file.parent) if file.exists() else {}


def own_facts(held: dict[str, str]) -> dict[str, Any]:
    """The checked content of ``components.json`` in {name: text}: a size, and lists of ids."""
    found = said_in(held, OWN_FILE)
    size = found.get("vocab_size")
    if not (size is None or (is_id(size) and size > 0)):
        raise UserError(OWN_FILE, f"vocab_size={size!r:.60} is no number of tokens", "import the model anew")
    if not ((most := found.get("most")) is None or (is_id(most) and most > 0)):
        raise UserError(OWN_FILE, f"most={most!r:.60} is no number of tokens", "import the model anew")
    for name in ("begins", "ends", "starts"):
        ids = found.get(name)
        if not (ids is None or (isinstance(ids, list) and all(map(is_id, ids)))):
            raise UserError(OWN_FILE, f"{name}={ids!r:.60} is no list of ids", "import the model anew")
    return found


def is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST_IDS


def labels_in(held: dict[str, str]) -> tuple[str, ...]:
    """The labels in ``labels.json`` of {name: text}; empty if the file is missing."""
    found = files.parse_json(held.get(LABELS_FILE, "[]"), LABELS_FILE)
    if not (isinstance(found, list) and all(isinstance(label, str) for label in found)):
        raise UserError(LABELS_FILE, "holds no list of labels", 'it is ["leaf", "flower"]')
    return tuple(found)


def around(core: Tokenizer) -> tuple[list[int], list[int]]:
    """The special tokens that the file puts before a text, and after it."""
    if core.post_processor is None:
        return [], []
    with guarded("tokenizer.json"):
        made = core.encode("a", add_special_tokens=True)
    marks = made.special_tokens_mask
    if 0 not in marks:
        return made.ids, []
    first, last = marks.index(0), len(marks) - marks[::-1].index(0)
    return made.ids[:first], made.ids[last:]


def roles_read(core: Tokenizer, folder: Path) -> dict[str, str]:
    """The roles that the files in ``folder`` state, and those known by their usual names."""
    return {**roles_by_name(core), **_roles_beside(core, folder)}


def roles_by_name(core: Tokenizer) -> dict[str, str]:
    """The roles whose usual names are in the vocabulary."""
    found = {role: next((n for n in usual if core.token_to_id(n) is not None), None) for role, usual in USUAL_NAMES.items()}
    return {role: token for role, token in found.items() if token is not None}


def _roles_beside(core: Tokenizer, folder: Path) -> dict[str, str]:
    """The roles that ``tokenizer_config.json`` and ``special_tokens_map.json`` state; a document ends with what ends a text."""
    found: dict[str, str] = {}
    for name in (CONFIG_FILE, MAP_FILE):
        held = stated(folder / name)
        for role in ROLES:
            token = held.get(f"{role}_token")
            token = token.get("content") if isinstance(token, dict) else token
            if isinstance(token, str) and core.token_to_id(token) is not None:
                found[role] = token
    if "eos" in found and "endoftext" not in found:
        found["endoftext"] = found["eos"]
    return found
