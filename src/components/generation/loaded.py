"""What ``components.load`` returns: a trained model that writes, scores and answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict, overload

from components.core.config_types import Config

if TYPE_CHECKING:
    from typing import Unpack

    from components.core.contracts import Model
    from components.corpus.tokens import Tokens
    from components.generation.adapters import Adapters
    from components.generation.conversation import Message, Tool
    from components.generation.scoring import Score

Texts = list[str] | tuple[str, ...]


class Writing(TypedDict, total=False):
    """How texts are written; ``Loaded.generate`` says what each means."""

    max_new_tokens: int | None
    seed: int
    on_text: Callable[[str], None] | None
    stop: str | Texts
    prefill_chunk: int | None
    target: str | Texts


@dataclass(frozen=True, repr=False)
class Loaded:
    """A trained model: ``model(ids (B, T)) -> logits (B, T, V)``, in eval mode, with its tokenizer and its spelled-out config. Safe from several
    threads, but for ``use``."""

    model: Model
    tokenizer: Tokens
    config: Config
    folder: Path | None = None

    @cached_property
    def adapters(self) -> Adapters:
        """The adapters of this model by name: ``adapters.add("support", folder)`` reads one more."""
        from components.generation.adapters import Adapters

        return Adapters(self.model, self.tokenizer, self.config)

    def use(self, name: str | None) -> None:
        """Put the adapter of this name in place of the one in use; None: the model without any. Not while another thread uses the model.

        Raises:
            UserError: there is none of this name.
        """
        self.adapters.use(name)

    @overload
    def generate(self, text: str = "", *, count: Literal[1] = 1, **how: Unpack[Writing]) -> str: ...
    @overload
    def generate(self, text: str = "", *, count: int, **how: Unpack[Writing]) -> list[str]: ...
    @overload
    def generate(self, text: Texts, *, count: Literal[1] = 1, **how: Unpack[Writing]) -> list[str]: ...
    @overload
    def generate(self, text: Texts, *, count: int, **how: Unpack[Writing]) -> list[list[str]]: ...
    def generate(
        self,
        text: str | Texts = "",
        *,
        max_new_tokens: int | None = None,
        seed: int = 0,
        count: int = 1,
        on_text: Callable[[str], None] | None = None,
        stop: str | Texts = (),
        prefill_chunk: int | None = None,
        target: str | Texts = "",
    ) -> str | list[str] | list[list[str]]:
        """The continuation of ``text``, ``text`` included; with ``count`` over 1 a list of them.

        Of an encoder-decoder: what it writes after it has read ``text``, its source.

        Args:
            text: a prompt, or a list of prompts: then what is returned is a list with an entry for each.
            max_new_tokens: at most; None: what came with an imported model, else 120.
            seed: of what is drawn; a prompt's texts do not depend on what else is asked for.
            count: texts of each prompt.
            on_text: called with each piece of text as it comes; for one text.
            stop: a string, or several, before which a text ends.
            prefill_chunk: prompts are read in pieces of so many tokens.
            target: what an encoder-decoder's text begins with, for all prompts, or a list with one for each; it is included.
        """
        from components.generation.generating import generate

        made = generate(
            self.model,
            self.tokenizer,
            self.config,
            text,
            count=count,
            max_new_tokens=max_new_tokens,
            seed=seed,
            on_text=on_text,
            stop=[stop] if isinstance(stop, str) else list(stop),
            prefill_chunk=prefill_chunk,
            target=target,
        )
        if count == 1:
            return made[0] if isinstance(text, str) else made
        each = [made[i : i + count] for i in range(0, len(made), count)]
        return each[0] if isinstance(text, str) else each

    @property
    def reads_source(self) -> bool:
        """Whether the model is an encoder-decoder, whose prompts are sources."""
        from components.core.traits import reads_source

        return reads_source(self.model)

    @overload
    def score(self, texts: str, sources: str | None = None) -> Score: ...
    @overload
    def score(self, texts: Texts, sources: Texts | None = None) -> list[Score]: ...
    def score(self, texts: str | Texts, sources: str | Texts | None = None) -> Score | list[Score]:
        """How likely the model finds each text: ``log_probability`` and ``tokens``, a list of (text, log-probability). For one text, one.

        Args:
            texts: one, or a list.
            sources: of an encoder-decoder: what it reads before each, likewise one or a list.
        """
        from components.generation.scoring import score

        if isinstance(texts, str):
            source = None if sources is None else [sources] if isinstance(sources, str) else list(sources)
            return score(self.model, self.tokenizer, [texts], source)[0]
        return score(self.model, self.tokenizer, texts, sources)

    def chat(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Tool] | None = None,
        template: str | Path | None = None,
        max_new_tokens: int | None = None,
        seed: int = 0,
        on_text: Callable[[str], None] | None = None,
        prefill_chunk: int | None = None,
    ) -> str:
        """The model's answer to a conversation of ``{"role": ..., "content": ...}``.

        Args:
            messages: roles are system, user and assistant, and those that the template knows besides: tool, developer. An assistant's message may have
                ``tool_calls`` and ``reasoning_content``, in the form of OpenAI's interface.
            tools: that the model may call, each ``{"type": "function", "function": {"name": ..., "parameters": a JSON schema}}``.
            template: a file with a Jinja template; without one the tokenizer's own.
            max_new_tokens: at most; None: what came with an imported model, else 512.
            seed, on_text, prefill_chunk: as in ``generate``.
        """
        from components.generation.chat import answer, template_of

        return answer(
            self.model,
            self.tokenizer,
            self.config,
            messages,
            template_of(self.tokenizer, template),
            max_new_tokens=max_new_tokens,
            seed=seed,
            on_text=on_text,
            prefill_chunk=prefill_chunk,
            tools=tools,
        )

    def __repr__(self) -> str:
        return f"<Loaded {self._name()}: .generate(text), .score(text), .chat(messages), .model, .tokenizer, .config>"

    def _repr_html_(self) -> str:
        from components.core import html, model_tree

        title = (
            f"{self._name()}, {model_tree.short(model_tree.count(self.model))} parameters, {self.tokenizer.vocab_size:,} tokens"
        )
        return html.table(model_tree.table(model_tree.tree(self.model)), ("", "part", "parameters"), title=title)

    def _name(self) -> str:
        recipe = self.config.get("recipe") or "model"
        return f"{recipe}/{self.folder.name}" if self.folder is not None else str(recipe)
