"""``generation_config.json`` as a ``decoding`` node, and back. The fields are those of transformers' ``GenerationConfig``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from components.core.config_types import Config
from components.core.errors import UserError
from components.core.registry import entry
from components.corpus.token_files import is_id

FILE = "generation_config.json"
# field: (sampler, its option, whether a value changes nothing), in the order in which transformers applies them
Fields = Mapping[str, tuple[str, str, Callable[[float], bool]]]
BEFORE: Fields = {
    "repetition_penalty": ("repetition", "penalty", lambda v: v == 1),
    "no_repeat_ngram_size": ("no_repeat_ngram", "n", lambda v: v == 0),
}
SUPPRESSED = ("bad_words_ids", "suppress_tokens")  # after those before
DRAWN: Fields = {
    "temperature": ("temperature", "value", lambda v: v == 1),
    "top_k": ("top_k", "k", lambda v: v == 0),
    "top_p": ("top_p", "p", lambda v: v == 1),
    "min_p": ("min_p", "p", lambda v: v == 0),
    "typical_p": ("typical", "p", lambda v: v == 1),
}
WHOLE = ("no_repeat_ngram_size", "top_k", "num_beams", "max_new_tokens")
BEAMS = {"length_penalty": "length_penalty", "early_stopping": "early_stopping"}
STOPPING = {True: "full", False: "estimate", "never": "never"}
TOP_K = 50  # transformers' default where a file samples and does not set it
LIKELIEST: Config = {"name": "top_k", "k": 1}
MOST_SUPPRESSED = 10**6
# read elsewhere, or without effect on the text: a forced last token is written where a text may have no more, and is no part of it
SILENT = {
    *("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "forced_eos_token_id"),
    "max_new_tokens",
    "transformers_version",
    "use_cache",
    "return_dict_in_generate",
    "output_attentions",
    "output_hidden_states",
}
# what a node says, and what is to go where another node is written
SAID = {"do_sample", *BEFORE, *SUPPRESSED, *DRAWN, "num_beams", *BEAMS}


def decoding_of(said: Mapping[str, object], where: str) -> tuple[Config | None, list[str]]:
    """(a ``decoding`` node, or None if the file says nothing about decoding; the fields that are left unread).

    Without ``do_sample`` transformers takes the likeliest token. The same holds here if the file has any other field about decoding.

    Raises:
        UserError: a field has a value that it cannot have.
    """
    values: dict[str, Any] = {
        name: value for name in (*BEFORE, *DRAWN, "num_beams", *BEAMS) if (value := said.get(name)) is not None
    }
    for name, value in values.items():
        _check(name, value, where)
    most_of(said, where)
    draws = said.get("do_sample")
    if not isinstance(draws, (bool, type(None))):
        raise UserError(where, f"do_sample={draws!r:.60} is neither true nor false", "mend it")
    beams = values.get("num_beams", 1) > 1
    suppressed, whole = _suppressed(said, where)
    shaped = [*_samplers(BEFORE, values), *suppressed]
    used: set[str] = {"do_sample"}
    node: Config | None = None
    if draws and not beams:
        node = {"name": "sample", "samplers": [*shaped, *_samplers(DRAWN, {"top_k": TOP_K, **values})]}
        used |= {*BEFORE, *DRAWN, *whole}
    elif beams and not draws:
        options = {BEAMS[n]: STOPPING[v] if n == "early_stopping" else float(v) for n, v in values.items() if n in BEAMS}
        node = {"name": "beam", "beam_size": values["num_beams"], **options, **({"samplers": shaped} if shaped else {})}
        used |= {*BEAMS, *BEFORE, *whole}
    elif shaped:
        node = {"name": "sample", "samplers": [*shaped, LIKELIEST]}
        used |= {*BEFORE, *whole}
    elif draws is False:
        node = {"name": "greedy"}
    if not beams or (node is not None and node["name"] == "beam"):
        used.add("num_beams")
    if isinstance(said.get("decoder_start_token_id"), int):  # what is forced after it is given to an encoder-decoder
        used.add("forced_bos_token_id")
    every = {**BEFORE, **DRAWN}
    nothing = {n for n, v in values.items() if n in every and every[n][2](v)} | ({"num_beams"} if not beams else set())
    nothing |= {n for n in SUPPRESSED if said.get(n) == []}
    left = [n for n, v in said.items() if v is not None and n not in used | SILENT | nothing and not n.startswith("_")]
    return node, left


def most_of(said: Mapping[str, object], where: str) -> int | None:
    """``max_new_tokens``. UserError if it is no number of tokens."""
    found = said.get("max_new_tokens")
    if found is None:
        return None
    _check("max_new_tokens", found, where)
    return int(str(found)) or None


def ends_of(said: Mapping[str, object], default: object, where: str) -> list[int] | None:
    """The ids that end a text; ``default``: those of config.json.

    Raises:
        UserError: the field is neither an id nor a list of ids.
    """
    found = said.get("eos_token_id", default)
    if found is None:
        return None
    given = found if isinstance(found, list) else [found]
    ids = [i for i in given if isinstance(i, int) and is_id(i)]
    if len(ids) < len(given):
        raise UserError(where, f"eos_token_id={found!r:.60} is neither an id nor a list of ids", "mend it")
    return ids


def generation_of(node: Config, source: Mapping[str, object] | None, ends: Mapping[str, object]) -> tuple[Config, list[str]]:
    """(a file that says a ``decoding`` node, what of it no field says).

    Args:
        node: how the model writes.
        source: the file that came with the model: written again where it still says this.
        ends: the fields that say where a text begins and ends, and how long it is, for a model without ``source``.
    """
    fields, unsaid = fields_of(node)
    if source is None:
        return {**ends, **fields}, unsaid
    said = decoding_of(source, FILE)[0]
    if said is None or fields_of(said)[0] == fields:
        return {**source}, unsaid if said is not None else []
    return {**{n: v for n, v in source.items() if n not in SAID}, **fields}, unsaid


def fields_of(node: Config) -> tuple[Config, list[str]]:
    """(the fields that say a ``decoding`` node, what of it no field says)."""
    spelled = _spelled("decoding", node)
    samplers = [_spelled("sampler", one if isinstance(one, dict) else {"name": one}) for one in spelled.get("samplers") or ()]
    if spelled["name"] not in ("greedy", "sample", "beam"):
        return {}, [f"decoding={spelled['name']}"]
    likeliest = spelled["name"] == "sample" and samplers[-1:] == [_spelled("sampler", LIKELIEST)]
    draws = spelled["name"] == "sample" and not likeliest
    made: dict[str, Any] = {"do_sample": draws, **({"top_k": 0} if draws else {})}
    if spelled["name"] == "beam":
        stopping = {ours: theirs for theirs, ours in STOPPING.items()}[spelled["early_stopping"]]
        made |= {"num_beams": spelled["beam_size"], "length_penalty": spelled["length_penalty"], "early_stopping": stopping}
    order = [*BEFORE, "suppress_tokens", *(DRAWN if draws else ())]
    unsaid, last = [], -1
    for sampler in samplers[:-1] if likeliest else samplers:
        field, value = _field_of(sampler)
        if field not in order or order.index(field) <= last:
            unsaid.append(f"the sampler {sampler['name']}")
        else:
            last, made[field] = order.index(field), value
    return made, unsaid


def _field_of(sampler: Config) -> tuple[str, object]:
    """(the field that says a sampler, its value); no name if none does."""
    if sampler["name"] == "suppress_tokens":
        return "suppress_tokens", list(sampler["ids"])
    for field, (name, option, _) in {**BEFORE, **DRAWN}.items():
        if name == sampler["name"] and sampler == _spelled("sampler", {"name": name, option: sampler[option]}):
            return field, sampler[option]
    return "", None


def _spelled(kind: str, node: Config) -> Config:
    """A node with the defaults of what it does not say. ``weights`` is how a decoding computes, and not what."""
    options = entry(kind, node["name"]).signature.options
    return {"name": node["name"], **{n: node.get(n, o.default) for n, o in options.items() if n != "weights"}}


def _suppressed(said: Mapping[str, object], where: str) -> tuple[list[Config], list[str]]:
    """(the sampler of tokens that are never written, the fields that it says whole): single ones, since words of several depend on what was written."""
    ids: dict[int, None] = {}
    whole: list[str] = []
    for name in SUPPRESSED:
        found = said.get(name)
        if found is None:
            continue
        given: list[Any] = found if isinstance(found, list) else [found]
        rows: list[Any] = given if name == "bad_words_ids" else [[i] for i in given]
        if len(rows) > MOST_SUPPRESSED or not all(isinstance(r, list) and r and all(map(is_id, r)) for r in rows):
            raise UserError(where, f"{name}={found!r:.60} is no list of ids", "mend it, or leave it out")
        ids |= dict.fromkeys(r[0] for r in rows if len(r) == 1)
        if all(len(r) == 1 for r in rows):
            whole.append(name)
    return [{"name": "suppress_tokens", "ids": list(ids)}] if ids else [], whole


def _samplers(fields: Fields, values: Mapping[str, float]) -> list[Config]:
    made = []
    for name, (sampler, option, says_nothing) in fields.items():
        if name in values and not says_nothing(values[name]):
            value = values[name]
            made.append({"name": sampler, option: int(value) if name in WHOLE else float(value)})
    return made


def shown(node: Config) -> str:
    """A ``decoding`` node in words: ``sample: temperature value=0.6, top_k k=50``."""
    samplers: Sequence[Config] = node.get("samplers") or ()
    options = {n: v for n, v in node.items() if n not in ("name", "samplers", "weights")}
    words = [
        *_words([options]),
        *(" ".join([s["name"], *_words([{n: v for n, v in s.items() if n != "name"}])]) for s in samplers),
    ]
    return f"{node['name']}: {', '.join(words)}" if words else node["name"]


def _words(options: Sequence[Config]) -> list[str]:
    return [f"{n}={v!r:.40}" if not isinstance(v, str) else f"{n}={v}" for one in options for n, v in one.items()]


def _check(name: str, value: object, where: str) -> None:
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan  # which fits nowhere
    if name == "early_stopping":
        fits = value in (True, False, "never")
    elif name in WHOLE:
        fits = is_id(value)
    elif name in ("top_p", "min_p", "typical_p"):
        fits = 0 <= number <= 1
    elif name == "length_penalty":
        fits = abs(number) < 1e6
    else:
        fits = 0 < number < 1e6
    if not fits:
        raise UserError(where, f"{name}={value!r:.60} is not a value of it", "mend it, or leave it out")
