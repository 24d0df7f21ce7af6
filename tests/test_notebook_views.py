"""What a notebook shows: escaped, small, without colours of its own, so that it reads on light and on dark; and what ``print`` shows."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from hosts import decoder

import components
from components.core import html
from components.evaluating.evaluation import Measured
from components.training.experiment import Result

SMALL = ["data=text", "data.path=text.txt", "tokenizer=byte", "model.d_model=16", "model.n_layers=2", "model.context_length=32"]
SMALL += [
    "model.attention.n_heads=2",
    "model.attention.n_kv_heads=2",
    "task.batch_size=4",
    "task.samples=0",
    "trainer.max_steps=2",
]
VOID = {"img", "br"}


class Reader(HTMLParser):
    """Every tag is closed, in order; texts and attributes are kept as a browser sees them."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text: list[str] = []
        self.styles: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.styles += [v for n, v in attrs if n == "style"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(shown: str) -> Reader:
    reader = Reader()
    reader.feed(shown)
    reader.close()
    assert reader.open == []
    assert not any(f"{word}:#" in s.replace(" ", "") for s in reader.styles for word in ("color", "background"))
    return reader


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    (folder / "text.txt").write_text("the cat sat on the mat. " * 400)
    before = Path.cwd()
    try:
        __import__("os").chdir(folder)
        result = components.train("llama_tiny", [*SMALL, "paths.cache=cache"], quiet=True)
        yield folder, result
    finally:
        __import__("os").chdir(before)


def test_a_model_prints_as_its_parts():
    model = decoder()
    lines = repr(model).splitlines()
    assert lines[0].split() == ["model", "model/decoder", f"{sum(p.numel() for p in model.parameters()):,}"]
    assert any(line.split()[:3] == ["0-1", "x", "2"] and line.endswith(" each") for line in lines)
    attention = model.stack.layers[0].block.attention
    count = sum(p.numel() for p in attention.parameters())
    assert f"attention/gqa  {count:>14,}".split() in [line.split()[1:] for line in lines]
    reader = read(model._repr_html_())
    assert "attention/gqa" in reader.text
    assert f"{count:,}" in reader.text
    assert repr(attention).startswith("GroupedQueryAttention(")  # a part alone is what torch shows


@pytest.mark.parametrize("name", ["encoder", "mlp", "encoder_decoder", "recurrent"])
def test_every_model_does(name):
    model = components.build(
        "model", name, vocab_size=20, d_model=16, context_length=8, **({"window": 1} if name == "mlp" else {})
    )
    assert repr(model).split()[1] == f"model/{name}"
    read(model._repr_html_())


def test_what_load_train_and_evaluate_return(trained):
    _, result = trained
    shown = read(result._repr_html_())
    assert str(result.folder) in shown.text
    assert "img" in shown.tags  # the curves
    assert "train loss" in shown.text
    loaded = components.load(result.folder)
    assert repr(loaded).startswith(f"<Loaded llama_tiny/{result.folder.name}: .generate(text)")
    assert "attention/gqa" in read(loaded._repr_html_()).text
    figures = components.evaluate(result.folder)
    assert isinstance(figures, dict)
    assert f"{figures['loss']:,.6g}" in read(figures._repr_html_()).text
    explained = components.explain(loaded, prompt="the", new_tokens=2)
    reader = read(explained._repr_html_())
    assert reader.tags == ["iframe"]
    assert len(loaded._repr_html_()) < 20_000


def test_what_load_recipe_returns(trained):
    folder, _ = trained
    assert Path.cwd() == folder
    recipe = components.load_recipe("llama_tiny", SMALL)
    assert repr(recipe) == "<Recipe llama_tiny, not trained: .model, .data, .task, .config>"
    assert any("llama_tiny, not trained" in text for text in read(recipe._repr_html_()).text)


def test_figures_of_evaluations():
    found = {"value": 0.5, "error": 0.25, "count": 12, "chance": None}
    reader = read(Measured({"loss": 1.5, "evaluations": {"cloze": {"exact_match": found}}})._repr_html_())
    assert reader.text == ["loss", "1.5", "cloze", "value", "error", "of", "chance", "exact match", "0.5", "0.25", "12"]


def test_lists_of_parts():
    kinds = components.list_parts()
    assert kinds["norm"]
    assert "gqa" in components.list_parts("attention")
    assert components.list_parts("attention/mqa")["n_kv_heads"].startswith("Positive | None = 1; ")
    assert repr(components.list_parts("norm")).splitlines()[1].split()[0] == "dynamic_erf"
    read(components.list_parts("attention/gqa")._repr_html_())
    with pytest.raises(components.core.errors.UserError, match=r"nrm: unknown kind; did you mean 'norm'\?"):
        components.list_parts("nrm")


def test_a_check_is_a_table():
    report = components.check("norm/rms", only="shape")
    assert report.holds
    assert repr(report).splitlines()[-1] == "1 property, which holds"
    assert "holds" in read(report._repr_html_()).text


def test_everything_is_escaped():
    evil = "<script>alert(1)</script>&\"'"
    reader = read(html.table([[evil, "3"]], [evil], title=evil) + html.frame(evil) + html.picture(b"x", evil))
    assert "script" not in reader.tags
    assert reader.text.count(evil) == 3
    assert evil in read(Result(None, {"state": evil})._repr_html_()).text


def test_a_long_table_says_how_much_is_left_out():
    assert read(html.table([[str(n)] for n in range(1200)])).text[-1] == "and 1,000 more"


def test_a_trace_of_many_modules_is_small():
    t = components.trace(decoder(n_layers=12), torch.zeros(1, 4, dtype=torch.long))
    assert len(t._repr_html_()) < 100_000
