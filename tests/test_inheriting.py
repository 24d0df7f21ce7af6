"""What ``inherit`` takes: one rule, which the tree of a config and the building of a model both ask."""

from __future__ import annotations

from pathlib import Path

import torch

from components.compose import compose, node
from components.core import inheriting, makers
from components.core.makers import make

SOURCES = Path(inheriting.__file__).parent.parent


def take(name: str, kind: str, own: dict[str, str], above: dict[str, str]) -> str | None:
    return inheriting.inherited(name, kind, own.get, above.get)


def test_the_order() -> None:
    assert take("final_norm", "norm", {"norm": "own"}, {"final_norm": "by name", "norm": "by kind"}) == "by name"
    assert take("final_norm", "norm", {"norm": "own"}, {"norm": "by kind"}) == "own"
    assert take("final_norm", "norm", {}, {"norm": "by kind"}) == "by kind"
    assert take("norm", "norm", {"norm": "itself"}, {}) is None, "a socket does not inherit itself"


def test_there_is_one_implementation() -> None:
    assert makers.inherited_by is node.inherited is inheriting.inherited
    users = {f.name for f in SOURCES.rglob("*.py") if "core.inheriting import" in f.read_text(encoding="utf8")}
    asking = {f.name for f in SOURCES.rglob("*.py") if "inherited(" in f.read_text(encoding="utf8")}
    assert {"makers.py", "node.py"} <= users
    assert asking <= {"inheriting.py", "makers.py", "node.py", "layers.py", "reading.py", "completion_tree.py"}, (
        "and nobody has another"
    )


def test_an_edit_changes_what_would_be_built_without_it(tmp_path: Path) -> None:
    """The stack's socket takes the model's of the same name, although the stack has a norm of its own."""
    chosen = ["model=encoder_decoder", "model.n_layers=1", "model.norm=rms", "model.embedding_norm=layer"]
    plain = compose("llama_tiny", chosen, cwd=tmp_path).config
    edited = compose("llama_tiny", [*chosen, "model.decoder.embedding_norm.eps=0.1"], cwd=tmp_path).config
    assert plain["model"]["decoder"]["embedding_norm"] == "inherit"
    assert edited["model"]["decoder"]["embedding_norm"]["name"] == "layer"
    for config in (plain, edited):
        with torch.device("meta"):
            model = make(config["model"], "model", vocab_size=300)
        assert type(model.decoder.embedding_norm).__name__ == "LayerNorm"
