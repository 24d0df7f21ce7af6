"""All tables of the documentation that the bench measures, one after another, each by its own command.

``python bench/all.py`` lists what it would run; ``--write`` runs it, which takes hours; ``--only growth`` takes some of them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
# what writes which page, the quick ones first; the peers' environments are made before
COMMANDS = {
    "startup": "docs/performance.md, From the shell to the first step",
    "allocator": "docs/performance.md, Memory that a step frees",
    "scale": "docs/scale.md",
    "growth": "docs/performance.md, How cost grows",
    "compare": "docs/performance.md, beside other libraries",
    "neighbour": "docs/performance.md, Beside a busy process",
    "trainer": "docs/performance.md, The trainer around a step",
    "encode": "docs/performance.md, Encoding a corpus",
    "attention": "docs/performance.md, Attention in bf16",
    "optimizer_step": "docs/performance.md, The step of an optimizer",
    "time_to_loss": "docs/performance.md, Until nanoGPT's loss",
    "decoding": "docs/how_to/decode_faster.md",
    "speculative": "docs/how_to/decode_faster.md, with a small model that proposes",
    "prepare": "docs/scale.md, what two workers bring",
    "mup": "docs/mup.md",
    "evaluation": "docs/evaluation.md",
    "ladder": "docs/ladder.md",
    "grpo": "docs/post_training.md, GRPO on numbers in words",
    "small_tasks": "docs/small_tasks.md",
}


def command(name: str) -> list[str]:
    return [sys.executable, str(HERE / f"{name}.py"), "--write"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="run the commands, which write the pages")
    parser.add_argument("--only", nargs="+", choices=[*COMMANDS], default=[*COMMANDS])
    asked = parser.parse_args()
    failed = []
    for name in asked.only:
        print(f"python bench/{name}.py --write    # {COMMANDS[name]}", flush=True)
        if asked.write and subprocess.run(command(name), cwd=HERE.parent, check=False).returncode:
            failed.append(name)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}; the other pages are written")
    if not asked.write:
        print("nothing was run: add --write; python bench/peers.py install comes before compare")


if __name__ == "__main__":
    main()
