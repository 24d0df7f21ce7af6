"""The arguments of Lightning's Trainer, read from its installed source: what a key under ``trainer`` may be called."""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path

OWN = ("max_tokens",)  # a limit that we add: training tokens


@cache
def trainer_keys() -> tuple[str, ...]:
    """Every name, ours too. Empty where no Lightning is found, so that nothing is refused wrongly."""
    for package in ("lightning", "pytorch_lightning"):
        spec = find_spec(package)  # finds, does not import
        for folder in (spec.submodule_search_locations or []) if spec else []:
            for inner in ("pytorch/trainer/trainer.py", "trainer/trainer.py"):
                file = Path(folder) / inner
                if file.is_file() and (found := _arguments(file)):
                    return tuple(sorted({*found, *OWN}))
    return ()


def _arguments(file: Path) -> list[str]:
    tree = ast.parse(file.read_text(encoding="utf8"))
    trainer = next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Trainer"), None)
    init = next((n for n in trainer.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None) if trainer else None
    return [a.arg for a in (*init.args.args[1:], *init.args.kwonlyargs)] if init else []
