"""Reads tokenizers made elsewhere: tokenizer.json, tiktoken's rank files, and SentencePiece and older files through transformers.

The result has the special tokens that ``tokenizer_config.json`` names, and puts them before and after a text as that file says.
The file is longer than most: it has one function for each layout of files.
"""

from __future__ import annotations

import base64
import binascii
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

from components.core import files
from components.core.errors import UserError
from components.core.extras import install, lacking
from components.corpus.token_files import (
    CONFIG_FILE,
    MAP_FILE,
    MOST_IDS,
    files_beside,
    guarded,
    parsed,
    roles_by_name,
    roles_read,
    stated,
)
from components.corpus.tokens import Tokens, read_tokenizer

# what a rank file is read with: it says nothing about how text is divided before
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# read by transformers' own conversions
OLDER = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.txt", "vocab.json", "source.spm")
MOST_FREE = 2**16  # numbers of added tokens that nothing has; Llama 3 has 256
NAMED = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


def read_pretrained(path: Path) -> Tokens:
    """The tokenizer in a file or a folder.

    Raises:
        UserError: there is no tokenizer, or its format is not supported.
    """
    whole = path.parent if (path.is_file() and path.name in OLDER) or path.suffix == ".tiktoken" else path
    found = read_any(whole) if whole.is_dir() else None
    return read_tokenizer(path) if found is None else found


def read_any(folder: Path) -> Tokens | None:
    """The tokenizer of a folder in Hugging Face's layout; None if the folder has none.

    Raises:
        UserError: a file has an unsupported format, or needs transformers, which is not installed.
    """
    ranks = _rank_file(folder)
    if (folder / "tokenizer.json").is_file():
        core = parsed(folder / "tokenizer.json")
    elif ranks is not None:
        core = from_ranks(ranks, digits=1 if ranks.name.startswith("qwen") else 3)
    elif any((folder / name).is_file() for name in OLDER):
        with tempfile.TemporaryDirectory() as newer:
            _by_transformers(folder, newer)
            if not (Path(newer) / "tokenizer.json").is_file():  # Marian's: two SentencePiece models and one vocabulary
                there = ", ".join(name for name in OLDER if (folder / name).is_file())
                raise UserError(
                    str(folder),
                    f"its tokenizer ({there}) has no form as a tokenizer.json, not with transformers either",
                    "take these files away to import the model without: its ids are numbers then",
                )
            return read_any(Path(newer))
    else:
        return None
    said = {**stated(folder / MAP_FILE), **stated(folder / CONFIG_FILE)}
    with guarded(folder / CONFIG_FILE):
        _add_tokens(core, said, str(folder / CONFIG_FILE))
        _begin_and_end(core, said)
    with guarded(folder):
        return Tokens(core, roles_read(core, folder), files_beside(folder))


def _rank_file(folder: Path) -> Path | None:
    """A ``*.tiktoken`` file, or a ``tokenizer.model`` that is text: ``<base64> <rank>`` in each line."""
    for file in [*sorted(folder.glob("*.tiktoken")), folder / "tiktoken.model", folder / "tokenizer.model"]:
        if file.is_file():
            with file.open("rb") as f:
                token, _, rank = f.readline().strip().partition(b" ")
            try:
                if rank.isdigit() and base64.b64decode(token, validate=True):
                    return file
            except binascii.Error:
                continue
    return None


def from_ranks(file: Path, digits: int = 3) -> Tokenizer:
    """The byte-level BPE of a rank file: pairs are merged in the order of their result's rank.

    Args:
        file: ``<base64> <rank>`` in each line.
        digits: how many digits of a number stay together.
    """
    try:
        lines = [line.split() for line in files.read_bytes(file).splitlines() if line.strip()]
        ranks = {base64.b64decode(token, validate=True): int(rank) for token, rank in lines}
        if max(ranks.values(), default=-1) >= MOST_IDS or min(ranks.values(), default=0) < 0:
            raise ValueError(f"a rank is not between 0 and {MOST_IDS:,}")
    except ValueError as e:
        raise UserError(str(file), f"is no rank file of tiktoken ({e})", "each line is <base64> <rank>") from None
    shown = printable_bytes()
    text = {token: "".join(shown[b] for b in token) for token in ranks}
    merges: list[tuple[str, str]] = []
    for token in sorted(ranks, key=ranks.__getitem__):
        cuts = ((token[:i], token[i:]) for i in range(1, len(token)))
        whole = sorted((c for c in cuts if c[0] in ranks and c[1] in ranks), key=lambda c: (ranks[c[0]], ranks[c[1]]))
        merges += [(text[a], text[b]) for a, b in whole]
    core = Tokenizer(models.BPE({text[t]: rank for t, rank in ranks.items()}, merges, ignore_merges=True))
    words = Regex(WORDS.replace("{1,3}", f"{{1,{digits}}}"))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    return core


def printable_bytes() -> dict[int, str]:
    """The printable character for each byte in a byte-level vocabulary (GPT-2's)."""
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in own]
    return {**{b: chr(b) for b in own}, **{b: chr(256 + i) for i, b in enumerate(rest)}}


def _by_transformers(folder: Path, to: str) -> None:
    """Convert older files: write ``to/tokenizer.json`` and the files that belong to it."""
    there = ", ".join(name for name in OLDER if (folder / name).is_file())
    try:
        from transformers import AutoTokenizer
    except ImportError:
        raise lacking(str(folder), f"has {there} and no tokenizer.json, which transformers converts", "transformers") from None
    try:
        AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False).save_pretrained(to)
    except Exception as e:  # whatever its many converters raise
        raise UserError(
            str(folder),
            f"transformers does not read its tokenizer ({there}): {str(e).strip().splitlines()[0]}",
            f"{install('transformers')}, or save a tokenizer.json there",
        ) from e


def _add_tokens(core: Tokenizer, said: dict[str, Any], where: str) -> None:
    """Give an id to named special tokens that lack one, as transformers does: those with a number first."""
    numbered = _numbered(said.get("added_tokens_decoder") or {}, where)
    size = core.get_vocab_size(with_added_tokens=True)
    if max(numbered, default=-1) >= size + MOST_FREE:
        raise UserError(where, f"numbers a token {max(numbered)}, and there are {size} others", "mend its added_tokens_decoder")
    for i in range(size, max(numbered, default=-1) + 1):
        numbered.setdefault(i, {"content": f"<|reserved_token_{i}|>", "special": True})  # rank files leave such numbers free
    lists = [said.get(n) or () for n in ("additional_special_tokens", "extra_special_tokens")]
    for name, tokens in zip(("additional_special_tokens", "extra_special_tokens"), lists):
        if not isinstance(tokens, (list, tuple, dict)):
            raise UserError(where, f"{name} is no list of tokens but {type(tokens).__name__}", "mend it")
    extra = [t for tokens in lists for t in (tokens.values() if isinstance(tokens, dict) else tokens)]
    named = [said.get(f"{role}_token") for role in NAMED]
    for token in [*(numbered[i] for i in sorted(numbered)), *named, *extra]:
        made = token_of(token)
        if made is not None and core.token_to_id(made.content) is None:
            core.add_special_tokens([made]) if made.special else core.add_tokens([made])
        elif made is not None and made.special and made.content not in _special(core):
            core.add_special_tokens([made])  # an ordinary piece of the vocabulary becomes one that text cannot spell


def _numbered(found: Any, where: str) -> dict[int, Any]:
    """{"32000": token, ...} by number."""
    if not (isinstance(found, dict) and all(str(i).isdecimal() and len(str(i)) < 10 for i in found)):
        raise UserError(where, "added_tokens_decoder holds no tokens by their numbers", 'it is {"32000": {...}, ...}')
    return {int(i): token for i, token in found.items()}


def _special(core: Tokenizer) -> Iterable[str]:
    return {t.content for t in core.get_added_tokens_decoder().values() if t.special}


def token_of(token: object) -> AddedToken | None:
    """A token as these files write it: its text, or an object with its text and properties."""
    if isinstance(token, str):
        return AddedToken(token, special=True, normalized=False)
    if not isinstance(token, dict) or not isinstance(token.get("content"), str):
        return None
    flags = {n: bool(token[n]) for n in ("single_word", "lstrip", "rstrip", "normalized", "special") if n in token}
    return AddedToken(token["content"], **{"special": True, "normalized": False, **flags})


def _begin_and_end(core: Tokenizer, said: Mapping[str, object]) -> None:
    """Apply ``add_bos_token`` and ``add_eos_token``. If given, they override what the file itself does."""
    if not {"add_bos_token", "add_eos_token"} & {n for n, v in said.items() if v is not None}:
        return
    found = {role: token_of(said.get(f"{role}_token") or roles_by_name(core).get(role)) for role in ("bos", "eos")}
    used = {role: t.content for role, t in found.items() if t is not None and said.get(f"add_{role}_token")}
    parts = [*([used["bos"]] if "bos" in used else []), "$A", *([used["eos"]] if "eos" in used else [])]
    tokens = [(t, core.token_to_id(t)) for t in dict.fromkeys(used.values())]
    core.post_processor = processors.TemplateProcessing(single=" ".join(parts), pair=None, special_tokens=tokens)


def numbers(vocab_size: int) -> Tokenizer:
    """A tokenizer for a model that came without one: each id is written as its number."""
    core = Tokenizer(models.WordLevel({str(i): i for i in range(vocab_size)}, unk_token="0"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return core
