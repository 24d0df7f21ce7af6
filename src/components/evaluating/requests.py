"""The three questions of EleutherAI's lm-eval, answered as its model for transformers answers them. Knows nothing of lm-eval itself.

Texts become ids as transformers makes them of the exported folder: special tokens in a text are read, and what the tokenizer puts before every
text comes before a context.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from components.core.bar import Bar
from components.core.config_types import Config
from components.core.errors import UserError
from components.core.traits import why_cannot_generate
from components.corpus.special_ids import first_ids, stop_ids
from components.evaluating.continuations import KEPT, Ids, Likelihood, batches, likelihoods
from components.generation.generating import continue_ids
from components.runs.exporting import special_ids
from components.runs.task_module import LoadedModel

WHERE = "harness"
NEW_TOKENS = 256  # of a text, where the task does not say
LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")  # the first of them is taken


class Answers:
    """A loaded model as lm-eval asks it.

    Raises:
        UserError: the model continues no text, or its tokenizer has no token that begins one.
    """

    def __init__(self, loaded: LoadedModel, bar: Bar | None = None) -> None:
        if reason := why_cannot_generate(loaded.model):
            raise UserError(WHERE, f"the model continues no text: {reason}", "take a causal decoder with a head for tokens")
        self.model, self.tokenizer, self.config, self.bar = loaded.model, loaded.tokenizer, loaded.config, bar
        self.limit: int = loaded.model.context_length
        special = special_ids(self.tokenizer)
        begins = special.get("bos", special.get("eos", self.tokenizer.specials.get("endoftext")))
        if begins is None:
            raise UserError(WHERE, "the tokenizer has no token that begins or ends a text", "take a model with another one")
        self.begins: int = begins
        self.ends = {*stop_ids(self.tokenizer), special.get("eos", begins)}

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Likelihood]:
        """How likely each continuation is after its context: (context, continuation)."""
        return self._likelihoods([self.pair(*pair) for pair in pairs])

    def loglikelihood_rolling(self, texts: Sequence[str]) -> list[float]:
        """How likely each text is, in nats: each of its tokens once, a long text in windows of the model's context."""
        cut = [list(windows(self.ids(text), self.begins, self.limit)) for text in texts]
        found = iter(self._likelihoods([pair for own in cut for pair in own]))
        return [sum(next(found).log_probability for _ in own) for own in cut]

    def generate_until(self, asked: Sequence[tuple[str, Mapping[str, object]]]) -> list[str]:
        """What the model writes after each context, as the settings beside it say: (context, settings)."""
        made, seen = [""] * len(asked), self._counting("texts", len(asked))
        groups: dict[str, list[int]] = {}
        for number, (_, settings) in enumerate(asked):
            groups.setdefault(json.dumps(settings, sort_keys=True, default=str), []).append(number)
        for numbers in groups.values():
            contexts = [asked[number][0] for number in numbers]
            for at, text in self._written(contexts, Writing.of(asked[numbers[0]][1])):
                made[numbers[at]] = text
                seen(1)
        return made

    def ids(self, text: str) -> Ids:
        """A text's ids after those that come before every text, unless the text says its first token itself."""
        ids = self.tokenizer.encode_marked(text)
        self.tokenizer.need_rows(ids, f"{WHERE}: {text!r:.60}")
        return ids if ids[:1] == [self.begins] else [*first_ids(self.tokenizer), *ids]

    def pair(self, context: str, continuation: str) -> tuple[Ids, Ids]:
        """The ids of both. They are cut where the context's own ids end; spaces at its end belong to the continuation."""
        if not context:
            after = self.tokenizer.encode_marked(continuation)
            before, after = (after[:1], after[1:]) if after[:1] == [self.begins] else ([self.begins], after)
        else:
            before = self.ids(context.rstrip())
            after = self.ids(context + continuation)[len(before) :]
            before = before or [self.begins]
        if not after or len(after) > self.limit:
            what = f"{len(after)} tokens of the continuation {continuation!r:.60}"
            raise UserError(WHERE, f"there are {what}, and the model's context has {self.limit}", "leave the task out")
        return before, after

    def _likelihoods(self, pairs: Sequence[tuple[Ids, Ids]]) -> list[Likelihood]:
        return likelihoods(self.model, self.tokenizer, pairs, self.limit, self._counting("likelihoods", len(pairs)))

    def _counting(self, what: str, total: int) -> Callable[[int], None]:
        """What is called with how many more are done, and shows all of them."""
        done = 0

        def seen(more: int) -> None:
            nonlocal done
            done += more
            if self.bar is not None:
                self.bar.task(what, done, total)

        return seen

    def _written(self, contexts: Sequence[str], writing: Writing) -> Iterator[tuple[int, str]]:
        """(number of a context, what is written after it). A context that is there again is another draw."""
        new = writing.new_tokens
        if (room := self.limit - new) < 1:
            raise UserError(
                WHERE,
                f"a task asks for {new} new tokens, and the model's context has {self.limit}",
                "give the task fewer: harness=[{task: NAME, generation_kwargs: {max_gen_toks: 32}}]",
            )
        times: Counter[str] = Counter()
        rows: list[Row] = []
        for number, text in enumerate(contexts):
            rows.append(Row(number, self.ids(text)[-room:] or [self.begins], times[text]))
            times[text] += 1
        for some in batches(rows, lambda row: len(row.ids) + new, lambda _: 1, KEPT):
            made = continue_ids(
                self.model,
                self.tokenizer,
                {**self.config, "decoding": writing.decoding},
                [row.ids for row in some],
                seeds=[(0, row.draw) for row in some],
                ends=sorted(self.ends),
                max_new_tokens=new,
                stop=writing.until,
            )
            for row, ids in zip(some, made):
                text = self.tokenizer.core.decode(ids, skip_special_tokens=True)
                for stop in writing.until:
                    text = text.partition(stop)[0]
                yield row.number, text


class Row(NamedTuple):
    """A context's ids, its number, and how many equal ones came before it."""

    number: int
    ids: Ids
    draw: int


@dataclass(frozen=True)
class Writing:
    """How a task has its texts written.

    Args:
        until: strings before which a text ends.
        new_tokens: at most.
        decoding: the node of the part that chooses tokens.
    """

    until: tuple[str, ...]
    new_tokens: int
    decoding: Config

    @classmethod
    def of(cls, settings: Mapping[str, object]) -> Writing:
        """From a task's ``generation_kwargs``. UserError for a setting that decoding has no sampler for."""
        rest = dict(settings)
        until = rest.pop("until", None) or []
        lengths = [n for n in (rest.pop(name, None) for name in LENGTHS) if n is not None]
        draws = rest.pop("do_sample", None)
        heat = _number(rest.pop("temperature", None), 1.0 if draws else 0.0)
        samplers: list[Config] = [{"name": "temperature", "value": heat}]
        for name, option in (("top_k", "k"), ("top_p", "p")):
            if (value := rest.pop(name, None)) is not None:
                samplers.append({"name": name, option: value})
        if rest.pop("num_beams", 1) != 1 or rest:
            other = ", ".join(rest) or "num_beams"
            raise UserError(
                WHERE,
                f"a task has texts written with {other}",
                f"known: until, do_sample, temperature, top_k, top_p, {LENGTHS[0]}",
            )
        return cls(
            tuple(str(s) for s in (until if isinstance(until, list) else [until]) if s),
            int(_number(lengths[0] if lengths else None, NEW_TOKENS)),
            {"name": "greedy"} if draws is False or not heat else {"name": "sample", "samplers": samplers},
        )


def _number(value: object, default: float) -> float:
    """A number, which YAML may have as a text (``1e-1``)."""
    return default if value is None else float(str(value))


def windows(ids: Ids, begins: int, limit: int) -> Iterator[tuple[Ids, Ids]]:
    """Windows of at most ``limit`` ids in which each id is predicted once: (context, continuation). Each reads what the model's context holds."""
    first = min(limit, len(ids))
    if ids:
        yield [begins], ids[:first]
    for start in range(first, len(ids), limit):
        end = min(start + limit, len(ids))
        yield ids[max(0, end - limit - 1) : start], ids[start:end]
