"""Subjects that are explained in milliseconds: the battery's small models, with a tokenizer of as many characters as they have ids."""

from __future__ import annotations

from typing import Any

from components.check.host import VOCAB, Host, scramble
from components.check.subject import subject_of
from components.explain.subject import Made, Subject
from components.makers import make, telling

LETTERS = "abcdefghijklmnopqrstuvwxyz .,:;!?()"  # 35, and five special tokens
DECODING = {"name": "sample", "samplers": [{"name": "temperature", "value": 0.7}, {"name": "top_k", "k": 5}]}


def tokenizer() -> Any:
    made = make("char", "tokenizer")
    made.train([LETTERS])
    assert made.vocab_size == VOCAB
    return made


def config_of(**nodes: Any) -> dict[str, Any]:
    return {"loss": {"name": "next_token"}, "decoding": DECODING, "cache": {"name": "growing"}, **nodes}


def subject_for(label: str, options: Any = (), **nodes: Any) -> Subject:
    """The battery's model around a part, with the options of every part in it."""
    host = Host.of(subject_of(label, options))
    made: dict[int, Made] = {}

    def hear(part, label, signature, options):
        made[id(part)] = Made(label, signature, options)

    with telling(hear):
        model = host.build(length=40)
    return Subject(label, scramble(model, 0.3), tokenizer(), config_of(**nodes), made)


def subject_of_model(name: str = "decoder", nodes: dict[str, Any] | None = None, labels: Any = None, **options: Any) -> Subject:
    """Any model, by its options."""
    from components import build

    made: dict[int, Made] = {}

    def hear(part, label, signature, given):
        made[id(part)] = Made(label, signature, given)

    with telling(hear):
        model = build("model", name, vocab_size=VOCAB, **options).eval()
    tokens = tokenizer()
    if labels:
        tokens.files["labels.json"] = __import__("json").dumps(list(labels))
    return Subject(f"model/{name}", scramble(model, 0.3), tokens, config_of(**(nodes or {})), made)
