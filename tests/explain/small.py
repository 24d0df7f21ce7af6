"""Subjects that are explained in milliseconds: the battery's small models, with a tokenizer of as many characters as they have ids."""

from __future__ import annotations

import base64
from typing import Any

import torch

from components.check.host import VOCAB, Host, scramble
from components.check.subject import subject_of
from components.core.makers import make, on_part_built
from components.explain.pack import BITS
from components.explain.subject import Made, Subject

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

    def keep(part, label, signature, options):
        made[id(part)] = Made(label, signature, options)

    with on_part_built(keep):
        model = host.build(length=40)
    return Subject(label, scramble(model, 0.3), tokenizer(), config_of(**nodes), made)


def subject_of_model(name: str = "decoder", nodes: dict[str, Any] | None = None, labels: Any = None, **options: Any) -> Subject:
    """Any model, by its options."""
    from components import build

    made: dict[int, Made] = {}

    def keep(part, label, signature, given):
        made[id(part)] = Made(label, signature, given)

    with on_part_built(keep):
        model = build("model", name, vocab_size=VOCAB, **options).eval()
    tokens = tokenizer()
    if labels:
        tokens.files["labels.json"] = __import__("json").dumps(list(labels))
    return Subject(f"model/{name}", scramble(model, 0.3), tokens, config_of(**(nodes or {})), made)


def leaf_flower(divide_by: float = 1.0) -> Subject:
    """The network of the first picture, with its numbers."""
    nodes = {"loss": {"name": "classification"}, "data": {"name": "leaf_flower", "divide_by": divide_by}}
    head = {"name": "classification", "n_classes": 2}
    options = {"d_model": 4, "hidden": (3,), "context_length": 1, "embedding": "values", "head": head}
    subject = subject_of_model("mlp", nodes, ["leaf", "flower"], **options)
    with torch.no_grad():  # the numbers of the first picture
        hidden, out = subject.model.layers[0], subject.model.head.logits
        hidden.weight.copy_(torch.tensor([[0.10, -0.29, -0.07, 0.46], [0.05, 0.02, -0.05, 0.1], [-0.4, -0.3, -0.02, 0.01]]))
        hidden.bias.copy_(torch.tensor([0.25, 0.0, 0.0]))
        out.weight.copy_(torch.tensor([[0.1, 0.3, 0.2], [0.2, 0.1, 0.3]]))
        out.bias.zero_()
    return subject


def unpacked(array: dict[str, Any]) -> torch.Tensor:
    """What ``pack.packed`` made of a tensor."""
    data = bytearray(base64.b64decode(array["data"]))
    return torch.frombuffer(data, dtype=BITS[array["bits"]]).view(array["shape"])
