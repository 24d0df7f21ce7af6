"""LoRA over a base in full, int8 and nf4: bytes of the frozen matrices and the tuned loss.

``python bench/quantised_base.py [--write] [--steps 60]`` trains a wider ``recipe=llama_tiny``, tunes it on the English of docs/decisions three times, and prints the
table; ``--write`` renews the section of docs/how_to/adapters.md. Two minutes of one core.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as the command line has it: threads that wait take no core from others

import section

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "how_to" / "adapters.md"
COMMON = [
    "task.samples=0",
    "task.judged_samples=0",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
    "model.d_model=128",
    "model.attention.n_heads=4",
]


def measured(run: Path) -> dict[str, float]:
    """Of a tuned run: validation loss as it says it, and bytes of the matrices that can be kept in few bits."""
    import components
    from components.functional.quantised_tensor import bytes_of
    from components.parts.adapter._base import frozen_maps

    said = json.loads((run / "summary.json").read_text(encoding="utf8"))
    model = components.load(run).model
    names = [path for path, _ in frozen_maps(components.merge(components.load(run).model).requires_grad_(False))]
    held = sum(bytes_of(model.get_submodule(path).weight) for path in names)
    return {"loss": said["val_loss"], "bytes": held}


def table(rows: dict[str, dict[str, float]], before: float, steps: int) -> str:
    full = rows["full"]
    lines = [
        f"`recipe=llama_tiny model.d_model=128`, tuned for {steps} steps on the English of docs/decisions (one seed; validation loss {before:.3f} before):",
        "",
        "| `adapter.base` | frozen matrices | validation loss |",
        "|---|---|---|",
    ]
    for name, row in rows.items():
        share = row["bytes"] / full["bytes"]
        lines.append(f"| `{name}` | {row['bytes'] / 1e6:.3f} MB ({share:.1%}) | {row['loss']:.4f} |")
    return "\n".join([*lines, "", "`python bench/quantised_base.py --write` wrote it, on a CPU in fp32."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--base-steps", type=int, default=100)
    asked = parser.parse_args()
    import components

    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "english.txt"
        text.write_text(
            "\n\n".join(f.read_text(encoding="utf8") for f in sorted((DOCS / "decisions").glob("*.md"))), encoding="utf8"
        )
        place = [*COMMON, f"paths.runs={folder}/runs"]
        base = components.train("llama_tiny", [*place, f"trainer.max_steps={asked.base_steps}"], quiet=True).folder
        tuned = [*place, "data=text", f"data.path={text}", f"init_from={base}", "tokenizer=of_run", f"tokenizer.run={base}"]
        tuned += [f"trainer.max_steps={asked.steps}", "adapter=lora", "adapter.targets=['*.attention.*','*.ffn.*']"]
        rows = {}
        before = components.train(
            "llama_tiny", [*tuned, "adapter.base=full", "optimizer.lr=1e-12", "trainer.max_steps=1"], quiet=True
        ).folder
        for name in ("full", "int8", "nf4"):
            rows[name] = measured(components.train("llama_tiny", [*tuned, f"adapter.base={name}"], quiet=True).folder)
        made = table(rows, json.loads((before / "summary.json").read_text(encoding="utf8"))["val_loss"], asked.steps)
    print(made)
    if asked.write:
        section.put("quantised_base", made, PAGE)


if __name__ == "__main__":
    main()
