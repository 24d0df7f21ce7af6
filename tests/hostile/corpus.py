"""Broken and hostile files of every kind that a stranger can send, made from sound ones: what goes into which file, and which command meets it.

``cases()`` names them all; ``Case.make`` breaks a copy of the sound folder. Drawn ones (flipped bytes) are functions of their number.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECIPE = """# Tiny: for tests.
defaults:
  - llama_tiny
  - override /tokenizer: byte
  - override /data: text
  - override /optimizer: adamw
model: {d_model: 16, n_layers: 1, context_length: 16, attention: {n_heads: 2, n_kv_heads: 1}}
data: {path: ./text.txt, split_on: blank_lines}
task: {batch_size: 8, validation_every: 2, samples: 0, judged_samples: 0}
optimizer: {lr: 0.01}
trainer: {max_steps: 2, accelerator: cpu, precision: 32-true, enable_progress_bar: false}
"""
RUN = "runs/tiny/r"
CKPT = f"{RUN}/checkpoints/best.ckpt"
GENERATE = ("generate", "x.ckpt", "--max-new-tokens", "2")
RESUME = ("train", f"resume={RUN}", "trainer.max_steps=3")
IMPORT = ("import", "hf", "--to", "imported")
CONFIG = ("import", "hf", "--config-only")
VALIDATE = ("validate", "recipe=./r.yaml")
TRAIN = ("train", "recipe=./r.yaml")


@dataclass(frozen=True)
class Case:
    """``words``: the command; ``make(folder)``: breaks the copy; ``says``: what the error line names, any of these; ``fine``: it may end well too."""

    name: str
    words: tuple[str, ...]
    make: Callable[[Path], Any]
    says: tuple[str, ...]
    fine: bool = True


# -- whole files ---------------------------------------------------------------------------------------------------------


def text(file: str, content: str | bytes) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        remove(folder / file)
        (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode("utf8"))

    return make


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def node(file: str, what: str) -> Callable[[Path], None]:
    """Something that is no regular file under the name of one."""

    def make(folder: Path) -> None:
        path = folder / file
        remove(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if what == "a fifo":
            os.mkfifo(path)
        elif what == "a folder":
            path.mkdir()
        elif what == "a link to a circle":
            path.symlink_to(path.name)
        elif what == "a link to nothing":
            path.symlink_to("nowhere")
        elif what == "a sparse file of 1 TB":
            path.touch()
            os.truncate(path, 10**12)
        else:
            path.symlink_to(what.removeprefix("a link to "))

    return make


NODES = ("a fifo", "a folder", "a link to /dev/zero", "a link to a circle", "a link to nothing", "a sparse file of 1 TB")
TEXTS: dict[str, str | bytes] = {
    "empty": "",
    "blank": " \n",
    "a zero byte": "\0",
    "no UTF-8": b"\xff\xfe{\x80",
    "words": "hello there",
    "null": "null",
    "a number": "3",
    "a text": '"x"',
    "a list": "[1, 2]",
    "begins an object": '{"a": ',
    "100000 [": "[" * 100_000,
    "20000 [ closed": "[" * 20_000 + "]" * 20_000,
    "100000 objects": '{"a":' * 100_000,
    "an empty object": "{}",
    "a million items": "[" + "0," * 1_000_000 + "0]",
    "a long number": '{"a": ' + "9" * 5000 + "}",
    "infinity": '{"a": 1e999}',
    "an escape sequence": '{"\\u001b[2J": 1}',
}


def files(
    kind: str, file: str, words: tuple[str, ...], *, says: tuple[str, ...] = (), skip: tuple[str, ...] = ()
) -> Iterator[Case]:
    says = says or (Path(file).name,)
    for what, content in TEXTS.items():
        yield Case(f"{kind}/{what}", words, text(file, content), says)
    for what in NODES:
        if what not in skip:
            yield Case(f"{kind}/{what}", words, node(file, what), says)


# -- values in a mapping -------------------------------------------------------------------------------------------------

VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "a text": "x",
    "empty text": "",
    "a path": "../../x",
    "-1": -1,
    "0": 0,
    "1.5": 1.5,
    "nan": float("nan"),
    "1e999": float("inf"),
    "10^9": 10**9,
    "10^12": 10**12,
    "10^19": 10**19,
    "10^400": 10**400,
    "a list": [1, "x"],
    "a mapping": {"name": "x"},
    "a deep list": "DEEP",
    "an escape": "\x1b[31mred\x07\u202e",
    "10 kB": "x" * 10_000,
}


def put(held: Any, path: str, value: Any) -> None:
    *way, last = path.split(".")
    for word in way:
        held = held.setdefault(word, {})
    if value == "DEEP":
        value = []
        for _ in range(300):
            value = [value]
    held[last] = value


def in_json(file: str, path: str, value: Any) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        held = json.loads((folder / file).read_text())
        put(held, path, value)
        (folder / file).write_text(json.dumps(held))

    return make


def without(file: str, name: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        held = json.loads((folder / file).read_text())
        held.pop(name, None)
        (folder / file).write_text(json.dumps(held))

    return make


def in_yaml(file: str, path: str, value: Any) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        import yaml

        held = yaml.safe_load((folder / file).read_text())
        put(held, path, value)
        (folder / file).write_text(yaml.safe_dump(held))

    return make


def in_checkpoint(change: Callable[[dict[str, Any]], Any], file: str = "x.ckpt") -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        import torch

        held = torch.load(folder / file, weights_only=True)
        changed = change(held)
        torch.save(held if changed is None else changed, folder / file)

    return make


def set_in(path: str, value: Any) -> Callable[[Path], None]:
    return in_checkpoint(lambda held: put(held, path, value))


# -- the kinds -----------------------------------------------------------------------------------------------------------


def of_checkpoints() -> Iterator[Case]:
    here = ("x.ckpt",)
    for what, content in TEXTS.items():
        yield Case(f"checkpoint/{what}", GENERATE, text("x.ckpt", content), here, fine=False)
    for what in NODES:
        yield Case(f"checkpoint/{what}", GENERATE, node("x.ckpt", what), here, fine=False)
    for name in ("components", "state_dict", "global_step"):
        for what, value in VALUES.items():
            yield Case(f"checkpoint/{name} {what}", GENERATE, set_in(name, value), here)
    for name in ("schema", "config", "tokenizer", "version", "source"):
        for what, value in VALUES.items():
            yield Case(f"checkpoint/components.{name} {what}", GENERATE, set_in(f"components.{name}", value), here)
    for path in (
        "model.d_model",
        "model.n_layers",
        "model.context_length",
        "model.name",
        "model.attention.n_heads",
        "model",
        "paths",
    ):
        for what, value in VALUES.items():
            yield Case(f"checkpoint/config.{path} {what}", GENERATE, set_in(f"components.config.{path}", value), here)
    for n in (10**6, 10**7):
        yield Case(f"checkpoint/d_model {n}", GENERATE, set_in("components.config.model.d_model", n), here, fine=False)
    for n in (20_000, 2_000_000):
        yield Case(f"checkpoint/n_layers {n}", GENERATE, set_in("components.config.model.n_layers", n), here, fine=False)
    yield Case("checkpoint/config holds itself", GENERATE, in_checkpoint(_cycle), here, fine=False)
    yield Case("checkpoint/config shared 2^60 times", GENERATE, in_checkpoint(_shared), here, fine=False)
    yield Case("checkpoint/keys are numbers", GENERATE, in_checkpoint(lambda c: c["components"]["config"].update({3: 4})), here)
    yield Case("checkpoint/_target_", GENERATE, set_in("components.config.model._target_", "os.system"), here, fine=False)
    for file in ("tokenizer.json", "components.json", "special_tokens_map.json", "tokenizer_config.json", "labels.json"):
        for what, content in TEXTS.items():
            if isinstance(content, str):
                make = in_checkpoint(lambda c, f=file, t=content: c["components"]["tokenizer"].update({f: t}))
                yield Case(f"checkpoint/tokenizer {file} {what}", GENERATE, make, here)
    for name in ("vocab_size", "begins", "ends", "starts"):
        for what, value in VALUES.items():
            held = json.dumps({name: value if value != "DEEP" else [[[]]]})
            make = in_checkpoint(lambda c, t=held: c["components"]["tokenizer"].update({"components.json": t}))
            yield Case(f"checkpoint/components.json {name} {what}", GENERATE, make, here)
    for what, name in {"a number": 5, "a path": "../../outside/victim", "absolute": "/tmp/victim", "empty": ""}.items():
        make = in_checkpoint(lambda c, n=name: c["components"]["tokenizer"].update({n: "x"}))
        yield Case(f"checkpoint/tokenizer file named {what}", GENERATE, make, here, fine=False)
    make = in_checkpoint(lambda c: c["components"]["tokenizer"].update({"x.json": "\ud800"}))
    yield Case("checkpoint/tokenizer with half a pair", GENERATE, make, here, fine=False)
    yield Case("checkpoint/pickled code", GENERATE, _pickled, here, fine=False)
    yield Case("checkpoint/a packed archive", GENERATE, _packed, here, fine=False)
    for what, change in {"complex": "complex64", "whole": "int64", "expanded": "", "sparse": "sparse"}.items():
        yield Case(f"checkpoint/weights {what}", GENERATE, in_checkpoint(lambda c, w=change: _weights(c, w)), here, fine=False)
    for i in range(32):
        yield Case(f"checkpoint/flipped {i}", GENERATE, flipped("x.ckpt", i), here)
    for i in range(8):
        yield Case(f"checkpoint/cut {i}", GENERATE, shortened("x.ckpt", (i + 1) / 9), here, fine=False)


def _cycle(held: dict[str, Any]) -> None:
    config = held["components"]["config"]
    config["callbacks"] = config


def _shared(held: dict[str, Any]) -> None:
    value: Any = [1]
    for _ in range(60):
        value = [value, value]
    held["components"]["config"]["callbacks"] = {"a": value}


def _weights(held: dict[str, Any], how: str) -> None:
    import torch

    for name, tensor in held["state_dict"].items():
        made = torch.zeros(1).expand(tensor.shape) if not how else tensor.to_sparse() if how == "sparse" else None
        held["state_dict"][name] = tensor.to(getattr(torch, how)) if made is None else made


class _Code:
    def __reduce__(self) -> Any:
        return os.system, ("touch ../outside/ran",)


def _pickled(folder: Path) -> None:
    import torch

    torch.save({"components": _Code(), "state_dict": {}, "global_step": 1}, folder / "x.ckpt")


def _packed(folder: Path) -> None:
    with zipfile.ZipFile(folder / "x.ckpt") as sound:
        members = {n: sound.read(n) for n in sound.namelist()}
    with zipfile.ZipFile(folder / "x.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr("archive/data/bomb", b"\0" * 10**8)


def flipped(file: str, seed: int) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        held = bytearray((folder / file).read_bytes())
        at = random.Random(seed).randrange(len(held))
        held[at] ^= 1 << (seed % 8)
        (folder / file).write_bytes(held)

    return make


def shortened(file: str, share: float) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / file, int((folder / file).stat().st_size * share))


def of_runs() -> Iterator[Case]:
    for file in ("config.yaml", "run.json"):
        yield from files(f"run {file}", f"{RUN}/{file}", RESUME, says=(file, "run.json", RUN))
    for file in ("run.json", "summary.json"):
        yield from files(f"runs {file}", f"{RUN}/{file}", ("runs",), says=(file,))
    for file in ("metrics.csv", "summary.json", "config.yaml"):
        yield from files(f"compare {file}", f"{RUN}/{file}", ("runs", RUN, "runs/tiny/s"), says=(file, RUN))
    cells = {"nan": "nan", "infinite": "inf", "1e400": "1e400", "a text": "x", "-1": "-1", "an escape": "\x1b[2J"}
    for what, cell in cells.items():
        row = f"step,epoch,tokens,seconds,train_loss\n{cell},0,1,1,{cell}\n"
        yield Case(
            f"run metrics.csv/step {what}", ("runs", RUN, "runs/tiny/s"), text(f"{RUN}/metrics.csv", row), ("metrics.csv",)
        )
        yield Case(f"resume metrics.csv/step {what}", RESUME, text(f"{RUN}/metrics.csv", row), ("metrics.csv",))
    yield from files("resume metrics.csv", f"{RUN}/metrics.csv", RESUME, skip=("a link to nothing",))
    for path in (
        "model.d_model",
        "model.n_layers",
        "model.name",
        "task.batch_size",
        "trainer.max_steps",
        "seed",
        "paths",
        "model.layers",
    ):
        for what, value in VALUES.items():
            if what not in ("10^400", "true", "null", "0") or path.startswith("model.d"):
                yield Case(
                    f"run config/{path} {what}",
                    RESUME,
                    in_yaml(f"{RUN}/config.yaml", path, value),
                    ("config.yaml", path, "resume"),
                )
    yield Case(
        "run config/another tokenizer",
        RESUME,
        in_yaml(f"{RUN}/config.yaml", "model.d_model", 32),
        ("ckpt", "config.yaml"),
        fine=False,
    )
    for name in ("began", "difference", "resumed", "total_steps"):
        for what, value in VALUES.items():
            yield Case(f"run about/{name} {what}", ("runs",), in_json(f"{RUN}/run.json", name, value), ("run.json",))
    elsewhere = in_yaml(f"{RUN}/config.yaml", "paths", {"runs": "../outside", "cache": "../outside/cache"})
    yield Case("run paths/elsewhere", RESUME, elsewhere, ())
    yield Case("run environment", RESUME, in_yaml(f"{RUN}/config.yaml", "seed", "${oc.env:HOME}"), ("config.yaml",), fine=False)
    stored = set_in("components.config.paths", {"runs": "../outside", "cache": "../outside/cache"})
    yield Case("checkpoint paths/elsewhere", ("evaluate", "x.ckpt"), stored, ("x.ckpt",))


FIELDS = (
    *("architectures", "model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
    *("intermediate_size", "hidden_act", "vocab_size", "max_position_embeddings", "rms_norm_eps", "rope_theta"),
    *("tie_word_embeddings", "attention_bias", "head_dim", "rope_scaling", "rope_parameters", "text_config", "sliding_window"),
)


def of_foreign() -> Iterator[Case]:
    yield from files("config.json", "hf/config.json", CONFIG)
    for name in FIELDS:
        yield Case(f"config.json/without {name}", CONFIG, without("hf/config.json", name), ("config.json",))
        for what, value in VALUES.items():
            yield Case(f"config.json/{name} {what}", CONFIG, in_json("hf/config.json", name, value), ("config.json",))
    for name in ("hidden_size", "num_hidden_layers", "vocab_size", "intermediate_size", "head_dim", "num_attention_heads"):
        for value in (10**5, 10**8, 10**12):
            yield Case(
                f"import/{name} {value}", IMPORT, in_json("hf/config.json", name, value), ("config.json", "hf"), fine=False
            )
    yield Case(
        "config.json/unknown field of 1 MB", CONFIG, in_json("hf/config.json", "y" * 10**6, 1), ("config.json",), fine=False
    )
    for label in _architectures():
        for what, held in {"empty": {}, "of layers": {"num_hidden_layers": 10**8, "n_layer": 10**8, "vocab_size": 32}}.items():
            content = json.dumps({"architectures": [label], **held})
            yield Case(
                f"config.json/{label} {what}", CONFIG, text("hf/config.json", content), ("config.json",), fine=what == "empty"
            )
            inner = json.dumps({"architectures": [label], "text_config": held})
            yield Case(
                f"config.json/{label} {what}, within", CONFIG, text("hf/config.json", inner), ("config.json",), fine=False
            )
        texts = json.dumps({"architectures": [label], **dict.fromkeys((*FIELDS[1:], "n_embd", "n_layer", "d_model"), "x")})
        yield Case(f"config.json/{label} of texts", CONFIG, text("hf/config.json", texts), ("config.json",), fine=False)
    for what, content in TEXTS.items():
        yield Case(f"safetensors/{what}", IMPORT, text("hf/model.safetensors", content), ("safetensors", "hf"), fine=False)
        index = "hf/model.safetensors.index.json"
        yield Case(f"safetensors index/{what}", IMPORT, text(index, content), ("index.json",), fine=False)
    for what in NODES:
        yield Case(f"safetensors/{what}", IMPORT, node("hf/model.safetensors", what), ("safetensors", "hf"), fine=False)
    for i in range(8):
        yield Case(
            f"safetensors/cut {i}", IMPORT, shortened("hf/model.safetensors", (i + 1) / 9), ("safetensors", "hf"), fine=False
        )
    for what, names in {"elsewhere": "../outside/x.safetensors", "absolute": "/etc/passwd", "a number": 5}.items():
        made = text("hf/model.safetensors.index.json", json.dumps({"weight_map": {"a": names}}))
        yield Case(f"safetensors index/names {what}", IMPORT, made, ("index.json", "hf"), fine=False)
    for dtype in ("I32", "I8", "BOOL", "F8_E4M3", "U64"):
        yield Case(f"safetensors/declared {dtype}", IMPORT, _declared(dtype), ("hf",), fine=False)


def _architectures() -> list[str]:
    from components.interop.architecture import architectures

    return sorted({a.label for a in architectures()})


def _declared(dtype: str) -> Callable[[Path], None]:
    """The same bytes under another dtype, with the shape that fits them."""

    def make(folder: Path) -> None:
        file = folder / "hf/model.safetensors"
        held = file.read_bytes()
        size = int.from_bytes(held[:8], "little")
        header = json.loads(held[8 : 8 + size])
        width = {"I32": 4, "I8": 1, "BOOL": 1, "F8_E4M3": 1, "U64": 8}[dtype]
        for name, one in header.items():
            if name != "__metadata__":
                one["dtype"] = dtype
                one["shape"] = [*one["shape"][:-1], one["shape"][-1] * 4 // width]
        made = json.dumps(header).encode()
        file.write_bytes(len(made).to_bytes(8, "little") + made + held[8 + size :])

    return make


def of_recipes() -> Iterator[Case]:
    here = ("r.yaml",)
    yield from files("recipe", "r.yaml", VALIDATE, says=("r.yaml",))
    bombs = {
        "bomb in a group": "trainer:\n  a: &a [1,1,1,1,1,1,1,1,1]\n" + _doubling("  ", 9, 30),
        "bomb in a value": "a: &a [1,1,1,1,1,1,1,1,1]\n" + _doubling("", 9, 30),
        "bomb of merges": "a: &a {x: 1}\n"
        + "".join(
            f"b{i}: &b{i} {{<<: [*{'a' if not i else f'b{i - 1}'}, *{'a' if not i else f'b{i - 1}'}]}}\n" for i in range(40)
        ),
        "holds itself": "trainer: &a\n  max_steps: *a\n",
        "merges itself": "trainer: &a\n  <<: *a\n",
        "50000 [": "seed: " + "[" * 50_000,
        "1000 levels": "seed: " + "[" * 1000 + "]" * 1000,
        "10000 lines deep": "".join(" " * i + f"a{i}:\n" for i in range(2000)),
        "interpolation of itself": "seed: ${seed}",
        "a circle of two": "seed: ${trainer.max_steps}\ntrainer: {max_steps: '${seed}'}",
        "10000 nested": "seed: " + "${" * 10_000 + "seed" + "}" * 10_000,
        "environment in seed": "seed: ${oc.env:HOME}",
        "environment in a logger": "logger: {name: wandb, notes: '${oc.env:HOME}'}",
        "environment by a detour": "resume: oc.env\nseed: '${${resume}:HOME}'",
        "decoded": "seed: ${oc.decode:'3'}",
        "paths": "paths: {runs: ../outside}",
        "paths by dots": "paths.cache: ../outside",
        "environment in paths": "paths: {runs: '${oc.env:HOME}'}",
        "hydra": "hydra: {run: {dir: ../outside}}",
        "a group of paths": "defaults: [{override /paths: ../../x}]",
        "builds on itself": "defaults: [./r.yaml]",
        "a parent elsewhere": "defaults: [/etc/passwd]",
        "a device as parent": "defaults: [/dev/zero]",
        "octal": "seed: 0o777\nmodel: {d_model: 0777}",
        "a date": "seed: 2020-01-01",
        "a set": "seed: !!set {a}",
        "a python object": "seed: !!python/object/apply:os.system [touch ../outside/ran]",
        "a long seed": "seed: " + "9" * 5000,
        "layers: a million names": "model: {layers: {" + ", ".join(f"a{i}: {{}}" for i in range(100_000)) + "}}",
        "layers of 10^9": "model: {layers: {first1000000000.attention: none}}",
        "two documents": "seed: 1\n---\nseed: 2\n",
        "a key twice": "seed: 1\nseed: 2\n",
        "unknown tag": "seed: !foo 1",
        "unknown alias": "seed: *nobody",
        "an escape": 'seed: "\\e[2J"\n"\\e[31m": 3',
        "60 MB": "seed: " + "x" * 60_000_000,
    }
    for what, content in bombs.items():
        yield Case(f"recipe/{what}", VALIDATE, text("r.yaml", "# Tiny.\n" + content), here)
    for path in (
        "model.d_model",
        "model.n_layers",
        "model.context_length",
        "seed",
        "model.name",
        "task.num_workers",
        "optimizer.lr",
    ):
        for what, value in VALUES.items():
            yield Case(f"recipe/{path} {what}", VALIDATE, in_yaml("r.yaml", path, value), ("r.yaml", "model"))
    for path, value in {
        "model.d_model": 10**6,
        "model.n_layers": 30_000,
        "model.context_length": 10**9,
        "task.batch_size": 10**12,
        "task.num_workers": 100_000,
    }.items():
        yield Case(
            f"recipe trained/{path} {value}", TRAIN, in_yaml("r.yaml", path, value), ("model", "r.yaml", "task"), fine=False
        )
    learned = text("r.yaml", RECIPE.replace("/tokenizer: byte", "/tokenizer: bpe") + "tokenizer: {vocab_size: 1000000000000}\n")
    yield Case("recipe trained/vocab_size 10^12", TRAIN, learned, ("r.yaml",), fine=False)
    yield Case("recipes/a fifo in the list", ("list",), node("recipes/a.yaml", "a fifo"), ())
    yield Case("recipes/a circle in the list", ("list",), node("recipes/a.yaml", "a link to a circle"), ())
    yield Case("recipes/a fifo is chosen", ("validate", "recipe=a"), node("recipes/a.yaml", "a fifo"), ("recipe", "a"))
    for value in ("9" * 36, "9" * 5000, "[" * 5000, "1e999", "${oc.env:HOME}", "nan"):
        yield Case(
            f"override/d_model={value[:12]} {len(value)}",
            (*VALIDATE, f"model.d_model={value}"),
            lambda _: None,
            ("d_model",),
            fine=False,
        )


def _doubling(indent: str, count: int, levels: int) -> str:
    lines, before = [], "a"
    for i in range(levels):
        lines.append(f"{indent}b{i}: &b{i} [{','.join([f'*{before}'] * count)}]")
        before = f"b{i}"
    return "\n".join(lines) + "\n"


def thinned(made: list[Case], share: int, values: int) -> list[Case]:
    """One in ``share`` of the cases, and one in ``values`` of those that put one of ``VALUES`` into one of many places, and the first of each kind.

    Always the same ones.
    """
    endings = tuple(f" {what}" for what in VALUES)
    first = {c.name.partition("/")[0]: c for c in reversed(made)}
    kept = {c.name for c in made if zlib.crc32(c.name.encode()) % (values if c.name.endswith(endings) else share) == 0}
    return [c for c in made if c.name in kept or c is first[c.name.partition("/")[0]]]


def cases() -> list[Case]:
    """All, in a fixed order."""
    from elsewhere import of_other_rooms
    from folders_of_shards import of_shards
    from hostile_gguf import of_gguf

    kinds = (of_checkpoints, of_runs, of_foreign, of_recipes, of_other_rooms, of_shards, of_gguf)
    made = [c for kind in kinds for c in kind()]
    assert len({c.name for c in made}) == len(made)
    return made
