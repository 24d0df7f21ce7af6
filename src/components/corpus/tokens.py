"""What turns text into ids and back: a ``tokenizers`` file and the roles of its special tokens.

Special tokens are never read from ordinary text: ``encode("<|endoftext|>")`` gives the ids of these thirteen characters, so no
text can end a document or start a role. ``decode`` drops nothing but rows of a model that stand for no token.
Longer than most: the class, and all that is kept beside its file, which reading and writing must agree on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from components.errors import UserError
from components.files import make_folder, write_json, write_text

ROLES = ("unk", "endoftext", "bos", "eos", "pad")
OWN_NAMES = {role: f"<|{role}|>" for role in ROLES}
# Where a tokenizer made elsewhere says nothing about roles, these names do, the first that is there.
USUAL_NAMES: dict[str, tuple[str, ...]] = {
    "unk": ("<|unk|>", "<unk>", "[UNK]"),
    "endoftext": ("<|endoftext|>", "<|end_of_text|>", "<|eos|>", "</s>", "<eos>", "[SEP]"),
    "bos": ("<|bos|>", "<|begin_of_text|>", "<s>", "<bos>", "[CLS]"),
    "eos": ("<|eos|>", "<|end_of_text|>", "</s>", "<eos>", "<|endoftext|>", "[SEP]"),
    "pad": ("<|pad|>", "<pad>", "[PAD]"),
}
MAP_FILE = "special_tokens_map.json"  # Hugging Face's name: {"bos_token": "<s>", ...}
# Ours, where a model came with its tokenizer: {"vocab_size": its rows, "begins": ids before a text, "ends": ids at which one is over, "starts": ids
# that stand before what an encoder-decoder writes}.
OWN_FILE = "components.json"
LABELS_FILE = "labels.json"  # what a classifier's scores stand for, in their order: ["leaf", "flower"]
TEMPLATE_FILE = "chat_template.jinja"
KEPT = ("tokenizer_config.json", MAP_FILE, TEMPLATE_FILE, OWN_FILE, LABELS_FILE)  # files that go wherever tokenizer.json goes
PROBE = "Ünïcode, tabs\tand\n\n  spaces; 東京 Ελλάδα 👩‍🚀 \x00 <|endoftext|> def f(x): return x\n"


class Tokens:
    """Text <-> ids. ``specials`` gives the ids of those roles of ``ROLES`` that this tokenizer has.

    ``begins``: ids that its file puts before a text, None where nothing says (then a text begins with ``endoftext``); ``ends``: ids at
    which a text is over, None likewise; ``files``: what lay beside tokenizer.json, {name: text}, written wherever it is saved.
    """

    def __init__(self, core: Tokenizer, roles: dict[str, str], files: dict[str, str] | None = None) -> None:
        self._set(core, roles, files)

    def _set(self, core: Tokenizer, roles: dict[str, str], files: dict[str, str] | None = None) -> None:
        # a file may carry the cutting and padding of its last user, both of which lose text or add ids silently
        core.no_truncation()
        core.no_padding()
        core.encode_special_tokens = True  # not kept in the file, so set by everyone who reads one
        self.core = core
        self.roles = roles
        self.specials: dict[str, int] = {role: core.token_to_id(token) for role, token in roles.items()}
        ids = set(core.get_vocab(with_added_tokens=True).values())
        self.files = dict(files or {})
        known = json.loads(self.files.get(OWN_FILE, "{}"))
        self.vocab_size: int = known.get("vocab_size") or max(ids) + 1
        self._holes = set(range(max(ids) + 1)) - ids
        self._n_named = max(ids) + 1
        self.begins: list[int] | None = known.get("begins", prefix_of(core) or None)
        self.ends: list[int] | None = known.get("ends")
        self.starts: list[int] | None = known.get("starts")

    @property
    def labels(self) -> tuple[str, ...]:
        """What a classifier's scores stand for; empty where there is none."""
        return tuple(json.loads(self.files.get(LABELS_FILE, "[]")))

    def __reduce__(self) -> Any:
        # the library's own pickle forgets that special tokens are not to be read from text
        return _unpickled, (self.core.to_str(), self.roles, self.files)

    def train(self, texts: Iterable[str]) -> None:
        """What was read from a file has nothing left to learn."""

    def fingerprint(self) -> str:
        """By content, so that a copy elsewhere is the same tokenizer."""
        held = json.dumps(self.roles, sort_keys=True) + self.core.to_str()
        return hashlib.blake2b(held.encode(), digest_size=16).hexdigest()

    def encode(self, text: str, *, special_tokens: bool = False) -> list[int]:
        """Ids of ordinary text, without any special token.

        Args:
            text: anything.
            special_tokens: read special tokens that stand in the text, and put those before and after that the file asks for.
        """
        if not special_tokens:
            return self.core.encode(text, add_special_tokens=False).ids
        self.core.encode_special_tokens = False
        try:
            return self.core.encode(text, add_special_tokens=True).ids
        finally:
            self.core.encode_special_tokens = True

    def encode_whole(self, text: str) -> list[int]:
        """Ids of ordinary text, with the special tokens before and after it that the file asks for."""
        return self.core.encode(text, add_special_tokens=True).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """``encode`` of each, on all cores."""
        return [e.ids for e in self.core.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; special tokens appear by their names. ValueError for an id that there is not.

        Rows that a model has beyond its tokenizer's ids have no text.
        """
        ids = [int(i) for i in ids]
        for i in ids:
            if not 0 <= i < max(self.vocab_size, self._n_named) or i in self._holes:  # the library would leave it out
                raise ValueError(f"id {i} is none of this tokenizer's {self._n_named - len(self._holes)} ids")
        return self.core.decode(ids, skip_special_tokens=False)

    def save(self, file: str | Path) -> None:
        """Write ``tokenizer.json``, and beside it the roles where the names alone do not tell them."""
        file = Path(file)
        folder = make_folder(file.parent)
        write_text(file, self.core.to_str())
        for name, text in self.files.items():
            write_text(folder / name, text)
        if roles_read(self.core, file.parent) != self.roles:
            held = json.loads(self.files.get(MAP_FILE, "{}")) | {f"{role}_token": t for role, t in self.roles.items()}
            write_json(folder / MAP_FILE, held, indent=None)

    def round_trips(self, text: str = PROBE) -> bool:
        """Whether ``text`` comes back exactly."""
        return self.decode(self.encode(text)) == text


def read_tokenizer(file: str | Path) -> Tokens:
    """Read a ``tokenizer.json``, or the one in a folder, with the roles written beside it or told by the usual names.

    Raises:
        UserError: no such file, or none that the ``tokenizers`` library reads.
    """
    file = Path(file).expanduser()
    if file.is_dir():
        if not (file / "tokenizer.json").is_file():
            raise UserError(
                str(file), "has no tokenizer.json", "save one there: AutoTokenizer.from_pretrained(...).save_pretrained(folder)"
            )
        file = file / "tokenizer.json"
    core = parsed(file)
    return Tokens(core, roles_read(core, file.parent), files_beside(file.parent))


def parsed(file: Path) -> Tokenizer:
    """A tokenizer.json as the library's object. UserError for whatever is none."""
    if not file.is_file():
        raise UserError(str(file), "no such tokenizer file", "give a tokenizer.json or a folder with one")
    try:
        return Tokenizer.from_str(file.read_text(encoding="utf8"))
    except UnicodeDecodeError as e:
        raise UserError(str(file), f"is no tokenizer.json: {e}") from None
    except Exception as e:
        if type(e) is not Exception:  # the library raises bare Exception for a file that it cannot read
            raise
        raise UserError(str(file), f"is no tokenizer.json that the tokenizers library reads: {e}") from None


def _unpickled(held: str, roles: dict[str, str], files: dict[str, str]) -> Tokens:
    return Tokens(Tokenizer.from_str(held), roles, files)


def same_tokens(files: dict[str, str], others: dict[str, str]) -> bool:
    """Whether two tokenizers, by what each writes, mean the same by every id. Labels and a chat template say nothing about tokens."""
    a, b = ({n: text for n, text in f.items() if n not in (LABELS_FILE, TEMPLATE_FILE)} for f in (files, others))
    return a == b


def files_beside(folder: Path) -> dict[str, str]:
    """Those of ``KEPT`` that are there."""
    return {name: (folder / name).read_text(encoding="utf8") for name in KEPT if (folder / name).is_file()}


def prefix_of(core: Tokenizer) -> list[int]:
    """The special tokens that the file puts before a text."""
    if core.post_processor is None:
        return []
    made = core.encode("a", add_special_tokens=True)
    marks = [*made.special_tokens_mask, 0]
    return made.ids[: marks.index(0)]


def roles_read(core: Tokenizer, folder: Path) -> dict[str, str]:
    """The roles that the files in ``folder`` state, and those that usual names tell."""
    return {**roles_by_name(core), **_roles_beside(core, folder)}


def roles_by_name(core: Tokenizer) -> dict[str, str]:
    """The roles whose usual names are in the vocabulary."""
    found = {role: next((n for n in usual if core.token_to_id(n) is not None), None) for role, usual in USUAL_NAMES.items()}
    return {role: token for role, token in found.items() if token is not None}


def _roles_beside(core: Tokenizer, folder: Path) -> dict[str, str]:
    """The roles that ``tokenizer_config.json`` and ``special_tokens_map.json`` state; a document ends with what ends a text."""
    found: dict[str, str] = {}
    for name in ("tokenizer_config.json", MAP_FILE):
        if not (folder / name).is_file():
            continue
        try:
            held: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf8"))
        except ValueError as e:
            raise UserError(str(folder / name), f"is no JSON: {e}") from None
        for role in ROLES:
            token = held.get(f"{role}_token")
            token = token.get("content") if isinstance(token, dict) else token
            if isinstance(token, str) and core.token_to_id(token) is not None:
                found[role] = token
    if "eos" in found and "endoftext" not in found:
        found["endoftext"] = found["eos"]
    return found
