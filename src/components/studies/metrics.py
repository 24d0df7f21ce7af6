"""The figures that a study is told by: what a run writes of itself, ``val_loss``, and what an evaluation finds in it, ``cloze.accuracy``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.compose.composed import compose
from components.compose.grammar import split
from components.core import registry
from components.core.errors import UserError, nearest
from components.corpus.evaluation_api import LOWER, Better
from components.evaluating.evaluation import named
from components.runs.metrics_file import OF_LOSS, VAL_LOSS
from components.studies.design import sorted_words

KIND = "evaluation"
SMALLER = ("loss", "perplexity", "bits_per_byte", "error", "mae", "mse", "rmse", "steps", "faults")
_OF_KIND = re.compile(rf"[+~]*{KIND}[./=]")
_DOTTED = re.compile(r"\w+\.\w+")  # a run's own figure has no dot, or a slash before it


@dataclass(frozen=True)
class Metrics:
    """What a study is told by.

    Args:
        names: of the figures; the first decides.
        lower: whether less of the first is better.
        evaluations: the parts that are asked, by name.
        words: their options, as ``components evaluate`` takes them.
    """

    names: tuple[str, ...]
    lower: bool
    evaluations: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    @property
    def of_runs(self) -> tuple[str, ...]:
        """Those that a run writes itself: they have a curve, and one that is no number says that the run went wrong."""
        return tuple(n for n in self.names if evaluation_of(n) is None) or (VAL_LOSS,)

    @property
    def overrides(self) -> list[str]:
        """What ``components evaluate`` is told."""
        return [f"{KIND}=[{','.join(self.evaluations)}]", *self.words]

    def __str__(self) -> str:
        return f"decided by {self.names[0]}, {'lower' if self.lower else 'higher'} is better"


def metrics_of(names: Sequence[str], words: Sequence[str], cwd: Path) -> Metrics:
    """What a study is told by.

    Args:
        names: as ``metric=`` has them.
        words: all overrides of the study.
        cwd: what relative paths are relative to.

    Raises:
        UserError: an evaluation, a figure or an option that is not there, or a figure of which neither more nor less is better, to decide.
    """
    asked = tuple(dict.fromkeys(found for name in names if (found := evaluation_of(name)) is not None))
    runs, own = apart(words)
    for word in own:
        _, *path = split(word).path
        if not path:
            raise UserError(
                KIND, "is said by the figures of a study", f"metric=cloze.accuracy, and its options: {KIND}.cloze.count=50"
            )
        if path[0] not in asked:
            raise UserError(
                f"{KIND}.{path[0]}", "none of its figures is asked for", f"add metric={path[0]}.FIGURE, or leave it out"
            )
    if not asked:
        return Metrics(tuple(names), lower(names[0]))
    made = Metrics(tuple(names), False, asked, own)
    config = compose(None, (*sorted_words(runs, cwd).fixed, *made.overrides), cwd=cwd, command="evaluate").config
    figures = {name: part.gives for name, part in named(config[KIND]).items()}
    better = [_better(name, figures) for name in names]
    if better[0] is None and evaluation_of(names[0]) is not None:
        raise UserError("metric", f"neither more nor less of {names[0]} is better", "put it behind another figure")
    return Metrics(tuple(names), better[0] == LOWER if better[0] else lower(names[0]), asked, own)


def apart(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(overrides of runs, options of evaluations)."""
    own = [bool(_OF_KIND.match(w)) for w in words]
    return tuple(w for w, is_own in zip(words, own) if not is_own), tuple(w for w, is_own in zip(words, own) if is_own)


def evaluation_of(name: str) -> str | None:
    """The evaluation whose figure it is; None of a figure of the run itself.

    Raises:
        UserError: it is written like one, and there is no such evaluation.
    """
    known = registry.names(KIND)
    head = name.partition(".")[0]
    if head in known:
        return head
    if _DOTTED.fullmatch(name):
        raise UserError("metric", f"{name}: there is no evaluation {head!r}", nearest(head, known, called="evaluations"))
    return None


def lower(metric: str) -> bool:
    """Whether less of a run's own figure is better, by its name: of a loss or an error it is, of all others more is."""
    return metric in OF_LOSS or metric.endswith(SMALLER)


def _better(name: str, figures: Mapping[str, Mapping[str, Better]]) -> Better:
    head, _, figure = name.partition(".")
    if head not in figures:
        return None
    known = figures[head]
    if not known:
        raise UserError("metric", f"{KIND}/{head} does not say which figures it has", 'declare gives = {"accuracy": "higher"}')
    if figure not in known:
        what = f"{KIND} {head} has no figure {figure!r}" if figure else f"{head} is an {KIND}, and not one of its figures"
        raise UserError("metric", what, nearest(figure, known, called="figures") + f"; write {head}.{next(iter(known))}")
    return known[figure]
