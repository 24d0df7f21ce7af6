"""Text from a model: encode prompts, let the ``decoding`` part choose, decode. For samples while training and for ``components generate``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from components.errors import UserError
from components.makers import make
from components.sockets import Batch
from components.task.objectives import silent_reason


@torch.inference_mode()
def generate(
    model: Any,
    tokenizer: Any,
    config: dict[str, Any],
    prompt: str = "",
    *,
    count: int = 1,
    max_new_tokens: int = 120,
    seed: int = 0,
    on_text: Callable[[str], None] | None = None,
) -> list[str]:
    """``count`` continuations of ``prompt``, the prompt included; they end at the token that ends a document, or at the tokenizer's ``ends``.

    Args:
        model: called as the contracts say; put into eval mode for the time.
        tokenizer: its ``begins`` come before the prompt; where it has none said, ``specials["endoftext"]`` begins every document.
        config: its nodes ``decoding`` and ``cache`` are used.
        prompt: may be empty: then a document begins.
        count: texts, all drawn from one generator.
        max_new_tokens: at most.
        seed: of that generator; the global one is not touched.
        on_text: called with each new piece of text as it comes; only with ``count=1``.

    Raises:
        UserError: the model does not continue a text.
    """
    if reason := silent_reason(model):
        raise UserError("generate", f"the model continues no text: {reason}", "take a causal decoder with a head for tokens")
    begins, ends = first_ids(tokenizer), stop_ids(tokenizer)
    given = tokenizer.encode(prompt)
    start = begins if begins or given else [tokenizer.specials.get("bos", tokenizer.specials.get("endoftext", 0))]
    device = next(model.parameters()).device
    ids = torch.tensor([[*start, *given]], device=device).repeat(count, 1)
    decoding, cache = make(config["decoding"], "decoding"), make(config["cache"], "cache")
    generator = torch.Generator(device).manual_seed(seed)
    speaker = model if getattr(model, "vocab_size", None) == tokenizer.vocab_size else Within(model, tokenizer.vocab_size)
    was_training = model.training
    model.eval()
    try:
        stream = None if on_text is None else _Stream(tokenizer, ends, on_text, given)
        out = decoding.generate(
            speaker,
            Batch(ids),
            cache=cache,
            max_new_tokens=max_new_tokens,
            stop_ids=ends,
            generator=generator,
            on_token=stream,
        )
    finally:
        model.train(was_training)
    return [_text(tokenizer, row, len(start), ids.shape[1], ends) for row in out.tolist()]


def first_ids(tokenizer: Any) -> list[int]:
    """Before every prompt: what the tokenizer's file says, else what begins every document."""
    begins = getattr(tokenizer, "begins", None)
    return [tokenizer.specials["endoftext"]] if begins is None else list(begins)


def stop_ids(tokenizer: Any) -> tuple[int, ...]:
    """Where a text is over: what came with the model, else what ends every document."""
    ends = getattr(tokenizer, "ends", None)
    own = tokenizer.specials.get("endoftext")
    return tuple(ends) if ends is not None else () if own is None else (own,)


class Within(nn.Module):
    """A model whose logits are those of the tokenizer's ids alone: masks and sentinels that its objective has beyond them are never drawn."""

    def __init__(self, model: Any, size: int) -> None:
        super().__init__()
        self.model, self.size, self.context_length = model, size, model.context_length

    def forward(self, batch: Batch, **options: Any) -> Tensor:
        return self.model(batch, **options)[..., : self.size]


def _text(tokenizer: Any, row: list[int], start: int, prompt: int, ends: tuple[int, ...]) -> str:
    new = row[prompt:]
    over = next((i for i, token in enumerate(new) if token in ends), len(new))
    return tokenizer.decode(row[start:prompt] + new[:over])


class _Stream:
    """Turns tokens into pieces of text that are whole characters: a byte-level token may be a part of one."""

    def __init__(self, tokenizer: Any, ends: tuple[int, ...], give: Callable[[str], None], prompt: list[int]) -> None:
        self.tokenizer, self.ends, self.give = tokenizer, ends, give
        self.ids = list(prompt)  # the text of a token may depend on what stands before it
        self.shown = len(tokenizer.decode(prompt)) if prompt else 0

    def __call__(self, token: Tensor) -> None:
        new = int(token.reshape(-1)[0])
        if new in self.ends:
            return
        self.ids.append(new)
        text = self.tokenizer.decode(self.ids)
        if not text.endswith("�") and len(text) > self.shown:
            self.give(text[self.shown :])
            self.shown = len(text)
