"""Greedy decoding beside transformers, same weights; writes docs/decoding.json and the table in docs/how_to/decode_faster.md.

``python bench/decoding.py [--rounds 7] [--write]``. Texts must be equal in fp32, or nothing is timed. All of them take turns in one process;
the medians of the round-by-round ratios are reported with the lowest and the highest. (a): 6 layers, 6 heads, d_model 384, GPT-2's parts,
vocabulary 65. (c): the same size with Llama's parts, two heads of keys, vocabulary 32,000. Prompt 32, 128 new tokens.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as the command line has it

import peers
import torch
from torch import Tensor, nn

from components import build
from components.core import allocator
from components.core.sockets import Batch, make
from components.interop.convert import read_folder

ROOT = Path(__file__).parent.parent
PAGE, HELD = ROOT / "docs" / "how_to" / "decode_faster.md", ROOT / "docs" / "decoding.json"
NEW, PROMPT = 128, 32
START, END = "<!-- written by bench/decoding.py -->", "<!-- end -->"
Generate = Callable[[], Tensor]


def shape_a() -> tuple[nn.Module, nn.Module, int]:
    peer = peers.PEERS["transformers"]
    theirs = peer.build().eval()
    ours = peers.ours(peer.parts).eval()
    ours.load_state_dict(peer.weights(theirs))
    return theirs, ours, peers.V


def shape_c() -> tuple[nn.Module, nn.Module, int]:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 6, "vocab_size": 32000}
    heads = {"num_attention_heads": 6, "num_key_value_heads": 2, "max_position_embeddings": 256}
    theirs = LlamaForCausalLM(LlamaConfig(**sizes, **heads, eos_token_id=None, bos_token_id=None, pad_token_id=0)).eval()
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        read = read_folder(Path(folder))
        ours = make(read.config["model"], "model", vocab_size=sizes["vocab_size"]).eval()
        ours.load_state_dict(read.weights)  # which reads them
    return theirs, ours, 32000


def ways(theirs: nn.Module, ours: nn.Module, prompt: Tensor) -> dict[str, Generate]:
    def own(weights: str, cache: str = "growing") -> Generate:
        options = {"max_length": PROMPT + NEW} if cache == "static" else {}
        return lambda: build("decoding", "greedy", weights=weights).generate(
            ours, Batch(prompt), cache=build("cache", cache, **options), max_new_tokens=NEW
        )

    def transformers() -> Tensor:
        length = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False}
        with torch.inference_mode():
            return theirs.generate(prompt, attention_mask=torch.ones_like(prompt), **length)  # type: ignore[operator]

    return {
        "transformers": transformers,
        "ours": own("same"),
        "ours, cache=static": own("same", "static"),
        "ours, decoding.weights=bf16": own("bf16"),
        "ours, decoding.weights=int8": own("int8"),
    }


def measure(shape: str, rows: int, rounds: int) -> list[dict[str, str | float]]:
    torch.manual_seed(0)
    theirs, ours, size = {"a": shape_a, "c": shape_c}[shape]()
    found = ways(theirs, ours, torch.randint(1, size, (rows, PROMPT)))
    texts = {name: found[name]() for name in ("transformers", "ours", "ours, cache=static")}
    if not all(torch.equal(text, texts["transformers"]) for text in texts.values()):
        raise SystemExit(f"({shape}), {rows}: the texts differ, nothing is timed")
    speeds: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(rounds):
        for name, way in found.items():
            start = time.perf_counter()
            way()
            speeds[name].append(rows * NEW / (time.perf_counter() - start))
    made: list[dict[str, str | float]] = []
    for name, speed in speeds.items():
        ratios = [a / b for a, b in zip(speed, speeds["transformers"])]
        figures = {
            "speed": statistics.median(speed),
            "ratio": statistics.median(ratios),
            "least": min(ratios),
            "most": max(ratios),
        }
        made.append({"shape": shape, "rows": rows, "way": name, **figures})
        print(
            f"({shape}) {rows:3} {name:30} {figures['speed']:7.0f} tok/s  {figures['ratio']:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )
    return made


def table(held: dict) -> str:
    lines = [
        f"{held['machine']}; {held['date']}.",
        "",
        "| shape | texts | what | tokens a second | over transformers | lowest to highest |",
    ]
    lines += ["|---|--:|---|--:|--:|---|"]
    for r in held["rows"]:
        lines.append(
            f"| ({r['shape']}) | {r['rows']} | {r['way']} | {r['speed']:.0f} | {r['ratio']:.2f} | {r['least']:.2f} to {r['most']:.2f} |"
        )
    return "\n".join(lines)


def page(text: str, held: dict) -> str:
    """``text`` with the table of ``held`` in its place."""
    before, _, rest = text.partition(START)
    return f"{before}{START}\n\n{table(held)}\n\n{END}{rest.partition(END)[2]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    allocator.settle()  # as ``components generate`` does, here for both sides
    rows = [row for shape, count in (("a", 1), ("c", 1), ("c", 16)) for row in measure(shape, count, args.rounds)]
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, transformers {version('transformers')}"
    held = {"machine": machine, "date": time.strftime("%Y-%m-%d"), "rows": rows}
    if args.write:
        HELD.write_text(json.dumps(held, indent=1) + "\n", encoding="utf8")
        PAGE.write_text(page(PAGE.read_text(encoding="utf8"), held), encoding="utf8")


if __name__ == "__main__":
    main()
