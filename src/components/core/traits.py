"""What a model or a loss says of itself, asked in one place: what it reads, what it lacks, what its mean is a mean of."""

from __future__ import annotations

from typing import Any

from torch import nn


def extra_tokens(loss: Any) -> int:
    return int(getattr(loss, "extra_tokens", 0))


def lacking(model: nn.Module, word: str) -> bool:
    """Does any part of the model declare that it lacks ``word``?"""
    return any(word in getattr(m, "lacks", ()) for m in model.modules())


def counts_tokens(loss: Any) -> bool:
    """Whether the loss is a mean over tokens, so that its exponential is a perplexity."""
    return not {"classes", "amounts"} & set(getattr(loss, "provides", ()))


def measures_text(loss: Any, model: nn.Module) -> bool:
    """Whether the loss is the negative log likelihood of the text, so that bits per byte follow from it."""
    return bool(getattr(loss, "likelihood", not hasattr(loss, "prepare"))) and not lacking(model, "causal")


def reads_source(model: nn.Module) -> bool:
    """Whether the model is an encoder-decoder."""
    return "source" in getattr(model, "provides", ())


def why_cannot_generate(model: nn.Module, *, source: bool = False) -> str:
    """Why the model cannot continue a text, or an empty string where it can; ``source``: it is given what it reads before."""
    if reads_source(model) and not source:
        return "the model writes only after it has read a source"
    beside = set(model.encoder.modules()) if reads_source(model) else ()  # type: ignore[operator]  # a module's attributes have no type
    parts = [part for part in model.modules() if part not in beside]
    for part in parts:
        if {"amounts", "classes", "vectors"} & set(getattr(part, "provides", ())):
            return f"{type(part).__name__} gives no tokens"
    for word, what in (("causal", "sees later tokens"), ("cacheable", "keeps no cache")):
        for part in parts:
            if word in getattr(part, "lacks", ()):
                return f"{type(part).__name__} {what}"
    return ""
