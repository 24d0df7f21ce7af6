"""``components push`` and ``components import hf://``, by ``huggingface_hub`` against a small hub on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import checkpoints as made
import huggingface_hub
import pytest
import yaml
from hub_server import hub
from huggingface_hub import constants

import components
from components.cli import main
from components.core.errors import UserError
from components.interop import convert
from components.interop.architecture import architectures
from components.runs import hub as ours

WORDS = [
    *(
        "model/attention=gated_delta_net",
        "model/position=none",
        "model.d_model=16",
        "model.context_length=16",
        "model.n_layers=1",
    ),
    *("data=text", "data.path=text.txt", "trainer.max_steps=2", "trainer.accelerator=cpu", "trainer.precision=32-true"),
    *("task.samples=0", "task.judged_samples=0", "task.validation_every=2", "task.batch_size=4"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of a model that is no known architecture."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("text.txt").write_text("\n\n".join(f"the stone number {i} is here" for i in range(120)))
        return components.train("llama_tiny", WORDS, quiet=True).folder.resolve()


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A hub without models, and a folder and a cache that are empty; who asks may write."""
    known = [a for a in architectures() if a.label in ("LlamaForCausalLM", "GPT2LMHeadModel")]
    with hub() as server:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HF_TOKEN", "hf_writes")
        monkeypatch.setattr(convert, "architectures", lambda: known)  # asking them all takes seconds
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no_token"))
        yield server


def in_memory(folder: Path) -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in folder.iterdir()}


def one_line(capsys) -> str:
    """The error, last and whole: a bar of the download may stand before it."""
    *before, said = capsys.readouterr().err.splitlines()
    assert said.startswith("error: ")
    assert not any("error" in line or "Traceback" in line for line in before)
    return said


def test_a_run_is_pushed_and_comes_back(trained, there, capsys):
    assert main(["push", str(trained), "ada/tiny", "--private"]) == 0
    said = capsys.readouterr().out
    assert f"hub: {there.url}/ada/tiny, commit " in said
    assert "ada/tiny" in there.private
    sha, files = there.at("ada/tiny", "main")
    assert main(["export", str(trained), "--to", "out"]) == 0
    assert {**in_memory(Path("out")), ".gitattributes": files[".gitattributes"]} == files
    assert main(["import", "hf://ada/tiny", "--to", "runs/back"]) == 0
    assert json.loads(Path("runs/back/run.json").read_text())["imported"] == f"hf://ada/tiny@{sha}"
    told = [components.load(run, ["decoding=greedy"]).generate("the ", max_new_tokens=8) for run in (trained, "runs/back")]
    assert told[0] == told[1]


def test_pushed_again_it_is_one_commit_in_which_a_card_of_the_users_stays(trained, there, capsys):
    there.commit("ada/tiny", {"README.md": b"mine", "model-00001-of-00002.safetensors": b"old", "notes.txt": b"kept"})
    assert main(["push", str(trained), "ada/tiny"]) == 0
    assert "left as it is; --card replaces it" in capsys.readouterr().out
    assert len(there.models["ada/tiny"]["main"]) == 2
    files = there.at("ada/tiny", "main")[1]
    assert files["README.md"] == b"mine"
    assert files["notes.txt"] == b"kept"
    assert [f for f in files if f.endswith(".safetensors")] == ["model.safetensors"]
    assert main(["push", str(trained), "ada/tiny", "--card", "--branch", "second"]) == 0
    assert there.at("ada/tiny", "second")[1]["README.md"].startswith(b"---\n")
    assert there.at("ada/tiny", "main")[1]["README.md"] == b"mine"


@pytest.mark.usefixtures("there")
def test_the_card_says_what_the_run_is(trained):
    assert main(["export", str(trained), "--to", "out"]) == 0
    text = Path("out/README.md").read_text()
    card = huggingface_hub.ModelCard(text)
    about, figures = (json.loads((trained / f"{n}.json").read_text()) for n in ("run", "summary"))
    assert card.data.library_name == "lightning-components"
    assert card.data.license is None
    assert "# license: say it before you publish" in text
    measured = {r.metric_name: r.metric_value for r in card.data.eval_results}
    assert measured["best_val_loss"] == figures["best_val_loss"]
    assert f"`{about['data']['hash']}`" in text
    assert "| attention | gated_delta_net |" in text
    assert "- `model.attention: gqa -> gated_delta_net`" in text
    assert str(Path.home()) + "/" not in text
    block = text.split("```py\n")[1].split("```")[0].replace("FOLDER_OR_NAME", "'out'")
    pytest.importorskip("transformers")
    names: dict[str, object] = {}
    exec(block, names)  # the lines that the card says are run
    assert type(names["model"]).__name__ == "ComponentsForCausalLM"


def test_the_command_is_said_as_it_was_typed():
    from components.runs.model_card import command_line

    words = ["/opt/venv/bin/components", "train", f"data.path={Path.home()}/my book.txt", "model.layers.last={norm: rms}"]
    assert command_line(words) == "components train 'data.path=~/my book.txt' 'model.layers.last={norm: rms}'"


def test_only_what_is_read_is_fetched_and_pickles_never(there, tmp_path):
    files = in_memory(made.gpt2(tmp_path / "theirs"))
    more = {
        "pytorch_model.bin": b"code",
        "run.py": b"code",
        "consolidated.safetensors": b"twice",
        "onnx/config.json": b"{}",
        "a.png": b"",
    }
    first = there.commit("ada/gpt2", files | more)
    there.commit("ada/gpt2", {"config.json": b"{}"})
    assert main(["import", f"ada/gpt2@{first[:40]}", "--to", "run"]) == 0
    fetched = {path.partition("/resolve/")[2].partition("/")[2] for _, path in there.asked if "/resolve/" in path}
    assert fetched == {f for f in files if f.endswith((".json", ".safetensors", ".txt"))}
    assert main(["import", f"hf://ada/gpt2@{first}", "--config-only"]) == 0


def test_of_weights_in_several_forms_one_is_read():
    both = ["config.json", "model.safetensors", "consolidated.safetensors", "adapter_model.safetensors"]
    assert ours.needed(both) == ["adapter_model.safetensors", "config.json", "model.safetensors"]
    shards = ["a.safetensors", "b.safetensors", "c.safetensors"]
    assert ours.needed(shards) == shards
    assert ours.needed(shards, {"x": "a.safetensors", "y": "b.safetensors"}) == shards[:2]


WRONG = {
    "hf://ada/nobody": "there is none of that name that you may see",
    "hf://ada/gated": "it is gated",
    "hf://ada/gpt2@never": "it has no such revision",
    "hf://ada/../gpt2": "there is no such folder",
}


@pytest.mark.parametrize("name", WRONG)
def test_what_the_hub_does_not_give_is_one_line(name, there, capsys):
    there.commit("ada/gpt2", {"config.json": b"{}"})
    assert main(["import", name, "--to", "run"]) == 2
    assert WRONG[name] in one_line(capsys)
    assert not Path("run").exists()


def test_a_download_that_breaks_leaves_no_run(there, tmp_path, capsys):
    files = in_memory(made.gpt2(tmp_path / "theirs"))
    there.commit("ada/gpt2", files)
    at = there.at("ada/gpt2", "main")[1]
    at["model.safetensors"] = at["model.safetensors"][:-100]  # what arrives is not what was written
    assert main(["import", "ada/gpt2", "--to", "run"]) == 2
    assert "model.safetensors" in one_line(capsys)
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("token", "name", "said"),
    [
        ("", "ada/tiny", "there is no token"),
        ("hf_wrong", "ada/tiny", "the token is not valid"),
        ("hf_reads", "ada/tiny", "has no right to that"),
        ("hf_writes", "grace/tiny", "has no right to that"),
        ("hf_writes", "tiny", "is no name on the hub"),
    ],
)
def test_a_push_that_may_not_be_is_one_line_and_writes_nothing(token, name, said, trained, there, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", token)
    assert main(["push", str(trained), name]) == 2
    assert said in one_line(capsys)
    assert not there.models
    assert not there.objects


@pytest.mark.usefixtures("there")
def test_no_network_is_one_line(trained, monkeypatch, capsys):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    for words in (["push", str(trained), "ada/tiny"], ["import", "hf://ada/tiny", "--to", "run"]):
        assert main(words) == 2
        assert "see that the network and HF_ENDPOINT are right" in one_line(capsys)
    assert not Path("run").exists()


def test_metadata_is_yaml_that_names_the_model_it_is_from():
    from components.runs.model_card import metadata

    held = yaml.safe_load(metadata("LlamaForCausalLM", "mine", "text", "ab" * 16, "hf://ada/base@0a1b", {"val_loss": 2.5}))
    assert held["base_model"] == "ada/base"
    assert held["library_name"] == "transformers"
    assert held["pipeline_tag"] == "text-generation"
    assert held["model-index"][0]["results"][0]["metrics"] == [{"type": "loss", "name": "val_loss", "value": 2.5}]
    with pytest.raises(UserError, match="hf://user/name"):
        ours.fetch("hf://a b")
