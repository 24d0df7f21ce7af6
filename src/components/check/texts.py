"""Properties of tokenizers: text comes back, no text makes a special token, the same texts make the same tokenizer."""

from __future__ import annotations

from typing import Any

from components.check.cases import Violation, holds
from components.check.host import Host
from components.check.off_path import made
from components.core.signature import REQUIRED

TEXTS = [f"def f{i}(x):\n    return x + {i}  # the quick brown fox, été\n" for i in range(60)]
STRANGE = [
    "",
    " ",
    "\n\n\t  \n",
    "\x00\x01 NUL",
    "👩‍🚀🇫🇷 emoji",
    "日本語とРусский",
    "e\u0301 é ﬁ",
    "\ufeffBOM\u2028",
    "x" * 300,
    "a<|endoftext|>b <|pad|>",
]


def learns(host: Host) -> bool:
    """Whether the tokenizer is trained. One that is read from a file is not checked: the battery has no such file."""
    return not any(o.default == REQUIRED for o in host.subject.signature.options.values())


def trained(host: Host) -> Any:
    tokenizer = made(host.subject)
    tokenizer.train(iter(TEXTS))
    return tokenizer


@holds("gives text back", "tokenizer", lack="round_trip", applies=learns)
def gives_text_back(host: Host) -> None:
    tokenizer = trained(host)
    for text in (*TEXTS[:3], *STRANGE):
        back = tokenizer.decode(tokenizer.encode(text))
        if back != text:
            raise Violation(f"{text[:40]!r} comes back as {back[:40]!r}")


@holds("knows every id that it gives", "tokenizer", applies=learns)
def knows_its_ids(host: Host) -> None:
    tokenizer = trained(host)
    for text in (*TEXTS[:3], *STRANGE):
        ids = tokenizer.encode(text)
        if wrong := [i for i in ids if not 0 <= i < tokenizer.vocab_size]:
            raise Violation(f"{text[:40]!r} has the id {wrong[0]}, and there are {tokenizer.vocab_size}")
        if ids != tokenizer.encode_batch([text])[0]:
            raise Violation(f"{text[:40]!r} has other ids in a batch than alone")


@holds("learns the same from the same texts", "tokenizer", applies=learns)
def learns_the_same(host: Host) -> None:
    one, other = trained(host), trained(host)
    for text in (*TEXTS[:3], *STRANGE):
        if one.encode(text) != other.encode(text):
            raise Violation(f"{text[:40]!r} has other ids after the same training")
