"""Makers from Python, said as a config says them."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from components.core import registry
from components.core.abilities import address
from components.core.config_types import Config
from components.core.inheriting import INHERIT


def described(kind: str, maker: object) -> Config:
    """A maker as a mapping with a name: of a name, a mapping, the class of a registered part or a partial of it. Empty for any other, and for ``inherit``."""
    options: Config = {}
    while isinstance(maker, functools.partial):
        options, maker = {**maker.keywords, **options}, maker.func
    if isinstance(maker, Mapping):
        return {**maker, **options}
    if callable(maker):
        place = address(maker)
        known = (e.name for e in registry.entries(kind).values() if not e.preset_of and (e.module, e.qualname) == place)
        maker = next(known, INHERIT)
    return {} if maker == INHERIT else {"name": maker, **options}
