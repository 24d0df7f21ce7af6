"""What a study is: its question, its variants and its runs, as ``study.json`` holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from components.core.config_types import Config


@dataclass(frozen=True)
class Curve:
    step: tuple[int, ...] = ()
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class StudyRun:
    variant: str
    seed: int
    role: str = "reported"
    options: Mapping[str, object] = field(default_factory=dict)
    folder: str = ""
    state: str = "done"
    error: str | None = None
    figures: Mapping[str, float | None] = field(default_factory=dict)
    curve: Config = field(default_factory=dict)


@dataclass(frozen=True)
class Variant:
    name: str
    is_recipe: bool = False
    overrides: tuple[str, ...] = ()
    solved: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    parameters: int = 0
    flops_per_token: float = 0.0
    steps: int = 0
    difference: tuple[str, ...] = ()
    tuned: Mapping[str, object] | None = None
    stopped_after: int | None = None


@dataclass(frozen=True)
class Refused:
    overrides: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Study:
    recipe: str
    words: tuple[str, ...]
    variants: tuple[Variant, ...]
    runs: tuple[StudyRun, ...]
    metric: str = "val_loss"
    secondary: tuple[str, ...] = ()
    lower_is_better: bool = True
    design: str = "one"
    match: Mapping[str, object] | None = None
    tune: Mapping[str, object] | None = None
    seeds: tuple[int, ...] = ()
    stop: str | None = None
    refused: tuple[Refused, ...] = ()
    version: int = 1


@dataclass(frozen=True)
class Speed:
    variant: str
    seed: int
    seconds: float | None = None
    tokens_per_second: float | None = None
    peak_bytes: int | None = None
