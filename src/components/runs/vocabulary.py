"""How many ids a model will know, before any text is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from components.core.config_types import Config
from components.core.contracts import NeedsModel
from components.core.errors import UserError
from components.core.makers import ScopedMaker, make
from components.core.traits import extra_tokens

PLACEHOLDER = 1024  # ids assumed where only training will tell


@dataclass(frozen=True)
class Vocabulary:
    """Number of ids. ``note`` says why it may be another after training; empty where it will not."""

    size: int
    note: str = ""


def vocabulary(config: Config) -> Vocabulary:
    """The ids of the tokenizer, as its options say or as it knows before it read any text, and those that the loss adds."""
    found = _tokens(config)
    more = _extra(config, found.size)
    added = f"{more} of them added by loss/{config['loss']['name']}" if more else ""
    return Vocabulary(found.size + more, "; ".join(filter(None, (found.note, added))))


def _extra(config: Mapping[str, object], size: int) -> int:
    """Ids that the loss adds. A loss that cannot be made with an assumed vocabulary names ids of the tokenizer, and adds none."""
    if "loss" not in config:
        return 0
    try:
        return extra_tokens(make(ScopedMaker(config["loss"], where="loss"), "loss", vocab_size=size))
    except UserError:
        return 0


def _tokens(config: Config) -> Vocabulary:
    node = config["tokenizer"]
    if isinstance(node.get("vocab_size"), int):
        return Vocabulary(node["vocab_size"], "at most, as training finds pieces")
    tokenizer = make(ScopedMaker(node, where="tokenizer"), "tokenizer")
    if isinstance(tokenizer, NeedsModel):
        if not (tokenizer.run or config.get("init_from")):
            return Vocabulary(PLACEHOLDER, "assumed; that of the run that init_from= names")
        from components.runs.preparing import tokenizer_of  # brings torch

        return Vocabulary(tokenizer_of(config).vocab_size)
    tokenizer.train(())
    if tokenizer.vocab_size > len(tokenizer.specials):
        return Vocabulary(tokenizer.vocab_size)
    return Vocabulary(PLACEHOLDER, f"assumed; tokenizer/{node['name']} knows only when it is trained")
