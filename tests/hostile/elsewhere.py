"""Hostile files of the rooms beside: tokenizers, chat templates, prompts, data, what a resumed checkpoint holds, links to write through."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from corpus import IMPORT, NODES, RESUME, RUN, TRAIN, VALUES, Case, files, in_checkpoint, in_json, node, text

TEMPLATES = {
    "9**10^7": "{{ 9**10000000 }}",
    "a format width": "{{ '%1000000000d' % 3 }}",
    "center": "{{ 'x'.center(10000000000) }}",
    "divide by zero": "{{ 1 / 0 }}",
    "doubling": "{% set ns = namespace(x='xx') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
    "range 10^5 squared": "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "slice 0": "{{ messages[::0] }}",
    "tojson indent": "{{ messages | tojson(indent=1000000000) }}",
    "wordwrap": "{{ 'a b' | wordwrap(0) }}",
    "x * 10^10": "{{ 'x' * 10000000000 }}",
    "attributes": "{{ ''.__class__.__mro__ }}",
    "broken": "{% for",
}


def of_other_rooms() -> Iterator[Case]:
    chat = ("chat", "x.ckpt", "--template", "t.jinja", "--max-new-tokens", "2")
    for what, content in TEMPLATES.items():
        yield Case(f"template/{what}", chat, text("t.jinja", content), ("template", "t.jinja"))
    yield Case("template/a fifo", chat, node("t.jinja", "a fifo"), ("t.jinja",))
    yield from of_tokenizers()
    yield Case(
        "prompt/score a fifo", ("generate", "x.ckpt", "--score", "f.txt"), node("f.txt", "a fifo"), ("f.txt",), fine=False
    )
    for what, words in {
        "tokens 10^30": ("--max-new-tokens", "1" + "0" * 30),
        "samples 10^9": ("--samples", "1000000000"),
    }.items():
        yield Case(f"prompt/{what}", ("generate", "x.ckpt", *words), lambda _: None, (words[0], "x.ckpt"), fine=False)
    for file, content in {
        "x.csv": "a,b\n",
        "x.jsonl": "",
        "x.json": "[" * 100_000,
        "x.txt": "a",
    }.items():
        yield Case(f"data/{file} {len(content)}", (*TRAIN, f"data.path={file}"), text(file, content), (file,))
    for what in NODES:
        yield Case(f"data/{what}", (*TRAIN, "data.path=x.txt"), node("x.txt", what), ("x.txt",), fine=False)
    changes: dict[str, Callable[[dict[str, Any]], Any]] = {
        "loops {}": lambda c: c.update(loops={}),
        "loops a text": lambda c: c.update(loops="x"),
        "lr_schedulers [{}]": lambda c: c.update(lr_schedulers=[{}]),
        "optimizer_states a text": lambda c: c.update(optimizer_states="x"),
        "no optimizer_states": lambda c: c.pop("optimizer_states"),
        "callbacks a list": lambda c: c.update(callbacks=[1]),
        "random a text": lambda c: c["components"].update(random="x"),
    }
    for what, change in changes.items():
        made = in_checkpoint(change, f"{RUN}/checkpoints/last.ckpt")
        # Lightning's counts of steps are made from the checkpoint's step, and not read
        yield Case(f"resume/{what}", RESUME, made, ("last.ckpt",), fine=what.startswith("loops"))
    for file in (
        "samples.txt",
        "curves.png",
        "summary.json",
        "metrics.csv",
        "run.json",
        "config.yaml",
        "tokenizer.json",
        "checkpoints/best.ckpt.part",
        "summary.part",
    ):
        yield Case(f"link/{file}", RESUME, linked(f"{RUN}/{file}"), (Path(file).name, "link"))


def linked(file: str) -> Callable[[Path], None]:
    """The file moved out of the folder, a link to it in its place."""

    def make(folder: Path) -> None:
        path, victim = folder / file, folder.parent / "outside" / Path(file).name
        if path.exists():
            shutil.copy(path, victim)
            path.unlink()
        else:
            victim.write_text("keep")
        path.symlink_to(victim)

    return make


def of_tokenizers() -> Iterator[Case]:
    for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"):
        yield from files(f"tokenizer {file}", f"hf/{file}", IMPORT, says=(file, "hf"))
    for name in (
        "added_tokens_decoder",
        "extra_special_tokens",
        "additional_special_tokens",
        "bos_token",
        "chat_template",
        "add_bos_token",
    ):
        for what, value in VALUES.items():
            made = in_json("hf/tokenizer_config.json", name, value)
            yield Case(f"tokenizer/{name} {what}", IMPORT, made, ("tokenizer", "hf"))
    for what, value in VALUES.items():
        made = in_json("hf/generation_config.json", "eos_token_id", value)
        yield Case(f"tokenizer/eos_token_id {what}", IMPORT, made, ("generation_config.json", "hf"))
    many = json.dumps({"added_tokens_decoder": {"1000000000": {"content": "<x>"}}})
    yield Case("tokenizer/an id of 10^9", IMPORT, text("hf/tokenizer_config.json", many), ("tokenizer", "hf"))
