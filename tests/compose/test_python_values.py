"""Overrides from Python: a mapping says what words say, and a value arrives as it is."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest

import components
from components.compose import compose
from components.compose.request import Request
from components.core import registry
from components.core.errors import UserError

RECIPE = "llama_tiny"


def config(overrides, **more):
    return compose(RECIPE, overrides, **more).config


@pytest.mark.parametrize(
    ("words", "mapping"),
    [
        (["model/norm=layer", "trainer.max_steps=20"], {"model": {"norm": "layer"}, "trainer": {"max_steps": 20}}),
        (["model/norm=layer", "model.norm.eps=1e-7"], {"model": {"norm": {"name": "layer", "eps": 1e-7}}}),
        (["model.norm.eps=1e-7"], {"model": {"norm": {"eps": 1e-7}}}),
        (["model.norm.eps=1e-7"], {"model.norm.eps": 1e-7}),
        (["model/attention=mla"], {"model/attention": "mla"}),
        (["model.layers.last.norm=layer"], {"model": {"layers": {"last": {"norm": "layer"}}}}),
        (
            ["decoding.samplers=[top_k,{name: top_p, p: 0.5}]"],
            {"decoding": {"samplers": ["top_k", {"name": "top_p", "p": 0.5}]}},
        ),
        (["logger=wandb", "logger.project=x"], [{"logger": "wandb"}, "logger.project=x"]),
        (["callbacks.early_stopping.patience=3"], {"callbacks": {"early_stopping": {"patience": 3}}}),
        (["paths.runs=there", "seed=3"], {"paths": {"runs": Path("there")}, "seed": np.int64(3)}),
        (["~callbacks.device_stats", "+trainer.max_time=1:00:00:00"], None),
    ],
)
def test_a_mapping_says_what_words_say(words, mapping):
    if mapping is None:
        words, mapping = ["+trainer.max_time=00:01:00:00"], {"+trainer.max_time": "00:01:00:00"}
    assert config(words) == config(mapping) == config([mapping] if isinstance(mapping, dict) else tuple(mapping))


def test_the_difference_from_the_recipe_and_its_origin_are_said():
    made = compose(RECIPE, {"model": {"norm": "layer"}, "optimizer": {"lr": 0.25}})
    words = compose(RECIPE, ["model/norm=layer", "optimizer.lr=0.25"])
    assert made.difference == words.difference != []
    assert made.origin("optimizer.lr") == "command line"
    assert made.tree.text() == words.tree.text()


STRANGE = [
    *("a,b", "x=y", "${seed}", 'it\'s "q"', "null", "true", "1e-3", "[a]", "ünï→", "{a: b}", "'x'", " x ", "choice(1,2)", "~x"),
    *("\\${x}", "a\\\\${b}${c}", "\\", "${" * 20, "???", "# no comment", "a: b", "two\nlines", "a/b.c"),
]


def test_a_text_is_taken_as_it_is_and_stays_so_in_the_saved_config():
    said = {"task": {"prompts": STRANGE}, "logger": {"name": "wandb", "tags": STRANGE}}
    made = config([{"logger": "wandb"}, said])
    assert made["task"]["prompts"] == STRANGE
    assert made["logger"]["tags"] == STRANGE
    for overrides in ((), ["trainer.max_steps=4"], {"trainer": {"max_steps": 4}}):
        again = compose(None, overrides, base=made).config
        assert again["task"]["prompts"] == STRANGE
        assert again["logger"]["tags"] == STRANGE


@pytest.mark.parametrize("text", [t for t in STRANGE if not t.startswith("~")])
def test_paths_too(text):
    assert config({"paths": {"runs": text}})["paths"]["runs"] == text


def test_numbers_keep_their_digits():
    for value in (0.1 + 0.2, 1e-30, np.float64(1) / 3, np.float32(0.1)):
        assert config({"optimizer": {"lr": value}})["optimizer"]["lr"] == float(value)
    found = config({"optimizer": {"betas": (np.float64(0.9), 0.95)}})["optimizer"]["betas"]
    assert [type(b) for b in found] == [float, float]


def test_a_path_is_of_the_folder_where_python_stands(tmp_path):
    file = tmp_path / "a book, 'quoted'=1.txt"
    found = config({"data": {"name": "text", "path": file}})["data"]
    assert (found["name"], found["path"]) == ("text", str(file))
    assert config({"data": {"name": "text", "path": "book.txt"}}, cwd=tmp_path)["data"]["path"] == str(tmp_path / "book.txt")


def test_a_class_and_a_partial_are_named():
    rms, gqa, top_k = registry.find("norm", "rms"), registry.find("attention", "gqa"), registry.find("sampler", "top_k")
    eps = functools.partial(rms, eps=1e-7)
    assert config({"model": {"norm": eps}}) == config({"model": {"norm": {"name": "rms", "eps": 1e-7}}})
    held = config({"model": {"attention": functools.partial(gqa, n_heads=2, qk_norm=eps)}})["model"]["attention"]
    assert (
        held
        == config({"model": {"attention": {"name": "gqa", "n_heads": 2, "qk_norm": {"name": "rms", "eps": 1e-7}}}})["model"][
            "attention"
        ]
    )
    listed = config({"decoding": {"samplers": [functools.partial(top_k, k=3)]}})["decoding"]["samplers"]
    assert [(s["name"], s["k"]) for s in listed] == [("top_k", 3)]
    assert config({"model": {"layers": {"last": {"norm": registry.find("norm", "layer")}}}}) == config(
        ["model.layers.last.norm=layer"]
    )


class Mine:
    def __init__(self, d_model):
        self.d_model = d_model


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"model": {"norm": Mine}},
            "model.norm: Mine is no registered norm, so a config could not name it; @components.register('norm'",
        ),
        ({"model": {"norm": lambda d_model: d_model}}, "model.norm: <lambda> is no registered norm"),
        ({"decoding": {"samplers": [Mine]}}, "decoding.samplers.0: Mine is no registered sampler"),
        (
            {"model": {"norm": registry.find("attention", "gqa")}},
            "model.norm: GroupedQueryAttention is attention/gqa, no norm; norm parts: ",
        ),
        ({"model": {"norm": "lyer"}}, "model.norm: unknown norm 'lyer'; did you mean 'layer'?"),
        ({"model": {"nrm": "layer"}}, "model.nrm: model/decoder has no option 'nrm'; did you mean 'norm'?"),
        ({"model": {"d_model": "64"}}, "model.d_model: '64' is not int >= 1"),
        ({"trainer": {"max_step": 3}}, "trainer.max_step: the trainer has no argument 'max_step'; did you mean 'max_steps'?"),
        ({"trainer": {"max_steps": object()}}, "trainer.max_steps: a config holds no object; give a number"),
        ({"task": {"prompts": [{1, 2}]}}, "task.prompts.0: a config holds no set"),
        ({"trainer": {"precision": Mine}}, "trainer.precision: Mine is code, and a setting is a plain value"),
        ({"trainer": None}, "trainer: null is no choice of trainer"),
        ({"model": {"_target_": "os.system"}}, "model: _target_: 'os.system' names code, and a config is data"),
        ({"modle": {"norm": "rms"}}, "modle: unknown key 'modle'"),
        ({"a b": 3}, "'a b=': 'a b' is no path"),
        ({3: 4}, "3: is no key of a config"),
        (
            "model/norm=layer",
            "overrides: 'model/norm=layer' is one text, and a list of them is needed; write ['model/norm=layer']",
        ),
        ([3], "overrides: 3 is neither a text nor a mapping"),
        (5, "overrides: 5 is no list"),
    ],
)
def test_mistakes_are_one_line_with_the_path(given, said):
    with pytest.raises(UserError) as refused:
        config(given)
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)


def test_where_a_run_begins_may_be_said_so_too():
    request = Request.of({"recipe": "llama_tiny", "init_from": Path("there/a b"), "paths": {"runs": "x"}})
    assert (request.recipe, request.init_from, request.path("paths.runs")) == ("llama_tiny", "there/a b", "x")
    assert compose(None, {"recipe": "gpt_python"}).recipe == "gpt_python"


def test_a_run_is_trained_resumed_loaded_measured_and_explained_by_mappings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text("\n\n".join(f"The tree is green and {n} birds sing." for n in range(200)))
    options = {
        "data": {"name": "text", "path": Path("book.txt")},
        "tokenizer": "byte",
        "model": {
            "d_model": 16,
            "n_layers": 1,
            "context_length": 32,
            "norm": registry.find("norm", "layer"),
            "attention": {"n_heads": 2},
        },
        "task": {"batch_size": 4, "samples": 1, "prompts": ["a=b,${c} 'd'"]},
        "trainer": {"max_steps": 4, "precision": "32-true"},
    }
    made = components.train(RECIPE, options, quiet=True)
    assert made.figures["step"] == 4
    longer = components.train(None, {"resume": made.folder, "trainer": {"max_steps": 6}}, quiet=True)
    assert longer.folder == made.folder
    assert longer.figures["step"] == 6
    with pytest.raises(UserError, match=r"^model.norm: would make it another run"):
        components.train(None, {"resume": made.folder, "model": {"norm": "rms"}}, quiet=True)
    loaded = components.load(made.folder, {"decoding": "greedy"})
    assert loaded.config["decoding"]["name"] == "greedy"
    assert loaded.config["task"]["prompts"] == ["a=b,${c} 'd'"]
    said = components.evaluate(made.folder, {"data": {"name": "text", "path": tmp_path / "book.txt"}})
    assert said["loss"] == pytest.approx(longer.figures["val_loss"], rel=1e-4)
    recipe = components.load_recipe(RECIPE, options)
    assert recipe.config["model"]["norm"]["name"] == "layer"
    assert components.explain(str(made.folder), prompt="The tree", overrides={"decoding": "greedy"}).traces
