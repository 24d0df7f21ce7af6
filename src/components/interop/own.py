"""Our own layout of a folder, for a decoder that is no class of transformers: the composed model stands in config.json as data, and no code beside it.

``import components.interop.transformers`` makes transformers' Auto classes read it.
"""

from __future__ import annotations

from collections.abc import Mapping

from components import __version__
from components.core.config_types import Config
from components.core.errors import UserError
from components.interop.architecture import Architecture, Rule
from components.interop.fields import Custom, Get

MODEL_TYPE, LABEL = "lightning_components", "ComponentsForCausalLM"
PREFIX = "model."  # the composed model is a child of the class that transformers makes
FORMAT = 1


def composed_in(config: Mapping[str, object], where: str) -> Config:
    """The spelled-out node ``model`` in a config.json of ours.

    Raises:
        UserError: there is none, or a newer release wrote it.
    """
    held = config.get("composed")
    if not isinstance(held, Mapping) or not isinstance(held.get("model"), Mapping):
        raise UserError(where, "holds no composed model", "fetch it again")
    if held.get("format") != FORMAT:
        said = f"was written by another release ({held.get('version')}; this is {__version__})"
        raise UserError(where, said, "upgrade lightning-components")
    return dict(held["model"])


def _write(get: Get) -> Config:
    return {"composed": {"format": FORMAT, "version": __version__, "model": get("model")}}


OWN = Architecture(
    names=(LABEL,),
    model_type=MODEL_TYPE,
    base={"model": {"name": "decoder"}},
    fields=[
        Custom(
            ("composed", "vocab_size"),
            lambda config: {"model": composed_in(config, "config.json"), "vocab_size": config["vocab_size"]},
            _write,
        )
    ],
    tensors=[Rule(PREFIX + "{name}", "{name}")],
    free=frozenset(("tie_word_embeddings",)),
)
