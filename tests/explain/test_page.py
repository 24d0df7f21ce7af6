"""The page without a browser: self-contained, small, its data those of the trace; the table, the figures, two models side by side."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from small import leaf_flower, subject_of_model, unpacked

from components.cli import main
from components.core.errors import UserError
from components.explain import explain
from components.explain import trace as records
from components.explain.answers import readable_path
from components.explain.pack import as_data, key_of
from components.explain.page import SCRIPTS, asset, embedded, page
from components.explain.trace import Record

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made():
    subject = subject_of_model(d_model=32, n_layers=2, context_length=60)
    return explain(subject, prompt="the </script> cat", new_tokens=4, loss=True)


def data_in(text):
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert found
    return json.loads(found[1])


def test_nothing_is_loaded_from_anywhere(made):
    text = made.page()
    outside = re.findall(r"""(?:src|href)\s*=\s*["'](?!#)[^"'$]+""", text) + re.findall(
        r"@import|url\(|fetch\(|XMLHttp|import\(", text
    )
    assert not outside
    assert re.findall(r"https?://[^\s\"'<)]+", text.replace("http://www.w3.org/2000/svg", "")) == []
    assert "default-src 'none'" in text
    assert '<meta name="viewport"' in text
    assert "prefers-color-scheme" in text
    assert text.count("</script>") == 2, "what the text says ends no script"


def test_the_page_holds_the_numbers_of_the_trace(made):
    (shown,), trace = data_in(made.page())["traces"], made.trace
    assert shown["tokens"] == as_data(trace.tokens)
    for packed, m in zip(shown["mixers"], trace.mixers, strict=True):
        assert torch.equal(unpacked(packed["weights"]), m.weights.tensor)
        assert torch.equal(unpacked(packed["q"]), m.q.tensor)
    assert shown["predictions"][3]["top"][0][2] == pytest.approx(trace.predictions[3].top[0][2], rel=1e-5)
    assert shown["answers"] == as_data(trace.answers)
    assert shown["backward"]["loss"] == pytest.approx(trace.backward.loss, rel=1e-5)


def test_every_section_has_its_panel():
    source = "\n".join(asset(name) for name in SCRIPTS)
    sections = re.findall(r'section\("(\w+)"', source)
    order = json.loads(re.search(r"const order = (\[.*?\]);", source)[1])
    assert sorted(sections) == sorted(order)
    assert len(sections) == 10


def test_a_key_weighs_what_the_cell_says(made):
    """The arithmetic that the page spells out, from the page's own data: q . k, scale, mask, softmax."""
    (shown,) = data_in(made.page())["traces"]
    for m in shown["mixers"]:
        q, k, w = (unpacked(m[n]).double() for n in ("q", "k", "weights"))
        scores = torch.einsum("htc,hsc->hts", q, k.repeat_interleave(q.shape[0] // k.shape[0], 0)) * m["scale"]
        hidden = torch.tensor([[c == "0" for c in row] for row in m["seen"]])
        torch.testing.assert_close(scores.masked_fill(hidden, float("-inf")).softmax(-1), w, atol=1e-5, rtol=1e-4)


def test_json_that_no_text_can_break():
    assert json.loads(embedded({"a": "</script><!-- \u2028"})) == {"a": "</script><!-- \u2028"}
    assert "<" not in embedded("</script>")
    with pytest.raises(ValueError, match="JSON"):
        embedded(float("nan"))


def test_large_models_stay_below_three_megabytes():
    subject = subject_of_model(d_model=128, n_layers=8, context_length=128, attention={"name": "gqa", "n_heads": 8})
    made = explain(subject, prompt="the cat sat on the mat and looked at the moon, ", new_tokens=16)
    text = made.page()
    assert 1_500_000 < len(text.encode()) < 3_000_000
    notes = data_in(text)["traces"][0]["notes"]
    assert any("11 bits" in n for n in notes)


def test_two_side_by_side():
    options = {"d_model": 32, "n_layers": 2, "context_length": 60}
    a, b = subject_of_model(**options), subject_of_model(**options, norm="layer")
    a.config["model"], b.config["model"] = ({"name": "decoder", "norm": {"name": n}} for n in ("rms", "layer"))
    made = explain(a, b, prompt="the cat", new_tokens=2, loss=True)
    data = data_in(made.page())
    assert len(data["traces"]) == 2
    assert any("rms -> layer" in line for line in data["compare"]["difference"])
    facts = {f["name"]: f for f in data["compare"]["facts"]}
    assert facts["parameters"]["b"] > facts["parameters"]["a"]
    assert facts["loss of this text"]["a"] == pytest.approx(made.traces[0].backward.loss, rel=1e-4)
    assert [x[0] for x in data["compare"]["tokens"]] == list("the cat")
    for t, (_, p, q) in enumerate(data["compare"]["tokens"]):
        assert p == pytest.approx(made.traces[0].predictions[t].next.p, rel=1e-4)
        assert q == pytest.approx(made.traces[1].predictions[t].next.p, rel=1e-4)
    assert "  " in made.table()


def test_the_table_says_what_the_page_says(made):
    table = made.table()
    for word in ("why it said that", "gradients", "attention", "how sure", "the choice"):
        assert word in table
    first = made.trace.generation.steps[0]
    assert f"{first.drawn:.4f}" in table


def test_figures(made, tmp_path):
    figures = made.figures()
    assert set(figures) == {"attention", "lens", "stream", "predictions", "influence", "gradients"}
    drawn = figures["attention"].axes
    assert len(drawn) == sum(m.heads for m in made.trace.mixers)
    assert (drawn[0].images[0].get_array() == made.trace.mixers[0].weights.tensor[0].numpy()).all()
    files = made.save_figures(tmp_path / "pictures")
    assert len(files) == 6
    assert all(f.stat().st_size > 5000 for f in files)


def test_everything_is_counted_from_0_as_paths_count_layers(made):
    heads = made.trace.mixers[0].heads
    named = [f"attention of layer {n}, head {h}" for n in range(2) for h in range(heads)]
    assert [axes.get_title() for axes in made.figures()["attention"].axes] == named
    rows = re.findall(r"attention of layer (\d+) +(\d+) ", made.table())
    assert rows == [(str(n), str(h)) for n in range(2) for h in range(heads)]
    looks = [s for a in made.trace.answers if a for s in a.sentences if s.about == "where it looked"]
    assert looks
    for look in looks:
        mixer, head, _ = look.at
        assert f"{readable_path(made.trace.mixers[mixer].path)}, head {head}:" in look.text
    small = explain(leaf_flower(), prompt="32,107,56,11.2", target="leaf")
    assert re.findall(r"^ *(\d\.\d) ", small.table().partition("neuron")[2], re.M) == ["0.0", "0.1", "0.2", "1.0", "1.1"]
    (spoke,) = [s.text for a in small.trace.answers if a for s in a.sentences if s.about == "who spoke for it"]
    assert {*re.findall(r"neuron (\d)", spoke)} == {"0", "1", "2"}


def keys_of(record):
    return {key_of(f) for f in dataclasses.fields(record)}


RECORDS = [r for r in vars(records).values() if isinstance(r, type) and issubclass(r, Record) and r is not Record]
# properties that the scripts read of the browser, of their own objects and of the page around the traces; all others are keys of the trace
OTHERS = """
PI S T activeElement all bits buffer channel class classList clientWidth clientX clientY columns compare data dataset
depth devicePixelRatio documentElement embedding few fillStyle findLastIndex font full glass gutter head index key left
length lineWidth matches minus mixer neuron node on plus r rest rows s size strokeStyle style svg t tabIndex target
textAlign textBaseline textContent theme title total traces updates views what zero
"""


def test_the_page_is_made_of_the_records(made):
    """The JSON of a trace has the keys of its dataclasses and no others, and Python reads the records by the same keys."""

    def held(record, data):
        if isinstance(record, Record):
            assert set(data) <= keys_of(record)
            for key, own in data.items():
                held(record[key], own)
        elif isinstance(record, list):
            for one, own in zip(record, data, strict=True):
                held(one, own)

    (shown,) = data_in(made.page())["traces"]
    held(made.trace, shown)
    assert set(shown) == keys_of(made.trace)
    with pytest.raises(KeyError):
        made.trace["nothing"]


def test_the_scripts_read_keys_that_there_are():
    source = "\n".join(re.sub(r"//.*", "", asset(name)) for name in SCRIPTS)
    read = set(re.findall(r"(?<![\d\s.])\.([A-Za-z_]\w*)\b(?!\()", source))
    keys = {key for record in RECORDS for key in keys_of(record)}
    assert read - keys - set(OTHERS.split()) == set()
    assert set(OTHERS.split()) <= read - keys, "listed, and not read"
    of_trace = set(re.findall(r"\b(?:view\.data|v\.data|this\.data|d|[ab]\.data)\.([A-Za-z_]\w*)", source))
    assert len(of_trace) > 20
    assert of_trace <= keys_of(records.Trace)


def test_saving_is_whole_or_not_at_all(made, tmp_path):
    file = made.save(tmp_path / "page.html")
    assert file.read_text(encoding="utf8") == made.page()
    with pytest.raises(UserError, match="cannot be written"):
        made.save(tmp_path / "nowhere" / "page.html")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["page.html"]


def test_names_of_places():
    assert readable_path("stack.layers.2.block.attention") == "the attention of layer 2"
    assert readable_path("decoder.layers.0.block.cross") == "the cross of layer 0 of the decoder"
    assert readable_path("head") == "the head"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "no runs or recipes are named"),
        (["a", "b", "c", "--prompt", "x"], "3 runs or recipes are named"),
        (["llama_tiny"], "there is no prompt"),
        (["nowhere", "--prompt", "x"], "no such run"),
        (["llama_tiny", "--prompt", "x", "--shown", "0"], "nothing would be shown"),
        (["llama_tiny", "--prompt", "x", "--max-new-tokens", "-1"], "no whole number"),
    ],
)
def test_mistakes_are_one_line(words, says, capsys):
    assert main(["explain", *words]) == 2
    out, err = capsys.readouterr()
    assert says in err
    assert len(err.strip().splitlines()) == 1
    assert not out


def test_the_command_and_the_function(tmp_path, monkeypatch, capsys):
    """A recipe by name: untrained, so its first weights, and the page says so."""
    import components

    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 200)
    small = [
        "data=text",
        "data.path=text.txt",
        "model.d_model=16",
        "model.n_layers=1",
        "model.attention.n_heads=2",
        "tokenizer=byte",
    ]
    small += [f"paths.cache={tmp_path / 'cache'}"]
    assert main(["explain", "llama_tiny", *small, "--prompt", "the cat", "--out", "page.html", "--table"]) == 0
    out, _ = capsys.readouterr()
    assert "page: page.html" in out
    assert "attention/gqa" in out
    data = data_in((tmp_path / "page.html").read_text(encoding="utf8"))
    (shown,) = data["traces"]
    assert any("not trained" in n for n in shown["notes"])
    options = {o["name"]: o["value"] for o in find(shown["model"], "attention/gqa")["options"]}
    assert options["n_heads"] == 2
    changed = {o["name"] for o in find(shown["model"], "attention/gqa")["options"] if o["changed"]}
    assert changed == {"n_heads", "n_kv_heads"}, "what is not at its default"
    assert find(shown["model"], "attention/gqa")["sentence"].startswith("Grouped-query attention")
    made = components.explain("llama_tiny", prompt="the cat", overrides=small)
    assert as_data(made.trace.answers) == shown["answers"]
    assert callable(components.explain), "the package of the same name is called like the function"
    assert components.explain.explain is not None


def test_an_override_goes_to_the_one_that_it_follows():
    from components.cli.explain import subjects

    assert subjects(["seed=1", "a", "model/norm=rms", "b", "x.y=2", "seed=3"]) == (
        [("a", ["model/norm=rms"]), ("b", ["x.y=2", "seed=3"])],
        ["seed=1"],
    )
    assert subjects(["recipe=a", "seed=1"]) == ([("recipe=a", ["seed=1"])], [])


def find(node, label):
    if node["label"] == label:
        return node
    return next((found for child in node["children"] if (found := find(child, label))), None)


def test_page_of_nothing_but_a_trace(made):
    assert page(made.traces, made.configs) == made.page()


def test_what_the_browsers_tests_import_is_there():
    """They run by `make browser` alone, so that a helper which moves would be missed by them last."""
    folders = [ROOT / "tests" / name for name in ("browser", "explain", "studies")]
    imported = [n for n in ast.walk(ast.parse((folders[0] / "pages.py").read_text())) if isinstance(n, ast.ImportFrom)]
    ours = [(n, f / f"{n.module}.py") for n in imported for f in folders if (f / f"{n.module}.py").exists()]
    assert {f.stem for _, f in ours} == {"chromium", "small", "written_studies"}
    outside = {n.module.partition(".")[0] for n in imported} - {f.stem for _, f in ours}
    assert all(find_spec(name) for name in outside), outside
    for node, file in ours:
        made = {getattr(d, "name", None) for d in ast.parse(file.read_text()).body}
        made |= {
            t.id for d in ast.parse(file.read_text()).body if isinstance(d, ast.Assign) for t in d.targets if hasattr(t, "id")
        }
        assert {a.name for a in node.names} <= made, file
