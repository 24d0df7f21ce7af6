"""``python tests/evaluation/record_harness.py``: what lm-eval's own model for transformers answers, into harness_figures.json.

For an environment that has lm-eval, accelerate and transformers. tests/evaluation/test_harness_answers.py holds our answers to it wherever the tests run.
"""

from __future__ import annotations

import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import harness_model

FILE = Path(__file__).with_name("harness_figures.json")


def answers(folder: Path) -> dict[str, Any]:
    """Of lm-eval's ``hf`` on a folder. Continuations that it writes itself are asked for too, so that some are greedy."""
    from lm_eval.api.instance import Instance  # pyright: ignore[reportMissingImports]
    from lm_eval.models.huggingface import HFLM  # pyright: ignore[reportMissingImports]

    model = HFLM(pretrained=str(folder), device="cpu", batch_size=3)

    def ask(kind: str, asked: list[tuple[Any, ...]]) -> list[Any]:
        requests = [Instance(request_type=kind, doc={}, arguments=a, idx=i) for i, a in enumerate(asked)]
        return getattr(model, kind)(requests)

    written = ask("generate_until", harness_model.written())
    pairs = [*harness_model.pairs(), *((context, text) for (context, _), text in zip(harness_model.written(), written) if text)]
    found = [[p, bool(greedy)] for p, greedy in ask("loglikelihood", pairs)]
    return {
        "pairs": [[*pair, *answer] for pair, answer in zip(pairs, found)],
        "rolling": ask("loglikelihood_rolling", [(t,) for t in harness_model.texts()]),
        "written": written,
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        folders = {name: harness_model.write(Path(place) / name, begins=name == "begins") for name in ("begins", "bare")}
        held = {name: answers(folder) for name, folder in folders.items()}
    versions = {name: version(name) for name in ("lm-eval", "transformers", "torch")}
    FILE.write_text(json.dumps({"versions": versions, **held}, indent=1, ensure_ascii=False) + "\n", encoding="utf8")
    print(f"wrote {FILE}", file=sys.stderr)


if __name__ == "__main__":
    main()
