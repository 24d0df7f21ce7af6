"""A choice that needs a package of an extra says so in one line, and nothing else here imports what is not required."""

from __future__ import annotations

import ast
import struct
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib import import_module, metadata
from pathlib import Path

import pytest
import torchmetrics.functional  # noqa: F401  whole, before a package that it has seen to be there is taken away
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import components
from components.cli import main
from components.core.errors import UserError
from components.core.extras import EXTRA, install
from components.training import devices

SOURCE = Path(components.__file__).parent
REQUIRED = tomllib.loads((SOURCE.parents[1] / "pyproject.toml").read_text())["project"]["dependencies"]


def packages(file: Path) -> Iterator[str]:
    """The top-level names that a file imports or looks for, but for the standard library's and ours."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf8"))):
        names: list[str] = []
        match node:
            case ast.Import():
                names = [a.name for a in node.names]
            case ast.ImportFrom(module=str(module), level=0):
                names = [module]
            case ast.Call(func=ast.Name("find_spec" | "import_module"), args=[ast.Constant(str(name)), *_]):
                names = [name]
        for name in {n.split(".")[0] for n in names}:
            if name not in sys.stdlib_module_names and name not in ("components", "hydra_plugins"):
                yield name


def optional() -> set[tuple[str, str]]:
    """(file, package) of every import of what ``pip install lightning-components`` does not ask for."""
    required = {canonicalize_name(Requirement(line).name) for line in REQUIRED}
    brings = metadata.packages_distributions()
    return {
        (file.relative_to(SOURCE).as_posix(), name)
        for file in SOURCE.rglob("*.py")
        for name in packages(file)
        if not required & {canonicalize_name(d) for d in brings.get(name, ())}
    }


def small_gguf() -> bytes:
    """The head of a Llama in GGUF, with its embedding alone: what is read before a package is needed."""

    def text(said: str) -> bytes:
        return struct.pack("<Q", len(said)) + said.encode()

    sizes = ("context_length", "block_count", "feed_forward_length", "embedding_length", "attention.head_count")
    pairs = [text("general.architecture") + struct.pack("<I", 8) + text("llama")]
    pairs += [text(f"llama.{name}") + struct.pack("<II", 4, 4) for name in sizes]
    tensor = text("token_embd.weight") + struct.pack("<IQQIQ", 2, 4, 8, 0, 0)
    return b"GGUF" + struct.pack("<IQQ", 3, 1, len(pairs)) + b"".join(pairs) + tensor + bytes(200)


def command(*words: str) -> Callable[[Path], None]:
    """What the user types, in a folder with files of every kind."""

    def choose(folder: Path) -> None:
        (folder / "rows.jsonl").write_text('{"text": "a b", "label": "x"}\n')
        (folder / "rows.parquet").write_bytes(b"PAR1")
        (folder / "pairs.tsv").write_text("source\ttarget\n" + "".join(f"{i} a\t{i} b\n" for i in range(200)))
        (folder / "model.gguf").write_bytes(small_gguf())
        (folder / "older").mkdir()
        (folder / "older" / "vocab.txt").write_text("[PAD]\n[UNK]\na\n")
        raise SystemExit(main(list(words)))

    return choose


def in_float8(folder: Path) -> None:
    """As on a device that multiplies fp8, which is asked about first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "multiplies_float8", lambda _: True)
        command("train", "recipe=llama_tiny", "trainer.precision=fp8-mixed")(folder)


# (file, package) -> a choice that gets there
CHOICES: dict[tuple[str, str], Callable[[Path], None]] = {
    ("parts/data/_hub.py", "datasets"): command("train", "data=hf", "data.path=rows.jsonl"),
    ("parts/data/_tables.py", "pyarrow"): command("train", "data=text", "data.path=rows.parquet"),
    ("parts/data/babel_dates.py", "babel"): command("train", "recipe=ladder/11_translation"),
    ("parts/data/_catalogues.py", "django"): command("train", "recipe=ladder/13_classify"),
    ("parts/data/digits.py", "sklearn"): command("train", "recipe=ladder/15_patches"),
    ("training/wandb.py", "wandb"): command("train", "logger=wandb"),
    ("training/mlflow_lineage.py", "mlflow"): command("train", "logger=mlflow"),
    ("training/callback/device_stats.py", "psutil"): command(
        "train", "callbacks.device_stats={cpu_stats: true}", "logger=wandb"
    ),
    ("corpus/foreign.py", "transformers"): command("train", "tokenizer=pretrained", "tokenizer.path=older"),
    ("interop/gguf_file.py", "gguf"): command("import", "model.gguf", "--to", "mine"),
    ("corpus/near_duplicates.py", "datasketch"): command(
        "train", "data=text", "data.path=pairs.tsv", "task.near_duplicates=0.8"
    ),
    ("training/float8.py", "torchao"): in_float8,
    **{
        ("interop/program.py", name): command("export", "a_run", "--to", "mine/model.onnx")
        for name in ("onnx", "onnxruntime", "onnxscript")
    },
    ("studies/statistics.py", "scipy"): command("ablate", "recipe=llama_tiny", "model/norm=rms,layer"),
    ("studies/sizes/law.py", "scipy"): command("scale", "recipe=llama_tiny"),
    ("evaluating/harness.py", "lm_eval"): command("evaluate", "a_run", "harness=[arc_easy]"),
    ("evaluating/bleu.py", "regex"): command(
        "train", "recipe=ladder/11_translation", "data=text_pairs", "data.path=pairs.tsv", "task.bleu_tokenize=intl"
    ),
}
# imported by no file of ours, but by a library that we call
WITHIN: dict[str, Callable[[Path], None]] = {"tensorboard": command("train", "logger=tensorboard")}
# taken where it is installed, and nothing but time is lost where it is not: tests/corpus/test_encode_by_ranks.py
FASTER = {("corpus/encode_by_ranks.py", "tiktoken")}
# compared with where it is installed, and asked for by --check alone: tests/interop/test_agreement.py
COMPARED = {("interop/agreement.py", "transformers")}
# imported by the user, who has transformers: tests/interop/test_auto_classes.py
TAUGHT = {("interop/transformers.py", "transformers")}
# converts the tokenizer inside of a GGUF file, which the package gguf has read by then: tests/interop/test_gguf.py
INSIDE = {("runs/gguf_tokenizer.py", "transformers")}
# reached by way of evaluating/harness.py alone, which has looked for it
BEHIND = {("evaluating/lm_eval_model.py", "lm_eval")}
BESIDE = {"sentencepiece", "tiktoken"}  # transformers reads a format with them, and says so itself; they come in its extra


@pytest.fixture
def missing(monkeypatch):
    """As if a package were not installed."""

    def hide(package: str) -> None:
        for name in [n for n in sys.modules if n.split(".")[0] == package]:
            monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.setitem(sys.modules, package, None)

    return hide


def test_every_optional_import_has_a_choice_here():
    assert optional() == set(CHOICES) | FASTER | COMPARED | TAUGHT | INSIDE | BEHIND
    assert {package for _, package in CHOICES} | set(WITHIN) | BESIDE == set(EXTRA)


@pytest.mark.parametrize(
    ("package", "choose"),
    [*((package, choose) for (_, package), choose in CHOICES.items()), *WITHIN.items()],
    ids=[*(package for _, package in CHOICES), *WITHIN],
)
def test_the_choice_names_its_extra_in_one_line(package, choose, missing, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    missing(package)
    with pytest.raises(SystemExit) as left:
        choose(tmp_path)
    (said,) = capsys.readouterr().err.splitlines()
    assert left.value.code == 2
    assert said.endswith(install(package)), said
    assert not (tmp_path / "runs").exists()


def test_teaching_transformers_without_it_names_its_extra(missing, monkeypatch):
    missing("transformers")
    monkeypatch.delitem(sys.modules, "components.interop.transformers", raising=False)
    with pytest.raises(UserError, match="interop") as said:
        import_module("components.interop.transformers")
    assert str(said.value).endswith(install("transformers"))


def test_a_launcher_that_is_not_installed_is_named_with_its_package(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--multirun", "seed=1,2", "hydra/sweeper=optuna"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.endswith("; pip install hydra-optuna-sweeper"), said
