"""docs/architectures.md: the table of known architectures, every figure measured when it is written."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from parity import Oracle, close, logits_of_ours, logits_of_theirs, made, published_parameters, quoted, source_ids, target_ids

from components import build
from components.core.sockets import Batch
from components.interop import architectures, convert

PAGE = Path(__file__).parent.parent.parent / "docs" / "architectures.md"
HELD = Path(architectures.__file__).with_name("_held.py")
BY = "Written by `python tests/interop/test_every_architecture.py`."
HEAD = """# Known models are recipes

Written by `python tests/interop/test_every_architecture.py`, which makes a tiny random model of each class of transformers, reads it, and compares.
`pytest tests/interop` holds all rows to it. Difference: the largest of all logits, relative to the largest logit, fp32.
T5 v1.1, Flan-T5 and UMT5 have a head of their own, which their class ties to the embedding: its matrix is counted besides what the class has on meta.
Falcon RW is held to its class with `attn_implementation="sdpa"` and at 300 positions, where bf16 rounds its ALiBi: the eager attention of transformers
5.23 adds ALiBi twice.

| architecture | class of transformers | largest difference | greedy text | in and out | recipe | parameters, equal to the class's on meta |
|---|---|---|---|---|---|---|
"""


def write(oracles: Sequence[Oracle], words: Sequence[str]) -> None:
    """``words``: names of rows to measure, all if there are none; the others stay as they are."""
    known = {line.split(" | ")[0].removeprefix("| "): line for line in PAGE.read_text(encoding="utf8").splitlines()}
    if unknown := [w for w in words if w not in {o.name for o in oracles}]:
        sys.exit(f"no row is called {', '.join(unknown)}")
    lines = []
    for oracle in oracles:
        if words and oracle.name not in words and oracle.name in known:
            lines.append(known[oracle.name])
            continue
        with tempfile.TemporaryDirectory() as folder:
            pair = made(oracle, Path(folder) / "theirs")
            ids = pair.ids(length=oracle.length)
            difference = close(logits_of_ours(oracle, pair, ids), logits_of_theirs(oracle, pair, ids))
            greedy = _greedy(oracle, pair) if oracle.generates else "does not generate"
            label = pair.imported.architecture.label
            convert.write_folder(pair.imported.config, pair.imported.weights, pair.vocab, Path(folder) / "ours", prefer=label)
            same = "byte for byte" if _same(Path(folder)) else "DIFFERS"
        sizes = [f"`{r}`" for r in oracle.recipes]
        counts = [f"{published_parameters(oracle, quoted(r)):,}" for r in oracle.recipes]
        row = [oracle.name, f"`{oracle.cls}`", f"{difference:.1e}", greedy, same, ", ".join(sizes), ", ".join(counts)]
        lines.append("| " + " | ".join(row) + " |")
        print(lines[-1], flush=True)
    PAGE.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf8")


def write_held(oracles: Sequence[Oracle]) -> None:
    """Which mappings have a row: the others are new, and an import compares their logits with the class's unless told not to."""
    labels = "".join(f'    "{label}",\n' for label in sorted({o.label for o in oracles}))
    text = f'"""The mappings that a row of tests/interop holds to their class. {BY}"""\n\nHELD = (\n{labels})\n'
    HELD.write_text(text, encoding="utf8")


def write_goldens(oracles: Sequence[Oracle]) -> None:
    """The spelled-out forms of the rows' recipes, as tests/test_every_recipe.py holds them."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from test_every_recipe import GOLDEN, ROOT, spelled_out

    for name in (recipe for oracle in oracles for recipe in oracle.recipes):
        (GOLDEN / f"{name}.yaml").write_text(spelled_out(name, ROOT), encoding="utf8")


def _greedy(oracle: Oracle, pair) -> str:
    options = {
        "max_new_tokens": 12,
        "min_new_tokens": 12,
        "do_sample": False,
        "num_beams": 1,
        "eos_token_id": -1,
        "pad_token_id": 0,
    }
    ids = target_ids(pair) if oracle.source else pair.ids()
    source = Batch(source_ids(pair)) if oracle.source else None
    if oracle.source:
        theirs = pair.theirs.generate(input_ids=source_ids(pair), decoder_input_ids=ids, **options)
    else:
        theirs = pair.theirs.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **options)
    ours = build("decoding", "greedy").generate(
        pair.ours, Batch(ids, source=source), cache=build("cache", "growing"), max_new_tokens=12
    )
    return "token for token" if torch.equal(ours, theirs) else "DIFFERS"


def _same(folder: Path) -> bool:
    from safetensors.torch import load_file

    a, b = (load_file(folder / f / "model.safetensors") for f in ("theirs", "ours"))
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)
