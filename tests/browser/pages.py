"""The glass box in a real Chromium: no complaints, the numbers on the page are the tensors, mouse and keyboard work, light, dark and on a phone.

Not collected by ``make test``, which has no browser; ``make browser`` runs it by name.
"""

from __future__ import annotations

import json
import os
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "explain"), str(HERE.parent / "studies")]


from chromium import MISSING, Browser, find  # noqa: E402
from small import leaf_flower, subject_of_model  # noqa: E402

from components.explain import explain  # noqa: E402

if find() is None:
    pytest.exit(MISSING, returncode=2)

GPT = {"d_model": 32, "n_layers": 2, "context_length": 60}
PICTURES = Path(os.environ.get("GLASS_BOX_PICTURES", "")) if os.environ.get("GLASS_BOX_PICTURES") else None


def makers():
    mlm = {"loss": {"name": "masked_lm", "mask_id": 3}}
    pairs = {"loss": {"name": "seq2seq"}}
    labels = {"loss": {"name": "classification"}}
    head = {"name": "classification", "n_classes": 3}
    linear = {"attention": {"name": "linear", "n_heads": 4}, "position": "none"}
    return {
        "softmax": lambda: explain(subject_of_model(**GPT), prompt="the </script> cat", new_tokens=5, loss=True),
        "capped": lambda: explain(
            subject_of_model(**GPT, attention={"name": "gqa", "n_heads": 4, "soft_cap": 2.0, "sinks": True}, position="alibi"),
            prompt="the cat",
        ),
        "linear": lambda: explain(subject_of_model(**GPT, **linear), prompt="the cat sat", new_tokens=5, loss=True),
        "lstm": lambda: explain(subject_of_model(**GPT, attention="lstm", position="none"), prompt="the cat sat"),
        "differential": lambda: explain(
            subject_of_model(**GPT, attention={"name": "differential", "n_heads": 2}), prompt="the cat"
        ),
        "mixture": lambda: explain(subject_of_model(**GPT, ffn={"name": "moe", "n_experts": 4}), prompt="the cat", loss=True),
        "masked": lambda: explain(subject_of_model("encoder", mlm, **GPT), prompt="the [MASK]at", loss=True),
        "pairs": lambda: explain(subject_of_model("encoder_decoder", pairs, **GPT), prompt="the cat", new_tokens=6, loss=True),
        "labels": lambda: explain(
            subject_of_model("encoder", labels, ["cat", "dog", "owl"], head=head, **GPT), prompt="it meows"
        ),
        "leaf": lambda: explain(leaf_flower(), prompt="32,107,56,11.2", loss=True, target="leaf"),
        "two": lambda: explain(
            subject_of_model(**GPT), subject_of_model(**GPT, **linear), prompt="the cat sat", new_tokens=4, loss=True
        ),
        "cut": lambda: explain(
            subject_of_model(d_model=128, n_layers=8, context_length=128, attention={"name": "gqa", "n_heads": 8}),
            prompt="the cat sat on the mat and looked at the moon, ",
            new_tokens=16,
        ),
    }


NAMES = list(makers())


@pytest.fixture(scope="module")
def browser():
    made = Browser()
    yield made
    made.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """{name: (explanation, file)}, made when first asked for."""
    folder, known = tmp_path_factory.mktemp("pages"), {}

    def get(name):
        if name not in known:
            made = makers()[name]()
            known[name] = made, made.save(folder / f"{name}.html")
        return known[name]

    return get


def number(text):
    """What the page wrote for a number."""
    return float(text.replace("\u2212", "-").replace("\u202f", "").replace("\u221e", "inf"))


def picture(browser, name):
    if PICTURES is not None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        browser.picture(PICTURES / f"{name}.png", whole=True)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_every_page_opens_without_complaint(browser, pages, name, look):
    _, file = pages(name)
    width = 390 if look == "phone" else 1280
    browser.open(file, width=width, dark=look == "dark", phone=look == "phone")
    assert browser.requests == [file.resolve().as_uri()], "it loads nothing"
    assert browser.value("document.documentElement.dataset.theme") == ("dark" if look == "dark" else "light")
    assert browser.value("document.documentElement.scrollWidth") <= width, "nothing makes a phone scroll sideways"
    titles = browser.value("[...document.querySelectorAll('section h2')].map(x => x.textContent)")
    assert "The model as composed" in titles
    assert browser.value("document.querySelectorAll('section').length") == len(titles) >= 4
    for words in ("undefined", "NaN", "[object"):
        assert words not in browser.value("document.getElementById('page').textContent"), words
    picture(browser, f"{name}-{look}")
    assert browser.complaints == []


@pytest.mark.parametrize("name", ["softmax", "capped", "linear", "lstm", "differential", "pairs", "cut"])
def test_the_tensors_arrive(browser, pages, name):
    """What the script decoded is what Python computed, bit for bit where the page has 32 bits."""
    made, file = pages(name)
    browser.open(file)
    for n, m in enumerate(made.trace.mixers):
        values = browser.value(f"[...glass.views[0].data.mixers[{n}].weights.values]")
        found, own = torch.tensor(values).view(m.weights.tensor.shape), m.weights.tensor
        torch.testing.assert_close(found, own.half().float() if name == "cut" else own, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["softmax", "capped", "pairs"])
def test_the_chosen_cell_is_worked_out(browser, pages, name):
    """The weight, the scaled score and the softmax that the page writes are those of the tensors, wherever the keys go."""
    made, file = pages(name)
    browser.open(file)
    own = [(n, m) for n, m in enumerate(made.trace.mixers) if m.side == len(made.trace.sides) - 1]
    for n, m in own:
        for head in range(m.heads):
            columns = m.weights.tensor.shape[-1]
            browser.value(f"glass.views[0].set({{mixer: {n}, head: {head}, t: 4, s: {min(2, columns - 1)}}})")
            s, w = min(2, columns - 1), m.weights.tensor
            q, k = m.q.tensor, m.k.tensor
            k = k.repeat_interleave(m.heads // k.shape[0], 0)
            score = float(q[head, 4] @ k[head, s] * m.scale)
            assert number(browser.text("[data-test=weight]")) == pytest.approx(float(w[head, 4, s]), rel=2e-3, abs=1e-7)
            assert number(browser.text("[data-test=score]")) == pytest.approx(score, rel=2e-3, abs=1e-6)
            assert number(browser.text("[data-test=softmax-value]")) == pytest.approx(float(w[head, 4, s]), rel=2e-3, abs=1e-7)
    assert browser.complaints == []


def test_an_equivalent_weight_is_worked_out(browser, pages):
    made, file = pages("linear")
    browser.open(file)
    for n, m in enumerate(made.trace.mixers):
        browser.value(f"glass.views[0].set({{mixer: {n}, head: 1, t: 6, s: 3}})")
        weight = float(m.weights.tensor[1, 6, 3])
        assert number(browser.text("[data-test=weight]")) == pytest.approx(weight, rel=2e-3)
        assert number(browser.text("[data-test=equivalent]")) == pytest.approx(weight, rel=2e-3)


@pytest.mark.parametrize("name", ["softmax", "pairs", "linear"])
def test_the_sharpest_look_can_be_shown(browser, pages, name):
    made, file = pages(name)
    browser.open(file)
    t = browser.value("glass.views[0].t")
    browser.value("document.querySelector('[data-test=look]').focus()")
    browser.press("Enter")
    m, head, s = next(x.at for x in made.trace.answers[t].sentences if x.at)
    assert browser.value("(v => [v.mixer, v.head, v.s, v.r])(glass.views[0])") == [m, head, s, t]
    weight = float(made.trace.mixers[m].weights.tensor[head, t, s])
    assert number(browser.text("[data-test=weight]")) == pytest.approx(weight, rel=2e-3)
    assert browser.value("document.activeElement.dataset.test") == "map", "the arrow keys go on from there"
    top = "document.querySelector('#attention').getBoundingClientRect().top"
    settled = f"new Promise(done => {{ let n = 0; const look = () => ({top} < innerHeight / 2 || n++ > 100) ? done({top}) : setTimeout(look, 20); look(); }})"
    assert browser.value(settled) < 450


def test_hidden_cells_say_so(browser, pages):
    _, file = pages("softmax")
    browser.open(file)
    browser.value("glass.views[0].set({t: 2, s: 6})")
    assert browser.text("[data-test=weight]") == "0"
    assert "hidden" in browser.text("[data-test=cell]")


def test_arrow_keys_move_the_token(browser, pages):
    made, file = pages("softmax")
    browser.open(file)
    first = browser.value("glass.views[0].t")
    browser.value("document.querySelector('[data-test=tokens] [tabindex=\"0\"]').focus()")
    for key, expected in (
        ("ArrowRight", first + 1),
        ("ArrowLeft", first),
        ("Home", 0),
        ("ArrowLeft", 0),
        ("End", len(made.trace.tokens) - 1),
    ):
        browser.press(key)
        assert browser.value("glass.views[0].t") == expected
        current = browser.value(
            "[...document.querySelectorAll('[data-test=tokens] button')].findIndex(b => b.getAttribute('aria-current') === 'true')"
        )
        assert current == expected
        assert browser.value("document.activeElement.getAttribute('aria-current')") == "true", "the focus goes along"
        said = made.trace.answers[expected].said
        assert browser.text("[data-test=said]").replace("·", " ").replace("⏎", "\n") == said


def test_answers_logits_and_lens_follow_the_token(browser, pages):
    made, file = pages("softmax")
    browser.open(file)
    for t in range(len(made.trace.tokens)):
        browser.value(f"glass.views[0].set({{t: {t}}})")
        target = made.trace.answers[t].id
        p = made.trace.predictions[t]
        chance = p.next.p if p.next else p.top[0][2]
        if any(i == target for i, *_ in p.top):
            assert number(browser.text("[data-test=probability]")) == pytest.approx(chance, rel=2e-3)
        assert number(browser.text("[data-test=id]")) == made.trace.tokens[t].id
        norm = float(made.trace.embeddings[0].norm.tensor[t])
        assert number(browser.text("[data-test=embedding-norm]")) == pytest.approx(norm, rel=1e-3)
        rows = browser.value("document.querySelectorAll('[data-test=stream] tbody tr').length")
        assert rows == len(made.trace.layers) + 1
    steps = made.trace.generation.steps
    for step in steps:
        browser.value(f"glass.views[0].set({{t: {step.position}}})")
        assert number(browser.text("[data-test=drawn]")) == pytest.approx(step.drawn, abs=1e-4)


def test_arrow_keys_move_the_cell(browser, pages):
    made, file = pages("softmax")
    browser.open(file)
    browser.value("glass.views[0].set({mixer: 0, head: 1, t: 5, s: 2})")
    browser.value("document.querySelector('[data-test=map]').focus()")
    for key, t, s in (("ArrowRight", 5, 3), ("ArrowDown", 6, 3), ("ArrowLeft", 6, 2), ("ArrowUp", 5, 2)):
        browser.press(key)
        assert browser.value("[glass.views[0].r, glass.views[0].s]") == [t, s]
        weight = float(made.trace.mixers[0].weights.tensor[1, t, s])
        assert number(browser.text("[data-test=weight]")) == pytest.approx(weight, rel=2e-3, abs=1e-7)
    assert "reads" in browser.value("document.querySelector('[data-test=map]').getAttribute('aria-label')")


def test_the_mouse_chooses_a_cell_and_says_what_is_under_it(browser, pages):
    made, file = pages("softmax")
    browser.open(file)
    count = len(made.trace.tokens)
    size = browser.value("document.querySelector('[data-test=map]').q.size")
    gutter, width, height = browser.value(
        "(c => [c.q.gutter, c.clientWidth, c.clientHeight])(document.querySelector('[data-test=map]'))"
    )
    t, s = count - 2, 1
    at = ((gutter + (s + 0.5) * size) / width, (gutter + (t + 0.5) * size) / height)
    browser.point("[data-test=map]", *at)
    assert "reads" in browser.value("document.querySelector('[data-test=map]').title")
    browser.click("[data-test=map]", *at)
    assert browser.value("[glass.views[0].r, glass.views[0].s]") == [t, s]


def test_another_layer_and_head(browser, pages):
    _, file = pages("softmax")
    browser.open(file)
    browser.value("(s => { s.value = '1'; s.dispatchEvent(new Event('change')) })(document.querySelector('[data-test=layer]'))")
    assert browser.value("glass.views[0].mixer") == 1
    browser.click(".heads button:nth-child(3)")
    assert browser.value("glass.views[0].head") == 2
    names = browser.value(
        "[...document.querySelectorAll('.heads button')].map(b => [b.getAttribute('aria-label'), b.textContent])"
    )
    assert names == [[f"head {n}"] * 2 for n in range(len(names))], "from 0, as paths count layers"
    assert browser.value("document.querySelector('.heads button:nth-child(3)').getAttribute('aria-pressed')") == "true"


def test_pointing_at_a_part_tells_its_options_and_its_sentence(browser, pages):
    made, file = pages("softmax")
    browser.open(file)
    selector = '[data-path="stack.layers.0.block.attention"]'
    browser.point(selector)
    about = browser.text("[data-test=about]")
    assert "Grouped-query attention" in about
    assert "n_heads" in about
    assert "heads of queries" in about
    node = next(n for n in walk(made.trace.model) if n.path == "stack.layers.0.block.attention")
    assert f"{node.parameters:,}".replace(",", "\u202f") in about
    browser.value("document.querySelector('[data-path=\"head\"]').focus()")
    assert "head/linear" in browser.text("[data-test=about]"), "the keyboard tells the same"


def walk(node):
    yield node
    for child in node.children:
        yield from walk(child)


def test_everything_is_reached_by_the_keyboard(browser, pages):
    """Tab goes through the links, the tokens (one stop), the layer, the heads, the maps and the parts, and the focus is seen."""
    _, file = pages("softmax")
    browser.open(file)
    reached = set()
    for _ in range(80):
        browser.press("Tab")
        what = browser.value(
            "(e => [e.tagName, e.className.toString().split(' ')[0], e.dataset.test || '', e.dataset.path ?? ''])(document.activeElement)"
        )
        reached.add(tuple(what[:3]))
        outline = browser.value("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none" or what[0] == "BODY", what
    tags = {r[0] for r in reached}
    assert {"A", "BUTTON", "SELECT", "CANVAS", "INPUT", "SUMMARY"} <= tags, reached
    assert ("BUTTON", "label", "") in reached


def test_the_theme_is_switched_and_the_maps_are_drawn_anew(browser, pages):
    _, file = pages("softmax")
    browser.open(file)
    before = browser.value("document.querySelector('[data-test=map]').toDataURL()")
    browser.click("[data-test=theme]")
    assert browser.value("document.documentElement.dataset.theme") == "dark"
    assert browser.value("document.querySelector('[data-test=map]').toDataURL()") != before
    browser.click("[data-test=theme]")
    assert browser.value("document.querySelector('[data-test=map]').toDataURL()") == before


def test_text_can_be_read_in_both_themes(browser, pages):
    """Contrast of at least 4.5 for every colour of text on what it stands on (WCAG 2.1, AA)."""
    _, file = pages("softmax")
    for dark in (False, True):
        browser.open(file, dark=dark)
        names = ["--ink", "--soft", "--accent", "--warm"]
        colours = browser.value(
            f"{json.dumps([*names, '--card', '--bg', '--hush'])}.map(n => getComputedStyle(document.documentElement).getPropertyValue(n).trim())"
        )
        for name, text in zip(names, colours):
            for ground in colours[4:]:
                assert contrast(text, ground) >= 4.5, (name, text, ground)


def contrast(a, b):
    def light(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(a), light(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_colours_are_told_apart_by_lightness(browser, pages):
    """The ramp of weights gets steadily darker or lighter, so that it reads in grey; signed ones differ for red-green blind eyes."""
    _, file = pages("softmax")
    for dark in (False, True):
        browser.open(file, dark=dark)
        ramp = browser.value("Array.from({length: 21}, (_, i) => glass.shade(i / 20))")
        grey = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in ramp]
        steps = [b - a for a, b in pairwise(grey)]
        assert all(s > 0 for s in steps) or all(s < 0 for s in steps)
        plus, minus = browser.value("[glass.signed(1), glass.signed(-1)]")
        assert abs(plus[2] - minus[2]) > 80, "blue against orange: they differ in blue, which nearly everybody sees"


def test_every_neuron_in_its_circle(browser, pages):
    made, file = pages("leaf")
    browser.open(file)
    layers = made.trace.network.layers
    circles = browser.value(
        "[...document.querySelectorAll('[data-test=network] .node')].map(n => n.getAttribute('aria-label'))"
    )
    assert len(circles) == 4 + 3 + 2
    assert circles[0].startswith("input red: 32")
    assert [c.partition(":")[0] for c in circles[4:7]] == [f"hidden layer 0, neuron {n}" for n in range(3)]
    lines = browser.value("document.querySelectorAll('[data-test=network] .edge').length")
    assert lines == 4 * 3 + 3 * 2
    written = browser.value("[...document.querySelectorAll('[data-test=network] text')].map(t => t.textContent)")
    for layer in layers:
        for row in layer.weights:
            for w in row:
                assert any(t not in ("", None) and is_number(t) and number(t) == pytest.approx(w, rel=6e-3) for t in written), w
    for column, layer in enumerate(layers, 1):
        for j, total in enumerate(layer.sums[0]):
            browser.point(f'[data-neuron="{column},{j}"]')
            assert number(browser.text("[data-test=sum-value]")) == pytest.approx(total, rel=1e-3)
    assert "32 · 0.1 + 107 · (−0.29) + 56 · (−0.07) + 11.2 · 0.46 + bias 0.25 = −26.35" in neuron(browser, "1,0")


def is_number(text):
    try:
        number(text)
    except ValueError:
        return False
    return True


def neuron(browser, at):
    browser.point(f'[data-neuron="{at}"]')
    return browser.text("[data-test=sum]")


def test_keys_go_from_neuron_to_neuron(browser, pages):
    _, file = pages("leaf")
    browser.open(file)
    browser.value("document.querySelector('[data-test=network] .node.on').focus()")
    for key, expected in (
        ("ArrowDown", [1, 1]),
        ("ArrowRight", [2, 1]),
        ("ArrowUp", [2, 0]),
        ("ArrowLeft", [1, 0]),
        ("ArrowLeft", [0, 0]),
    ):
        browser.press(key)
        assert browser.value("glass.views[0].neuron") == expected
        assert browser.value("document.activeElement.dataset.neuron") == ",".join(map(str, expected)), "the focus goes along"


def test_two_models_side_by_side(browser, pages):
    made, file = pages("two")
    browser.open(file, width=1400)
    assert browser.value("glass.views.length") == 2
    assert "parameters" in browser.text("[data-test=compare]")
    tops = browser.value("[...document.querySelectorAll('#attention .pair > .one')].map(x => x.getBoundingClientRect().top)")
    assert tops[0] == tops[1]
    for view in (0, 1):
        t = browser.value(f"glass.views[{view}].t")
        assert made.traces[view].answers[t].said
    browser.value("glass.views[0].set({t: 2})")
    if len(made.traces[0].tokens) == len(made.traces[1].tokens):
        assert browser.value("glass.views[1].t") == 2
    browser.open(file, width=390, phone=True)
    tops = browser.value("[...document.querySelectorAll('#attention .pair > .one')].map(x => x.getBoundingClientRect().top)")
    assert tops[0] < tops[1], "on a phone one below the other"


RUNS = [r for r in os.environ.get("GLASS_BOX_RUNS", "").split(os.pathsep) if r]


@pytest.mark.parametrize("given", RUNS, ids=[Path(r.partition("=")[0]).parent.name for r in RUNS])
def test_pages_of_real_runs(browser, tmp_path, given):
    """RUN=PROMPT: made by the command itself, in 20 s of work and 3 MB, and opened."""
    import resource
    import subprocess
    import time

    run, _, prompt = given.partition("=")
    file = tmp_path / "page.html"
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "components", "explain", run, "--prompt", prompt, "--out", str(file)]
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    seconds, size, name = time.monotonic() - began, file.stat().st_size, f"{Path(run).parent.name}/{Path(run).name}"
    chosen = yaml.safe_load((Path(run) / "config.yaml").read_text(encoding="utf8"))["model"]
    name += f" ({chosen['name']}, {chosen['attention']['name']})" if "attention" in chosen else f" ({chosen['name']})"
    print(
        f"\nmade: {name}  {size / 1e6:.2f} MB  {seconds:.1f} s, of which {used:.1f} s of processor time (load {os.getloadavg()[0]:.1f})"
    )
    browser.open(file)
    assert browser.complaints == []
    assert browser.text("[data-test=said]")
    picture(browser, f"run-{Path(run).parent.name}-{Path(run).name}")
    assert size < 3_000_000
    assert used < 20, "alone on the machine it takes as long as it works"


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_the_report_of_a_study_opens_without_complaint_whatever_its_names(browser, tmp_path, look):
    file = report(tmp_path, hostile=True)
    width = 390 if look == "phone" else 1280
    browser.open(file, width=width, dark=look == "dark", phone=look == "phone")
    assert browser.requests == [file.resolve().as_uri()], "it loads nothing"
    assert browser.complaints == []
    assert browser.value("document.documentElement.scrollWidth") <= width, "nothing makes a phone scroll sideways"
    background = browser.value("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(18, 22, 29)" if look == "dark" else "rgb(250, 249, 245)")
    titles = browser.value("[...document.querySelectorAll('section h2')].map(x => x.textContent)")
    assert titles[0] == "The answer"
    assert len(titles) == 8
    picture(browser, f"study-{look}")


def test_a_variant_of_a_study_is_hidden_and_reached_by_keyboard(browser, tmp_path):
    browser.open(report(tmp_path, hostile=False))
    marks = "[...document.querySelectorAll('#curves .curve.v1, #costs .v1')].filter(e => getComputedStyle(e).display != 'none').length"
    shown = browser.value(marks)
    assert shown > 2
    browser.value("document.querySelector('#show0').focus()")
    browser.press("Tab")
    assert browser.value("document.activeElement.id") == "show1"
    browser.press(" ")
    assert browser.value(marks) == 0
    browser.press(" ")
    assert browser.value(marks) == shown
    names = []
    for _ in range(200):
        browser.press("Tab")
        names.append(browser.value("document.activeElement.getAttribute('aria-label') || document.activeElement.tagName"))
    assert any(n.startswith("model/position=none, step 100") for n in names)
    assert "SUMMARY" in names


def report(folder, *, hostile):
    from written_studies import speeds_of, whole

    from components.studies.answer import answer
    from components.studies.report import write

    study = whole(hostile)
    write(folder, study, speeds_of(study), answer(study, speeds_of(study)))
    return folder / "report.html"
