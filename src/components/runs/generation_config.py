"""``generation_config.json`` as a ``decoding`` node. The fields are those of transformers' ``GenerationConfig``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from components.core.config_types import Config
from components.core.errors import UserError
from components.corpus.token_files import is_id

FILE = "generation_config.json"
# field: (sampler, its option, whether a value changes nothing), in the order in which transformers applies them
Fields = Mapping[str, tuple[str, str, Callable[[float], bool]]]
BEFORE: Fields = {
    "repetition_penalty": ("repetition", "penalty", lambda v: v == 1),
    "no_repeat_ngram_size": ("no_repeat_ngram", "n", lambda v: v == 0),
}
DRAWN: Fields = {
    "temperature": ("temperature", "value", lambda v: v == 1),
    "top_k": ("top_k", "k", lambda v: v == 0),
    "top_p": ("top_p", "p", lambda v: v == 1),
    "min_p": ("min_p", "p", lambda v: v == 0),
    "typical_p": ("typical", "p", lambda v: v == 1),
}
WHOLE = ("no_repeat_ngram_size", "top_k", "num_beams")
BEAMS = {"length_penalty": "length_penalty", "early_stopping": "early_stopping"}
STOPPING = {True: "full", False: "estimate", "never": "never"}
TOP_K = 50  # transformers' default where a file samples and does not set it
# read elsewhere, or without effect on the text
SILENT = {
    "decoder_start_token_id",
    "transformers_version",
    "use_cache",
    "return_dict_in_generate",
    "output_attentions",
    "output_hidden_states",
}


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
    draws = said.get("do_sample")
    if not isinstance(draws, (bool, type(None))):
        raise UserError(where, f"do_sample={draws!r:.60} is neither true nor false", "mend it")
    beams = values.get("num_beams", 1) > 1
    shaped = _samplers(BEFORE, values)
    used: set[str] = {"do_sample"}
    node: Config | None = None
    if draws and not beams:
        node = {"name": "sample", "samplers": [*shaped, *_samplers(DRAWN, {"top_k": TOP_K, **values})]}
        used |= {*BEFORE, *DRAWN}
    elif beams and not draws:
        options = {BEAMS[n]: STOPPING[v] if n == "early_stopping" else float(v) for n, v in values.items() if n in BEAMS}
        node = {"name": "beam", "beam_size": values["num_beams"], **options}
        used |= set(BEAMS)
    elif shaped:
        node = {"name": "sample", "samplers": [*shaped, {"name": "top_k", "k": 1}]}
        used |= set(BEFORE)
    elif draws is False:
        node = {"name": "greedy"}
    if not beams or (node is not None and node["name"] == "beam"):
        used.add("num_beams")
    every = {**BEFORE, **DRAWN}
    nothing = {n for n, v in values.items() if n in every and every[n][2](v)} | ({"num_beams"} if not beams else set())
    left = [n for n, v in said.items() if v is not None and n not in used | SILENT | nothing and not n.startswith("_")]
    return node, [n for n in left if not n.endswith(("_token_id", "_token_ids"))]


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


def _samplers(fields: Fields, values: Mapping[str, float]) -> list[Config]:
    made = []
    for name, (sampler, option, says_nothing) in fields.items():
        if name in values and not says_nothing(values[name]):
            value = values[name]
            made.append({"name": sampler, option: int(value) if name in WHOLE else float(value)})
    return made


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
