"""``validate``, ``show recipe=`` and ``doctor``: what would be built, without building it."""

from __future__ import annotations

import json

import pytest
import torch
import yaml
from packaging.specifiers import SpecifierSet
from torch import nn

from components.cli import doctor, main
from components.cli.measure import Row, count, short, tree, vocabulary, walk
from components.core import registry
from components.core.makers import make
from components.core.meta import Undrawn, on_meta


def printed(capsys, *words: str) -> str:
    code = main(list(words))
    out, err = capsys.readouterr()
    assert code == 0, err
    return out


def test_validate_counts_and_tells_the_difference(capsys):
    plain = json.loads(printed(capsys, "validate", "--json"))
    other = json.loads(printed(capsys, "validate", "model.n_layers=6", "model/norm=layer", "--json"))
    assert plain["difference"] == []
    assert plain["parameters"] != other["parameters"]
    assert any("model.n_layers" in line for line in other["difference"])
    out = printed(capsys, "validate", "model.n_layers=6", "model/norm=layer")
    assert f"{other['parameters']:,}" in out
    assert all(line in out for line in other["difference"])


def test_json_of_validate_tells_what_is_frozen(capsys):
    words = ["validate", "tuning=frozen"]
    lines = json.loads(printed(capsys, *words, "--json"))["rates"]
    assert lines[0].startswith("frozen: ")
    out = printed(capsys, *words)
    assert all(line in out for line in lines)


def test_the_count_is_that_of_the_real_model(capsys):
    data = json.loads(printed(capsys, "validate", "model.d_model=48", "model.attention.n_heads=4", "--json"))
    real = make(data["config"]["model"], "model", vocab_size=data["vocabulary"])
    assert data["parameters"] == sum(p.numel() for p in real.parameters())


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("recipe=nope", "unknown recipe 'nope'"),
        ("model.n_layerz=3", "did you mean 'n_layers'?"),
        ("model.n_layers=many", "int >= 1"),
        ("model/norm=rmss", "did you mean 'rms'?"),
        ("model.attention.n_heads=7", "n_heads"),
        ("model.attention.n_kv_heads=2", "n_kv_heads"),
        ("nonsense", "key=value"),
        ("model.layers.from99.attention=mqa", "means none of the"),
        ("model.norm={_target_: os.system}", "_target_"),
    ],
)
def test_a_mistake_is_one_line_and_2(capsys, override, said):
    words = ["validate", override, *(["model.attention.n_heads=3"] if "kv" in override else [])]
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


def test_recipe_given_twice(capsys):
    assert main(["validate", "recipe=a", "recipe=b"]) == 2
    assert "given twice: a, b" in capsys.readouterr().err


def test_tree_holds_every_parameter_once(capsys):
    data = json.loads(printed(capsys, "show", "recipe=gpt_python", "--json"))
    root = data["tree"]
    assert root["part"] == "model/decoder"
    assert root["parameters"] == data["parameters"]

    def check(row: dict) -> None:
        below = sum(c["parameters"] * c["times"] for c in row["children"])
        assert row["parameters"] >= below, row["path"]
        for child in row["children"]:
            check(child)

    check(root)
    parts = set(_parts(root))
    assert {f"norm/{data['config']['model']['norm']['name']}", "attention/gqa"} <= parts
    assert all(tuple(p.split("/")) in registry.entries() for p in parts)


def _parts(row: dict) -> list[str]:
    return [p for p in [row["part"]] if p] + [p for c in row["children"] for p in _parts(c)]


def test_layers_alike_are_one_row_and_others_are_not(capsys):
    assert "0-3  x 4" in printed(capsys, "show", "recipe=gpt_python", "model.n_layers=4")
    out = printed(capsys, "show", "recipe=gpt_python", "model.n_layers=4", "model.layers.every2.attention=sliding_window")
    assert "every2  x 2" in out
    assert "every2at1  x 2" in out
    assert "mask/sliding_window" in out


def test_a_shared_matrix_counts_once():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(3, 5, bias=False)
            self.b = nn.Linear(3, 5, bias=False)
            self.b.weight = self.a.weight

    assert count(Tied()) == 15
    assert tree(Tied()).parameters == 15


def test_full_config_reads_back_and_says_where_values_come_from(capsys):
    out = printed(capsys, "show", "recipe=gpt_python", "model.n_layers=3", "--full")
    start = out.index("\nrecipe: gpt_python\n")
    config = yaml.safe_load(out[start:])
    assert config == {
        k: v
        for k, v in json.loads(printed(capsys, "show", "recipe=gpt_python", "model.n_layers=3", "--json"))["config"].items()
        if k in config
    }
    (line,) = [line for line in out.splitlines() if line.startswith("  n_layers:")]
    assert line.split("#")[1].strip() == "command line"
    (line,) = [line for line in out.splitlines() if line.strip().startswith("d_model:")]
    assert line.split("#")[1].strip() == "recipe gpt_python"


def test_vocabulary_by_option_by_nature_or_assumed():
    assert vocabulary({"tokenizer": {"name": "bpe", "vocab_size": 777, "min_frequency": 2}}).size == 777
    byte = vocabulary({"tokenizer": {"name": "byte"}})
    assert (byte.size, byte.note) == (256 + 5, "")
    assert "only when it is trained" in vocabulary({"tokenizer": {"name": "char"}}).note


def test_meta_model_has_no_numbers_and_draws_none():
    with torch.device("meta"), Undrawn():
        assert nn.Linear(3, 4).weight.is_meta
    with Undrawn():
        assert nn.Linear(3, 4).weight.abs().sum() > 0, "what is stored is drawn"


def test_a_deep_model_is_quick():
    import time

    node = {"name": "decoder", "n_layers": 120}
    on_meta({"model": {**node, "n_layers": 1}}, 512)  # imports
    start = time.process_time()
    model = on_meta({"model": node}, 512)
    assert time.process_time() - start < 10
    assert max(r.times for _, r in walk(tree(model))) == 120


def test_short():
    assert [short(n) for n in (12, 1234, 2_164_928, 124_000_000, 7_000_000_000)] == ["12", "1.23 k", "2.16 M", "124 M", "7 B"]
    assert Row("a", "", 0).as_data()["children"] == []


def test_doctor_in_words_and_as_data(capsys):
    data = json.loads(printed(capsys, "doctor", "--json"))
    assert data["versions"]["torch"] == torch.__version__
    assert data["missing"] == {}
    assert set(data["kernels"]) >= {"flash attention", "flex attention", "mkldnn", "bf16"}
    assert "cpu" in data["devices"]
    out = printed(capsys, "doctor")
    assert "nothing is missing" in out
    assert data["places"]["cache"].split()[0] in out


def test_doctor_says_what_is_missing_and_how_to_get_it(capsys, monkeypatch):
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name in ("torch", "wandb") else real(name))
    assert main(["doctor"]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "torch pip install 'torch" in out
    assert "wandb lacks wandb: for logger=wandb; pip install 'lightning-components[wandb]'" in out


def test_doctor_says_which_extras_are_complete(capsys, monkeypatch):
    real = doctor._version
    monkeypatch.setattr(doctor, "requirements", lambda extra="": {n: SpecifierSet(v) for n, v in DECLARED.get(extra, ())})
    monkeypatch.setattr(doctor, "_version", lambda name: {"sentencepiece": None, "tiktoken": "0.1"}.get(name, real(name)))
    extras = json.loads(printed(capsys, "doctor", "--json"))["extras"]
    assert set(extras) == set(DECLARED)
    assert extras["bleu"] == f"complete: pyyaml {real('pyyaml')}, torch {real('torch')}"
    assert extras["interop"].startswith("lacks sentencepiece, tiktoken>=0.9 (0.1 is installed): for tokenizers in older files")
    assert extras["interop"].endswith("; pip install 'lightning-components[interop]'")


DECLARED = {
    "bleu": [("pyyaml", ">=6"), ("torch", ">=2")],
    "interop": [("sentencepiece", ""), ("tiktoken", ">=0.9"), ("torch", ">=2")],
}


def test_doctor_finds_a_version_out_of_range(capsys, monkeypatch):
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: "1.0" if name == "lightning" else real(name))
    assert main(["doctor", "--json"]) == 1
    missing = json.loads(capsys.readouterr().out)["missing"]
    assert list(missing) == ["lightning"]
    assert missing["lightning"].startswith("1.0 is installed: pip install 'lightning")
