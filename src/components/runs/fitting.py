"""Whether the weights of two runs mean the same, number by number: equal parts, tokens, labels, names and shapes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from components.core.errors import UserError
from components.corpus.tokens import Tokens, same_tokens
from components.interop.compare import differences
from components.runs.checkpoints import tokenizer_files
from components.runs.foreign import Foreign

OTHERS = "name runs that began with one model"


def need_same_model(name: str, run: Foreign, first: str, other: Foreign) -> None:
    """UserError with the first difference, if the weights of the run ``name`` do not mean what those of ``first`` mean."""
    if found := differences(run.config["model"], other.config["model"]):
        raise UserError(name, f"is not the model of {first}: {found[0]}", OTHERS)
    if found := _of_tokens(run.tokenizer, other.tokenizer, first) or _of_weights(run.weights, other.weights, first):
        raise UserError(name, f"does not fit {first}: {found}", OTHERS)


def _of_tokens(own: Tokens, others: Tokens, first: str) -> str:
    """The first difference of two tokenizers, or nothing."""
    if own.labels != others.labels:
        return f"its labels are {_short(own.labels)}, and there {_short(others.labels)}"
    if same_tokens(tokenizer_files(own), tokenizer_files(others)):
        return ""
    if own.vocab_size != others.vocab_size:
        return f"its tokenizer has {own.vocab_size:,} ids, and that of {first} {others.vocab_size:,}"
    for i in range(own.vocab_size):
        if (here := own.core.id_to_token(i)) != (there := others.core.id_to_token(i)):
            return f"id {i} is {here!r}, and {there!r} in {first}"
    return "its tokenizer is another one, with the same tokens"


def _of_weights(own: Mapping[str, Tensor], others: Mapping[str, Tensor], first: str) -> str:
    """The first difference of two models in their names, shapes and whole numbers, or nothing."""
    for name in dict.fromkeys((*others, *own)):
        if name not in own or name not in others:
            return f"{name} is in {first if name in others else 'it'} alone"
        a, b = own[name], others[name]
        if a.shape != b.shape:
            return f"{name} is {tuple(a.shape)}, and {tuple(b.shape)} in {first}"
        if a.is_floating_point() != b.is_floating_point():
            return f"{name} is {a.dtype}, and {b.dtype} in {first}"
        if not a.is_floating_point() and not torch.equal(a, b):
            return f"{name} holds other whole numbers than in {first}, and they have no mean"
    return ""


def _short(labels: tuple[str, ...]) -> str:
    return ", ".join(labels[:5]) + (", ..." if len(labels) > 5 else "") if labels else "none"
