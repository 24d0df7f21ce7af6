"""README.md of an exported run: what it is made of, what it has read, how good it is and how it was made, and the metadata that the hub reads.

The licence is left to whoever publishes it. Nothing is said of where files lie on this machine, but for what the command says.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

import yaml

from components.core.config_types import Config
from components.core.extras import command
from components.interop.own import LABEL
from components.runs.hub import SCHEME
from components.runs.metrics_file import OF_LOSS, VAL_LOSS, VALIDATION
from components.runs.run_files import About, Figures

PARTS = ("embedding", "position", "attention", "ffn", "norm", "block", "residual", "stack", "head")
# of a test the same figures as of validation
SHOWN = (f"best_{VAL_LOSS}", *OF_LOSS, *(f"test_{name.removeprefix(VALIDATION)}" for name in OF_LOSS))


def model_card(label: str, config: Config, about: About | None, figures: Figures, numbers: int) -> str:
    """The text of the card.

    Args:
        label: the class that the files are of.
        config: the run's, spelled out.
        about: its run.json; None for a checkpoint without a run.
        figures: its summary.json.
        numbers: of all tensors.
    """
    held = about or {}
    name = str(config.get("recipe") or "model").rpartition("/")[2]
    measured = {n: v for n in SHOWN if isinstance(v := figures.get(n), float)}
    data = str(config["data"]["name"])
    read = held.get("data")
    sections = [
        f"# {name}",
        f"A language model of {numbers:,} numbers, composed and trained with lightning-components"
        + (f" from the weights of {source}." if (source := held.get("imported")) else "."),
        "## Use",
        _use(label),
        "## Parts",
        _table(("part", "choice"), _parts(config["model"])),
    ]
    if changed := held.get("difference"):
        sections += [f"Against the recipe `{name}`:", "\n".join(f"- `{line}`" for line in changed)]
    known = f"`data={data}`, hash `{read['hash']}`: {_first(read['report'])}" if read else "What it has read is not known here."
    sections += ["## Data", known]
    if measured:
        sections += [
            "## Figures",
            _table(("figure", "value"), [(n.replace("_", " "), f"{v:.4g}") for n, v in measured.items()]),
        ]
    if typed := held.get("command"):
        sections += ["## Made by", f"```console\n$ {command_line(typed)}\n```"]
    return (
        f"---\n{metadata(label, name, data, read and read['hash'], held.get('imported'), measured)}---\n\n"
        + "\n\n".join(sections)
        + "\n"
    )


def metadata(label: str, name: str, data: str, hashed: str | None, source: str | None, measured: Mapping[str, float]) -> str:
    """The card's front matter, as YAML."""
    causal = _causal(label)
    made: dict[str, object] = {
        "library_name": "lightning-components" if label == LABEL else "transformers",
        **({"pipeline_tag": "text-generation"} if causal else {}),
        "tags": ["lightning-components", "pytorch"],
    }
    if source and source.startswith(SCHEME):
        made["base_model"] = source.removeprefix(SCHEME).partition("@")[0]
    if measured:
        task = {"type": "text-generation" if causal else "fill-mask"}
        metrics = [
            {"type": n.partition("_")[2] if n.startswith(("val_", "test_")) else n, "name": n, "value": v}
            for n, v in measured.items()
        ]
        result = {
            "task": task,
            "dataset": {"name": data, "type": f"{data}-{hashed[:16]}" if hashed else data},
            "metrics": metrics,
        }
        made["model-index"] = [{"name": name, "results": [result]}]
    return "# license: say it before you publish\n" + yaml.safe_dump(made, sort_keys=False, allow_unicode=True)


def command_line(words: list[str]) -> str:
    """The command as it is typed; a path below the home folder begins with ``~``."""
    home = f"{Path.home()}/"
    typed = [Path(words[0]).name.replace("__main__.py", "components"), *(w.replace(home, "~/") for w in words[1:])]
    return " ".join(w if "~" in w and " " not in w else shlex.quote(w) for w in typed)


def _use(label: str) -> str:
    taught = f"import components.interop.transformers  # {command('interop')}\n" if label == LABEL else ""
    load = f"{'AutoModelForCausalLM' if _causal(label) else label}.from_pretrained(FOLDER_OR_NAME)"
    names = load.partition(".")[0]
    return (
        f"```py\n{taught}from transformers import {names}, AutoTokenizer\n\n"
        f"model, tokenizer = {load}, AutoTokenizer.from_pretrained(FOLDER_OR_NAME)\n```\n\n"
        f"```console\n$ components import FOLDER_OR_NAME --to runs/mine\n$ components generate runs/mine --prompt ...\n```"
    )


def _causal(label: str) -> bool:
    return label.endswith(("ForCausalLM", "LMHeadModel"))


def _parts(model: Config) -> list[tuple[str, str]]:
    sizes = [(n, str(model[n])) for n in ("d_model", "n_layers", "context_length") if n in model]
    chosen = [(p, str(node.get("name"))) for p in PARTS if isinstance(node := model.get(p), Mapping)]
    return [("model", str(model["name"])), *sizes, *chosen]


def _table(head: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    return "\n".join(f"| {a} | {b} |" for a, b in [head, ("---", "---"), *rows])


def _first(report: list[str]) -> str:
    return report[0] if report else "read whole"
