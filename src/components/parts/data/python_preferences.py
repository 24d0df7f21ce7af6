"""Preferences from the running Python's standard library: a docstring asks, its function is chosen, another one is rejected."""

from __future__ import annotations

from collections.abc import Iterator

from components.core.registry import register
from components.core.signature import Positive
from components.corpus.example import Example
from components.corpus.store import key_of
from components.parts.data.python_instructions import PythonInstructions


@register("data", "python_preferences")
class PythonPreferences:
    """Functions of the standard library as pairs of answers: no download; licence: PSF.

    The prompt is that of ``python_instructions``. The chosen answer is the function that it asks for, the rejected one the function that was found
    before it. The set depends on the Python version, which the report names.

    Args:
        min_chars: functions that are shorter, without their docstring, are left out.
        max_chars: functions that are longer are left out.
        max_prompt: longer prompts are left out.
    """

    provides = ("preferences",)

    def __init__(self, *, min_chars: Positive = 30, max_chars: Positive = 400, max_prompt: Positive = 300) -> None:
        self.source = PythonInstructions(min_chars=min_chars, max_chars=max_chars, max_prompt=max_prompt)
        self.notes = self.source.notes

    def fingerprint(self) -> str:
        return key_of("python_preferences", self.source.fingerprint())

    def examples(self) -> Iterator[Example]:
        before = None
        for e in self.source.examples():
            prompt, answer = e.input
            if before is not None:
                yield Example((prompt,), None, e.origin, e.line, answers=((answer,), (before,)))  # type: ignore[arg-type]  # of messages
            before = answer
