"""The table: command line, resolved node, printed lines. The library's own parts, a recipe and a child of it; nothing that is tuned elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.compose import compose

PARENT = """# Many heads with QK-norm.
defaults: [override /model/attention: gqa, override /optimizer: adamw, _self_]
model:
  d_model: 96
  n_layers: 6
  attention: {n_heads: 6, n_kv_heads: 2, qk_norm: {name: rms, eps: 1e-5}}
  position: {name: rope, base: 500.0}
optimizer: {lr: 1e-3, weight_decay: 0.2}
"""
CHILD = """# Fewer heads, another norm, another optimizer, and every third layer without positions.
defaults: [parent, override /model/norm: layer, override /optimizer: sgd, _self_]
model: {attention: {n_heads: 2, soft_cap: 20.0}, layers: {every3at2: {position: none}}}
"""
QK = {"name": "rms", "eps": 1e-5}
KEPT = "kept n_heads=6 (recipe parent), qk_norm={name: rms, eps: 1e-05} (recipe parent)"
OF_CHILD = "kept n_heads=2 (recipe child)"
SLICE = (
    "model.layers.every3at2.position: rope -> none (recipe child); dropped base=500.0 (recipe parent): none has no such option"
)
SGD = "optimizer: adamw -> sgd (recipe child); kept lr=0.001 (recipe parent), weight_decay=0.2 (recipe parent)"

# recipe, overrides | path, what stands there | notes | difference from the recipe
TABLE: list[tuple[str, list[str], str, Any, list[str], list[str]]] = [
    ("child", [], "optimizer", {"name": "sgd", "lr": 1e-3, "weight_decay": 0.2}, [SGD, SLICE], []),
    ("child", [], "model.layers", {"every3at2": {"position": {"name": "none"}}}, [SGD, SLICE], []),
    (
        "parent",
        ["model/attention=mqa"],
        "model.attention",
        {"name": "gqa", "preset": "mqa", "n_heads": 6, "n_kv_heads": 1, "qk_norm": QK},
        [
            f"model.attention: gqa -> mqa (command line); {KEPT}; dropped n_kv_heads=2 (recipe parent): mqa is about it and sets it"
        ],
        ["model.attention: gqa -> mqa", "model.attention.n_kv_heads: 2 -> 1"],
    ),
    (
        "child",
        ["model/attention=mha"],
        "model.attention",
        {"preset": "mha", "n_heads": 2, "n_kv_heads": None, "soft_cap": 20.0, "qk_norm": QK},
        [
            SGD,
            f"model.attention: gqa -> mha (command line); {OF_CHILD}, soft_cap=20.0 (recipe child), qk_norm={{name: rms, eps: 1e-05}} "
            "(recipe parent); dropped n_kv_heads=2 (recipe parent): mha is about it and sets it",
            SLICE,
        ],
        ["model.attention: gqa -> mha", "model.attention.n_kv_heads: 2 -> null"],
    ),
    (
        "parent",
        ["model.attention.mask.window=16", "model.attention=sliding_window"],
        "model.attention",
        {"preset": "sliding_window", "mask": {"name": "sliding_window", "window": 16}, "n_heads": 6, "n_kv_heads": 2},
        [
            "model.attention: gqa -> sliding_window (command line); kept n_heads=6 (recipe parent), n_kv_heads=2 (recipe parent), "
            "qk_norm={name: rms, eps: 1e-05} (recipe parent)"
        ],
        [
            "model.attention: gqa -> sliding_window",
            "model.attention.mask: full -> sliding_window",
            "model.attention.mask.window: 16",
        ],
    ),
    (
        "parent",
        ["model.attention.qk_norm={name: layer}"],
        "model.attention.qk_norm",
        {"name": "layer", "eps": 1e-5},
        ["model.attention.qk_norm: rms -> layer (command line); kept eps=1e-05 (recipe parent)"],
        ["model.attention.qk_norm: rms -> layer", "model.attention.qk_norm.bias: false -> true"],
    ),
    (
        "parent",
        ["model.attention.qk_norm={name: layer, eps: 1e-3}"],
        "model.attention.qk_norm",
        {"name": "layer", "eps": 1e-3},
        [],
        [
            "model.attention.qk_norm: rms -> layer",
            "model.attention.qk_norm.eps: 1e-05 -> 0.001",
            "model.attention.qk_norm.bias: false -> true",
        ],
    ),
    (
        "parent",
        ["model.attention.qk_norm=none"],
        "model.attention.qk_norm",
        {"name": "none"},
        ["model.attention.qk_norm: rms -> none (command line); dropped eps=1e-05 (recipe parent): none has no such option"],
        ["model.attention.qk_norm: rms -> none"],
    ),
    (
        "parent",
        ["model/position=alibi"],
        "model.position",
        {"name": "alibi"},
        ["model.position: rope -> alibi (command line); dropped base=500.0 (recipe parent): alibi has no such option"],
        ["model.position: rope -> alibi"],
    ),
    ("parent", ["model/position=rope"], "model.position", {"name": "rope", "base": 500.0}, [], []),
    (
        "parent",
        ["optimizer=muon", "optimizer.lr=0.02"],
        "optimizer",
        {"name": "muon", "lr": 0.02, "weight_decay": 0.2},
        ["optimizer: adamw -> muon (command line); kept weight_decay=0.2 (recipe parent)"],
        ["optimizer: adamw -> muon", "optimizer.lr: 0.001 -> 0.02"],
    ),
    (
        "child",
        ["optimizer=adamw"],
        "optimizer",
        {"name": "adamw", "lr": 1e-3, "weight_decay": 0.2},
        [SGD, "optimizer: sgd -> adamw (command line); kept lr=0.001 (recipe parent), weight_decay=0.2 (recipe parent)", SLICE],
        ["optimizer: sgd -> adamw"],
    ),
    (
        "child",
        ["model=encoder_decoder"],
        "model.encoder",
        {"name": "layers", "n_layers": None, "attention": "inherit", "layers": None},
        [
            SGD,
            "model: decoder -> encoder_decoder (command line); kept d_model=96 (recipe parent), n_layers=6 (recipe parent), "
            "attention={name: gqa, n_heads: 2, n_kv_heads: 2, soft_cap: 20.0, qk_norm: {name: rms, eps: 1e-05}} (recipe child), "
            "position={name: rope, base: 500.0} (recipe parent), norm=layer (recipe child); "
            "dropped layers.every3at2.position (recipe child): encoder_decoder has no layers to slice",
        ],
        ["model: decoder -> encoder_decoder"],
    ),
    (
        "parent",
        [
            "model=encoder_decoder",
            "model.encoder.attention.n_heads=3",
            "model.encoder.layers.last.norm=layer",
            "model.encoder.n_layers=2",
        ],
        "model.encoder.attention",
        {"name": "gqa", "n_heads": 3, "n_kv_heads": 2, "qk_norm": QK},
        [
            "model: decoder -> encoder_decoder (command line); kept d_model=96 (recipe parent), n_layers=6 (recipe parent), "
            "attention={name: gqa, n_heads: 6, n_kv_heads: 2, qk_norm: {name: rms, eps: 1e-05}} (recipe parent), "
            "position={name: rope, base: 500.0} (recipe parent)"
        ],
        [
            "model: decoder -> encoder_decoder",
            "model.norm: rms -> layer",
            "model.norm.eps: 1e-06 -> 1e-05",
            "model.norm.bias: false -> true",
            "model.encoder.n_layers: 2",
            "model.encoder.attention: {name: gqa, n_heads: 3, qk_norm: {name: rms, eps: 1e-05}, n_kv_heads: 2}",
        ],
    ),
    (
        "child",
        ["model.layers.from4.attention=sliding_window", "model.layers.last.attention.mask.window=8"],
        "model.layers.5.attention",
        {
            "preset": "sliding_window",
            "n_heads": 2,
            "n_kv_heads": 2,
            "soft_cap": 20.0,
            "mask": {"name": "sliding_window", "window": 8},
        },
        [
            SGD,
            SLICE,
            f"model.layers.from4.attention: gqa -> sliding_window (command line); {OF_CHILD}, n_kv_heads=2 (recipe parent), "
            "soft_cap=20.0 (recipe child), qk_norm={name: rms, eps: 1e-05} (recipe parent)",
        ],
        [
            "model.layers.4.attention: gqa -> sliding_window",
            "model.layers.4.attention.mask: full -> sliding_window",
            "model.layers.5.attention: gqa -> sliding_window",
            "model.layers.5.attention.mask: full -> sliding_window",
            "model.layers.5.attention.mask.window: 8",
        ],
    ),
    (
        "child",
        ["model.position=learned"],
        "model.layers",
        {"every3at2": {"position": {"name": "none"}}},
        [SGD, "model.position: rope -> learned (command line); dropped base=500.0 (recipe parent): learned has no such option"],
        ["model.position: rope -> learned"],
    ),
    (
        "parent",
        ["model.norm=layer", "model.final_norm.eps=0.1"],
        "model.final_norm",
        {"name": "layer", "eps": 0.1},
        [],
        [
            "model.norm: rms -> layer",
            "model.norm.eps: 1e-06 -> 1e-05",
            "model.norm.bias: false -> true",
            "model.final_norm: inherit -> {name: layer, eps: 0.1}",
        ],
    ),
    (
        "parent",
        ["decoding.samplers=[temperature, {name: top_p, p: 0.5}]"],
        "decoding.samplers",
        [{"name": "temperature"}, {"name": "top_p", "p": 0.5}],
        [],
        ["decoding.samplers: [{name: temperature, value: 0.8}, top_k] -> [temperature, {name: top_p, p: 0.5}]"],
    ),
]


@pytest.mark.parametrize(
    ("recipe", "overrides", "path", "stands", "notes", "difference"), TABLE, ids=[f"{r[0]} {' '.join(r[1])}" for r in TABLE]
)
def test_table(recipe, overrides, path, stands, notes, difference, tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/parent.yaml").write_text(PARENT)
    (tmp_path / "recipes/child.yaml").write_text(CHILD)
    composed = compose(recipe, overrides, cwd=tmp_path)
    assert holds(at(composed.config, path), stands)
    assert composed.notes == notes
    assert composed.difference == difference
    again = compose(base=composed.config, cwd=tmp_path)
    assert again.config == composed.config


def test_the_table_is_long_enough() -> None:
    assert len({(r[0], *r[1]) for r in TABLE}) >= 12


def at(config: Any, path: str) -> Any:
    for word in path.split("."):
        config = config[word]
    return config


def holds(found: Any, wanted: Any) -> bool:
    """Whether ``found`` has all that ``wanted`` says; parts may have further options."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(k in found and holds(found[k], v) for k, v in wanted.items())
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(holds, found, wanted))
    return found == wanted
