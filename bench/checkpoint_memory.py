"""The memory that it takes to import a checkpoint and to open it, beside the size of its model.

``python bench/checkpoint_memory.py [--write] [--mb 400]`` writes checkpoints with drawn weights in several files, imports and opens each in a process of its own,
and prints the most that the process held above what it held before; ``--write`` renews the table of docs/how_to/checkpoints.md. Linux only: pages that are
mapped from a file count as held while they are.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import section
import torch

from components.compose import compose
from components.core.config_types import Config
from components.core.meta import on_meta
from components.interop import convert
from components.runs.generation_config import FILE

PAGE = Path(__file__).parent.parent / "docs" / "how_to" / "checkpoints.md"
COMMAND = "python bench/checkpoint_memory.py --write"
VOCAB = 4096
SIZES = ["model.d_model=1024", "model.attention.n_heads=16", "model.ffn.d_ff=4096"]
# what the files are, a recipe of that class, the class, their dtype
CASES: dict[str, tuple[str, str, torch.dtype]] = {
    "Llama: each tensor as it is": ("known/llama3_2_1b", "LlamaForCausalLM", torch.float32),
    "Llama in bf16": ("known/llama3_2_1b", "LlamaForCausalLM", torch.bfloat16),
    "GPT-2: transposed, queries, keys and values in one": ("known/gpt2", "GPT2LMHeadModel", torch.float32),
    "Phi-3: one for queries, keys and values, one for gate and up": ("known/phi3_mini", "Phi3ForCausalLM", torch.bfloat16),
}
CHILD = """
import ctypes, gc, re, sys
from pathlib import Path
from components.runs.importing import import_folder
from components.runs.loading import open_model

def status(name):
    return 1024 * int(re.search(rf"{name}:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

def peak(what):
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what is free counts as held, otherwise
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before = status("VmRSS")
    what()
    print(status("VmHWM") - before)

warm, source, to = map(Path, sys.argv[1:])
import_folder(str(warm), to / "small", check=False)  # imports what an import imports
open_model(to / "small")
peak(lambda: import_folder(str(source), to / "run", check=False))
peak(lambda: open_model(to / "run"))
peak(lambda: open_model(source))
"""


def checkpoint(folder: Path, name: str, mb: float) -> int:
    """Write a folder of about ``mb`` MB in Hugging Face's layout, in four files and more; the bytes of its tensors."""
    recipe, label, dtype = CASES[name]

    def sized(layers: int) -> tuple[Config, dict[str, torch.Size], int]:
        grouped = [] if recipe == "known/gpt2" else ["model.attention.n_kv_heads=8"]
        config = compose(recipe, [*SIZES, *grouped, f"model.n_layers={layers}"]).config
        shapes = {n: t.shape for n, t in on_meta(config, VOCAB).state_dict().items()}
        return config, shapes, sum(s.numel() for s in shapes.values()) * dtype.itemsize

    one, two = (sized(layers)[2] for layers in (1, 2))
    config, shapes, size = sized(max(2, round((mb * 1e6 - one) / (two - one)) + 1))
    generator = torch.Generator().manual_seed(0)
    weights = {n: torch.empty(s, dtype=dtype).normal_(0, 0.02, generator=generator) for n, s in shapes.items()}
    convert.write_folder(config, weights, VOCAB, folder, prefer=label, shard_bytes=int(mb * 1e6 / 4), files={FILE: "{}"})
    return size


def measured(name: str, mb: float, room: Path) -> dict[str, float]:
    """{"mb": size of the files, "import", "open_run", "open_folder": most bytes held, relative to the model's as it is held}."""
    warm, source = room / "warm", room / "theirs"
    checkpoint(warm, name, 1)
    size = checkpoint(source, name, mb)
    words = [sys.executable, "-c", CHILD, str(warm), str(source), str(room)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    held = [int(line) for line in done.stdout.split()]
    opened = size * 4 / CASES[name][2].itemsize  # a model computes in fp32
    return {"mb": size / 1e6, "import": held[0] / size, "open_run": held[1] / opened, "open_folder": held[2] / opened}


def table(mb: float) -> str:
    lines = ["| files | MB | import | open the run | open the folder |", "|---|---|---|---|---|"]
    for name in CASES:
        with tempfile.TemporaryDirectory() as room:
            found = measured(name, mb, Path(room))
        lines.append(
            f"| {name} | {found['mb']:.0f} | {found['import']:.2f} | {found['open_run']:.2f} | {found['open_folder']:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--mb", type=float, default=400)
    given = parser.parse_args()
    made = table(given.mb)
    print(made)
    if given.write:
        section.put("checkpoint_memory", f"{made}\n\nMade by `{COMMAND}`.", PAGE)
