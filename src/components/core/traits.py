"""What a model, a loss or any module of a model says of itself, asked in one place.

A part that ``make`` made has every attribute of its contract (``core/contracts.py``) and is asked directly. These functions are for what is asked
of all modules of a model, since most of them are no parts, and for which of its methods a position has. They ask by name, and not by a type of
``core/abilities.py``, where a child module or what a wrapper hands on is an answer, or where all modules are asked before each text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeGuard

from torch import nn

from components.core import abilities as a

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed import ProcessGroup


def provides(module: object, word: str) -> bool:
    """Whether ``module`` lists ``word`` in its ``provides``; False for one that lists nothing."""
    return word in getattr(module, "provides", ())


def lacks(module: object, word: str) -> bool:
    return word in getattr(module, "lacks", ())


def embeds(position: object) -> bool:
    """Whether it has ``embed``: it is added to the embedding."""
    return hasattr(position, "embed")


def rotates(position: object) -> bool:
    """Whether it has ``rotate``: queries and keys are turned."""
    return hasattr(position, "rotate")


def biases(position: object) -> bool:
    """Whether it has ``bias``: scores are biased."""
    return hasattr(position, "bias")


def stands_for(target: type) -> tuple[str, str]:
    """(kind, name) of the registered part in whose place a class without a name of its own stands, as the cross attention of ``gqa`` does."""
    return target.stands_for if isinstance(target, a.StandsFor) else ("", "")


def prepare_of(loss: Any) -> Callable[..., Any] | None:
    """``loss.prepare(batch, generator)``, which changes a batch before the model sees it; None where it has none."""
    return getattr(loss, "prepare", None)


def check_of(init: object) -> Callable[..., None] | None:
    """``init.check(weights)``, which sees all weights before the first is drawn; None where it has none."""
    return getattr(init, "check", None)


def lr_scale_of(init: object) -> Callable[..., float] | None:
    """``init.lr_scale(weight)``, a factor on the learning rate; None where it has none."""
    return getattr(init, "lr_scale", None)


def gives_examples(source: object) -> bool:
    """Whether a data part has ``examples()``, and not ``documents()`` alone."""
    return hasattr(source, "examples")


def judge_of(source: object) -> Callable[[str], bool] | None:
    """``source.judge(text)``: whether a text is of the kind that the source has; None where it has none."""
    return getattr(source, "judge", None)


def lacking(model: nn.Module, word: str) -> bool:
    """Whether any part of the model declares that it lacks ``word``."""
    return any(lacks(m, word) for m in model.modules())


def has_after_step(module: object) -> TypeGuard[a.FollowsSteps]:
    """Whether it has ``after_step(stats)``, which training calls once per optimizer step."""
    return isinstance(module, a.FollowsSteps) and callable(module.after_step)


def asked_of(model: nn.Module) -> nn.Module:
    """The model whose vectors and head an objective is given: itself, or the one that it names as ``asked``."""
    return model.get_submodule(model.asked) if isinstance(model, a.OfTwoModels) else model


def turns_of(model: nn.Module) -> list[a.TakesTurns]:
    """Its parts that hold modules of which one computes in each step."""
    return [m for m in model.modules() if isinstance(m, a.TakesTurns)]


def each_turn(model: nn.Module) -> Iterator[int]:
    """Once for each turn of its parts that take turns, all at the same time, and once where there are none: for who measures. Afterwards no step has begun."""
    turns = turns_of(model)
    try:
        for turn in range(max((len(part.in_turn()) for part in turns), default=1)):
            for part in turns:
                part.take(turn % len(part.in_turn()))
            yield turn
    finally:
        for part in turns:
            part.take(None)


def mask_of(module: Any) -> Any:
    """The ``mask`` of an attention that has one."""
    return getattr(module, "mask", None)


def lends(module: object) -> bool:
    """Whether later layers read its keys and values."""
    return getattr(module, "lends", False)


def tokens_ahead(head: object) -> int:
    """How many tokens beyond the next one a head predicts on request, or the partial of a head that a loss is given."""
    return getattr(head.func if isinstance(head, partial) else head, "n_ahead", 0)


def logits_here(head: object) -> Callable[..., tuple[Tensor, ProcessGroup]] | None:
    """What gives this rank's logits and the ranks that have all of them, for a head, or the partial of one, that leaves them where they are."""
    own = getattr(head.func if isinstance(head, partial) else head, "logits_here", None)
    return partial(own, *head.args, **head.keywords) if own is not None and isinstance(head, partial) else own


def bounded(modules: Iterable[object]) -> bool:
    """Whether one of the modules cannot go beyond the model's ``context_length`` (a table of positions)."""
    return any(getattr(m, "bounded", False) for m in modules)


def turning_points(modules: Iterable[Any]) -> set[int]:
    """The positions ``turns_at`` from which a module turns all earlier positions otherwise."""
    return {m.turns_at for m in modules if hasattr(m, "turns_at")}


def number_reader(model: nn.Module) -> Any:
    """The part that reads ``d_in`` numbers of each position instead of ids; None where the model reads ids."""
    return next((m for m in model.modules() if provides(m, "values") and isinstance(m, a.ReadsNumbers)), None)


def reads_token_types(model: nn.Module) -> bool:
    """Whether any part of it has vectors for the segments of a text."""
    return any(provides(m, "token_types") for m in model.modules())


def extra_tokens(loss: object) -> int:
    """How many ids it needs beyond the tokenizer's."""
    return int(getattr(loss, "extra_tokens", 0))


def counts_tokens(loss: object) -> bool:
    """Whether the loss is a mean over tokens, so that its exponential is a perplexity."""
    return not any(provides(loss, word) for word in ("classes", "amounts", "pairs", "rewards", "groups"))


def measures_text(loss: Any, model: nn.Module) -> bool:
    """Whether the loss is the negative log likelihood of the text, so that bits per byte follow from it."""
    says = prepare_of(loss) is None if loss.likelihood is None else loss.likelihood
    return bool(says) and not lacking(model, "causal")


def reads_source(model: nn.Module) -> bool:
    """Whether the model is an encoder-decoder."""
    return provides(model, "source")


def _without_encoder(model: Any) -> Iterator[nn.Module]:
    beside = set(model.encoder.modules()) if reads_source(model) else ()
    return (part for part in model.modules() if part not in beside)


def why_cannot_generate(model: nn.Module, *, source: bool = False) -> str:
    """Why the model cannot continue a text, or an empty string where it can; ``source``: it is given what it reads before."""
    if reads_source(model) and not source:
        return "the model writes only after it has read a source"
    parts = list(_without_encoder(model))
    for part in parts:
        if any(provides(part, word) for word in ("amounts", "classes", "vectors")):
            return f"{type(part).__name__} gives no tokens"
    for word, what in (("causal", "sees later tokens"), ("cacheable", "keeps no cache")):
        for part in parts:
            if lacks(part, word):
                return f"{type(part).__name__} {what}"
    return ""
