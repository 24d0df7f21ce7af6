"""What TAB offers: tested on the candidates, and once through a real bash."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from components.cli import main
from components.cli.complete import candidates
from components.cli.verbs import verbs
from components.compose import compose
from components.compose.completion_tree import PartialRun
from components.core import registry
from components.core.resources import recipe_files


def test_commands():
    assert candidates([""]) == list(verbs())
    assert candidates(["tr"]) == ["train"]
    assert candidates(["nope", ""]) == []


def test_groups_parts_and_recipes():
    assert "model/attention=" in candidates(["train", "model/"])
    assert candidates(["train", "model/atten"]) == ["model/attention="]
    assert candidates(["train", "model/attention=g"]) == [
        f"model/attention={n}" for n in registry.names("attention") if n.startswith("g")
    ]
    assert set(candidates(["train", "optimizer="])) == {f"optimizer={n}" for n in registry.names("optimizer")}
    assert "recipe=gpt_python" in candidates(["train", "recipe="])
    assert "recipe=" in candidates(["validate", "rec"])


def test_options_of_the_part_that_is_chosen():
    rotary, bias = registry.entry("position", "rope").signature.options, registry.entry("position", "alibi").signature.options
    assert rotary.keys() != bias.keys(), "or this test shows nothing"
    for name, options in (("rope", rotary), ("alibi", bias)):
        assert candidates(["train", f"model/position={name}", "model.position."]) == [f"model.position.{o}=" for o in options]
    assert candidates(["train", "model.position=alibi", "model.position."]) == [f"model.position.{o}=" for o in bias]
    assert candidates(["train", "model/position=unfinish", "model.position."]) == []


def test_a_socket_that_inherits_offers_what_it_inherits():
    options = registry.entry("norm", "layer").signature.options
    assert candidates(["train", "model/norm=layer", "model.final_norm."]) == [f"model.final_norm.{o}=" for o in options]


def test_the_recipe_chooses(tmp_path, monkeypatch):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "parent.yaml").write_text(
        "# P.\ndefaults:\n  - override /model/position: alibi\nmodel:\n  attention: mqa\n  pattern: [near, far]\n"
    )
    (tmp_path / "recipes" / "mine.yaml").write_text("# M.\ndefaults:\n  - parent\n")
    monkeypatch.chdir(tmp_path)
    assert "recipe=mine" in candidates(["train", "recipe=m"])
    options = registry.entry("position", "alibi").signature.options
    assert candidates(["train", "recipe=mine", "model.position."]) == [f"model.position.{o}=" for o in options]
    assert candidates(["train", "recipe=mine", "model.layers."])[:2] == ["model.layers.near.", "model.layers.far."]


def test_layers_go_to_their_sockets():
    assert "model.layers.from8." in candidates(["train", "model.layers."])
    assert "model.layers.last.attention=" in candidates(["train", "model.layers.last."])
    assert "model.layers.last.d_model=" not in candidates(["train", "model.layers.last."])
    assert "model.layers.last.attention=mqa" in candidates(["train", "model.layers.last.attention="])
    assert "model.layers.last.attention.n_heads=" in candidates(["train", "model.layers.last.attention.n"])


def test_values():
    assert candidates(["train", "optimizer.decay_embedding="]) == [
        "optimizer.decay_embedding=true",
        "optimizer.decay_embedding=false",
    ]
    assert "model.final_norm=inherit" in candidates(["train", "model.final_norm="])
    assert "model.attention.qk_norm_at=before" in candidates(["train", "model.attention.qk_norm_at="])
    assert "model/norm=rms,layer" in candidates(["train", "--multirun", "model/norm=rms,l"])
    assert candidates(["train", "+model/norm=r"]) == ["+model/norm=rms"]


def test_groups_of_files():
    assert "logger=wandb" in candidates(["train", "logger="])
    assert "trainer.max_steps=" in candidates(["train", "trainer.max_s"])
    assert "seed=" in candidates(["train", "se"])


def test_runs(tmp_path, monkeypatch):
    folder = tmp_path / "runs" / "gpt_python" / "2026-01-02"
    folder.mkdir(parents=True)
    (folder / "config.yaml").touch()
    monkeypatch.chdir(tmp_path)
    name = "runs/gpt_python/2026-01-02"
    assert candidates(["generate", ""]) == [name]
    assert candidates(["runs", name, "ru"]) == [name]
    assert candidates(["train", "resume="]) == ["resume=auto", f"resume={name}"]
    assert "decoding=" in candidates(["generate", name, "dec"])
    assert candidates(["evaluate", "elsewhere/"]) == []


def test_show_and_list():
    assert "attention/gqa" in candidates(["show", "attention/"])
    assert "recipe=" in candidates(["show", ""])
    assert "norm" in candidates(["list", "n"])
    assert candidates(["completion", "b"]) == ["bash"]
    assert "--json" in candidates(["list", "--"])


@pytest.mark.parametrize(
    "word",
    [
        "=",
        "..=",
        "model..",
        "/",
        "model/attention=gqa=",
        "recipe=a",
        "~",
        "@",
        "model.layers.nope.",
        "--",
        "model.attention.mask.x.y.z",
    ],
)
def test_no_line_breaks_it(word):
    assert isinstance(candidates(["train", "recipe=", "recipe=x", word]), list)
    assert main(["complete", "--", "train", word]) == 0


@pytest.mark.parametrize(
    ("line", "replies"),
    [
        ("components train model/atten", ["model/attention="]),
        ("components train model/attention=gq", ["gqa "]),  # bash has kept what stands before its word break
        ("components train model/attention=mqa model.attention.n_kv", ["model.attention.n_kv_heads="]),
        ("components li", ["list "]),
        ("components list no", ["norm "]),
    ],
)
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_in_a_real_bash(line, replies, tmp_path):
    command = tmp_path / "components"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m components "$@"\n')
    command.chmod(0o755)
    script = (
        'PATH="$1:$PATH"; source <(components completion bash); complete -p components >&2; '
        'COMP_LINE="$2"; COMP_POINT=${#COMP_LINE}; _components; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", script, "bash", str(tmp_path), line], capture_output=True, text=True, timeout=60, cwd=Path.home()
    )
    assert done.stdout.split("\n")[:-1] == replies, done.stderr
    assert "-F _components components" in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_a_script(shell, capsys):
    assert main(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert "complete --" in out
    assert "_components" in out


@pytest.mark.parametrize("recipe", sorted(recipe_files()))
def test_the_parts_that_completion_sees_are_those_that_are_composed(recipe):
    config = compose(recipe, []).config
    real = {
        label for kind in registry.KINDS if "name" in (config.get(kind) or {}) for label in _labels(kind, config[kind], config)
    }
    assert len(real) > 12  # a network of layers without attention has few
    assert real <= PartialRun([f"recipe={recipe}"]).used()


def _labels(kind: str, node: dict, config: dict) -> set[str]:
    """Of a spelled-out node and all nodes inside it."""
    options = registry.entry(kind, node["name"]).signature.options
    found = {f"{kind}/{node['name']}"} | ({f"{kind}/{node['preset']}"} if "preset" in node else set())
    for name, value in node.items():
        for inner in value if isinstance(value, list) else [value]:
            if name in options and options[name].type.kind and isinstance(inner, dict):
                found |= _labels(options[name].type.kind, inner, config)
    for sockets in (node.get("layers") or {}).values() if isinstance(node.get("layers"), dict) else ():
        for name, value in sockets.items():
            found |= _labels(options[name].type.kind, value, config) if isinstance(value, dict) else set()
    return found


def test_it_imports_neither_hydra_nor_torch():
    words = [
        "train",
        "recipe=gpt_python",
        "model/attention=mla",
        "model.layers.last.norm=layer",
        "model.layers.last.attention.",
    ]
    code = (
        "import sys\n"
        "from components.cli.complete import candidates\n"
        f"assert candidates({words})\n"
        "heavy = {'torch', 'hydra', 'omegaconf', 'antlr4', 'lightning'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_what_inherits_is_what_train_takes():
    """The stack's embedding_norm is the model's, which is none here, although the stack has a norm too."""
    assert candidates(["train", "model.embedding_norm=none", "model.stack.embedding_norm."]) == []
    assert candidates(["train", "model.embedding_norm=layer", "model.stack.embedding_norm."])


def test_a_layer_offers_what_it_has():
    options = registry.entry("attention", "mla").signature.options
    words = ["train", "model.layers.from1.attention=mla", "model.layers.last.attention."]
    assert [c for c in candidates(words) if c.endswith("=")] == [f"model.layers.last.attention.{o}=" for o in options]


@pytest.mark.parametrize(
    "word",
    [
        "model.attention={name: [a]}",
        "model={3: 4}",
        "decoding.samplers=[{name: [a]}, {}]",
        "model.layers={3: {4: gqa}}",
        "model.attention=&a [*a]",
        "model.attention={_target_: x}",
        "model.n_layers=99999999999999999999999",
        "model.pattern=3",
        "model=2020-01-01",
    ],
)
def test_what_does_not_fit_is_left_out(word):
    assert candidates(["train", "model.norm=layer", word, "optimizer.l"]) == ["optimizer.lr="]
