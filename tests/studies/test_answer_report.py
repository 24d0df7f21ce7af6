"""What a study leaves: one page that loads nothing, report.md, pictures, answer.json; names from anybody break none of them."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from written_studies import HOSTILE, speeds_of, study_of, whole

from components.core.errors import printable
from components.studies.answer import answer
from components.studies.asked import WORDS, Asked
from components.studies.report import terminal, write
from components.studies.report.charts import numbers
from components.studies.report.markdown import markdown, plain
from components.studies.report.page import TITLES, page
from components.studies.report.series import curves, differences, fronts
from components.studies.report.svg import Axis, Picture
from components.studies.report.tables import interval, pairing, trials
from components.studies.typed import typed

VOID = {"meta", "input", "br"}


class Outline(HTMLParser):
    """Elements, their attributes, texts by element; fails on tags that do not match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.texts = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *a) for a in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *a) for a in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "hostile"])
def study(request):
    return whole(request.param)


@pytest.fixture(scope="module")
def found(study):
    return answer(study, speeds_of(study))


def test_the_page_is_whole_and_loads_nothing(study, found):
    text = page(study, found)
    outline = Outline(text)
    assert not {"script", "link", "img", "iframe", "base", "object"} & set(outline.tags)
    assert not [a for a in outline.attributes if a[1].startswith("on") or a[1] == "src"]
    assert all(value.startswith("#") for _, name, value in outline.attributes if name == "href")
    assert "url(" not in text
    assert "@import" not in text
    assert "prefers-color-scheme: dark" in text
    assert not re.search("NaN|nan\\b|Infinity|\\binf\\b|None", "".join(outline.texts))
    for title in set(TITLES.values()) - {TITLES["secondary"]}:
        assert title in outline.texts, title
    for row in found.rows:
        assert printable(row.variant) in "".join(outline.texts)
        assert row.effect is None or printable(row.effect.sentence) in outline.texts
    ids = [value for _, name, value in outline.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {value[1:] for _, name, value in outline.attributes if name == "href"} <= set(ids)


def test_a_keyboard_gets_everywhere(study, found):
    outline = Outline(page(study, found))
    assert ("polyline", "tabindex", "0") not in outline.attributes
    told = [value for tag, name, value in outline.attributes if tag == "circle" and name == "aria-label"]
    assert any("lower by" in t for t in told)
    assert len(told) == outline.attributes.count(("circle", "tabindex", "0"))
    assert outline.tags.count("input") == len(study.variants), "each can be hidden"
    assert outline.tags.count("details") == outline.tags.count("summary") == 3, "each picture is also a table"


def test_a_width_that_the_budget_solved_is_said_once():
    """What the config says of it before is ``null``, which tells nobody anything."""
    study = whole(False)
    said = Outline(page(study, answer(study, speeds_of(study)))).texts
    assert [t for t in said if t.startswith("model.ffn")] == [
        "model.ffn: glu -> mlp",
        "model.ffn.d_ff: 172 -> 258, to match the budget",
    ]


def test_names_cannot_turn_the_text_round():
    study = whole(hostile=True)
    text = page(study, answer(study, []))
    assert "\u202e" in HOSTILE
    assert "\u202e" not in text
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_markdown_has_nothing_but_its_own_markup(study, found):
    text = markdown(study, found, {"intervals.png": "Differences"})
    assert "![Differences](intervals.png)" in text
    head, *rows = [line for line in text.splitlines() if line.startswith("|")]
    columns = len(re.findall(r"(?<!\\)\|", head))
    assert len(rows) == 1 + len(study.variants)
    assert all(len(re.findall(r"(?<!\\)\|", row)) == columns for row in rows)
    outside = re.sub(r"(?ms)^(`{3,})sh$.*?^\1$", "", text)  # the command stands in a fence that it cannot end
    assert "<script>" not in re.sub(r"\\[<>]", "", outside)
    assert text.count("components ablate recipe=llama_tiny") == 1
    assert plain("a|b `c` <d> $e$") == r"a\|b \`c\` \<d\> \$e\$"


def test_the_command_of_the_page_asks_the_same():
    asked = Asked(
        ("recipe=llama_tiny", "model/norm=rms,layer"),
        seeds=5,
        match="flops",
        tune="optimizer.lr:[1e-3,3e-3]",
        metric="val_loss,lr",
    )
    said = typed(asked.typed, WORDS)
    assert Asked(tuple(said.overrides), **said.own) == asked
    assert Asked(("a=b",)).typed == ("a=b", "seeds=3"), "what stands at its default is left out"


def test_everything_is_written_and_read_back(study, found, tmp_path):
    write(tmp_path / "new", study, speeds_of(study), found)
    names = {p.name for p in (tmp_path / "new").iterdir()}
    assert names == {"report.html", "report.md", "answer.json", "intervals.png", "curves.png", "costs.png"}
    for name in ("intervals.png", "curves.png", "costs.png"):
        content = (tmp_path / "new" / name).read_bytes()
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        assert len(content) > 10_000
    held = json.loads((tmp_path / "new" / "answer.json").read_text(encoding="utf8"))
    assert held == json.loads(json.dumps(found.as_data()))
    before = (tmp_path / "new" / "report.html").read_bytes()
    write(tmp_path / "new", study, speeds_of(study), found)
    assert (tmp_path / "new" / "report.html").read_bytes() == before, "the same answer is the same page"


def test_the_terminal_has_a_row_and_a_sentence_for_each(study, found, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    text = terminal(study, found)
    for row in found.rows[1:]:
        assert row.effect.sentence.split(":")[0] in " ".join(text.split())
    assert all(len(line) <= 120 for line in text.splitlines())
    assert text.isprintable() or set(c for c in text if not c.isprintable()) == {"\n"}
    assert "at the edge of what was tried" in " ".join(text.split())
    assert "refused: model/position=rope_2d" in " ".join(text.split())


@pytest.mark.parametrize(
    "losses",
    [
        {"recipe": [2.6], "v": [2.7]},
        {"recipe": [None, None], "v": [2.7, 2.6]},
        {"recipe": [2.6, 2.5], "v": [None, None]},
        {"recipe": [2.6, 2.5], "v": [2.6, 2.5]},
        {"recipe": [2.6, 2.5], "v": [math.nan, 2.5]},
        {"recipe": [None], "v": [None]},
        {"recipe": [0.0, 0.0], "v": [0.0, 0.0]},
    ],
    ids=["one seed", "no recipe", "no variant", "equal", "diverged", "nothing", "zero"],
)
def test_a_study_that_says_little_still_has_its_report(losses, tmp_path):
    study = study_of(losses)
    found = answer(study, [])
    write(tmp_path, study, [], found)
    Outline((tmp_path / "report.html").read_text(encoding="utf8"))
    assert found.rows[1].effect.sentence in terminal(study, found).replace("\n  ", " ")
    json.loads((tmp_path / "answer.json").read_text(encoding="utf8"), parse_constant=lambda c: pytest.fail(c))


def test_many_variants_and_long_names(tmp_path):
    losses = {f"model/attention=attention_{i},model/ffn={'x' * 120}": [2.5 + i / 100, 2.6 + i / 90] for i in range(30)}
    study = study_of({"recipe": [2.5, 2.61], **losses})
    write(tmp_path, study, speeds_of(study), answer(study, speeds_of(study)))
    assert Outline((tmp_path / "report.html").read_text(encoding="utf8")).tags.count("input") == 31


def test_what_the_curves_show():
    study = study_of({"recipe": [2.0, 3.0], "v": [2.5, 3.1], "failed": [None, 3.0]})
    found = answer(study, [])
    recipe, v, _ = curves(study, found)
    assert (recipe.steps, recipe.middle[-1], recipe.low[-1], recipe.high[-1]) == ((20, 60, 100), 2.5, 2.0, 3.0)
    assert v.place == 1
    apart, failed = differences(study, found)
    assert apart.middle[-1] == pytest.approx(0.3)
    assert apart.low[-1] == pytest.approx(found.rows[1].effect.interval[0])
    assert (failed.low, failed.high) == (failed.middle, failed.middle), "one pair has no interval"


def test_curves_of_other_lengths_meet_where_both_were_looked_at():
    study = study_of({"recipe": [2.0, 3.0], "v": [2.5, 3.1]})
    runs = tuple(replace(r, curve={"step": [60, 90], "val_loss": [2.0, 1.0]}) if r.variant == "v" else r for r in study.runs)
    apart = differences(replace(study, runs=runs), answer(study, []))
    assert [line.steps for line in apart] == [(60,)]


def test_the_front_is_what_nothing_cheaper_beats():
    study = study_of({"recipe": [2.6, 2.6], "worse": [2.7, 2.7], "better": [2.5, 2.5], "as good": [2.5, 2.5]})
    shown = fronts(study, answer(study, speeds_of(study)))
    assert [f.cost for f in shown] == ["seconds of training", "FLOPs of training", "parameters"]
    for front in shown:
        assert [p.front for p in front.points] == [True, False, True, False]
    more = replace(study, lower_is_better=False)
    assert [p.front for p in fronts(more, answer(more, []))[-1].points] == [True, True, False, False]


def test_a_cost_that_is_the_same_for_all_is_named_and_not_drawn():
    study = study_of({"recipe": [2.0, 2.1], "a": [2.2, 2.3], "b": [1.9, 2.0]})
    found = answer(study, speeds_of(study))
    assert [f.equal for f in fronts(study, found)] == [False, False, True]  # 64 parameters in 132,032
    shown = page(study, found)
    assert "Equal for all, to 1%, and so not drawn: parameters." in shown
    assert "val_loss over FLOPs of training" in shown
    assert "val_loss over parameters" not in shown
    level = replace(study, variants=tuple(replace(v, parameters=9, flops_per_token=1e5) for v in study.variants))
    alone = page(level, answer(level, []))
    assert "not drawn: FLOPs of training, parameters." in alone
    assert "Filled: on the front" not in alone


def test_numbers_of_points_that_lie_together_do_not():
    together = [(100.0, 100.0), (100.0, 103.0), (102.0, 100.0), (300.0, 100.0)]
    placed = numbers(together)
    assert placed[3] == (309.0, 93.0)
    for i, (x, y) in enumerate(placed):
        assert all(abs(x - a) > 9 or abs(y - b) > 11 for a, b in placed[:i])


def test_the_best_of_tuning_and_where_it_lies_at_the_edge():
    study = whole()
    recipe, tanh = trials(study, "recipe"), trials(study, "model/norm=dynamic_tanh")
    assert [(t.run.options["optimizer.lr"], t.best, t.edge) for t in recipe if t.best] == [(3e-3, True, ())]
    assert [(t.run.options["optimizer.lr"], t.edge) for t in tanh if t.best] == [(1e-2, ("optimizer.lr",))]
    assert "at the edge" in page(study, answer(study, []))


def test_what_pairing_bought():
    alike = study_of({"recipe": [2.5, 2.7, 2.6], "v": [2.511, 2.709, 2.61]})
    assert "single runs by 0.10" in pairing(answer(alike, []))
    assert "times as many runs" in pairing(answer(alike, []))
    assert "bought nothing" in pairing(answer(study_of({"recipe": [2.5, 2.7, 2.6], "v": [2.7, 2.5, 2.6]}), []))


def test_ticks_are_round_and_inside():
    for low, high in ((0.0, 1.0), (2.571, 2.6034), (-3e-7, 5e-7), (132_032, 132_288), (1e9, 7e12), (0.0, 0.0), (5.0, 5.0)):
        axis = Axis([low, high], 0, 600)
        ticks = axis.ticks(6)
        assert 1 <= len(ticks) <= 7
        assert len({text for _, text in ticks}) == len(ticks)
        assert all(-0.01 <= axis(v) <= 600.01 for v, _ in ticks)
    assert interval((-0.0358, 0.0291)) == "\u22120.036 to +0.029"


@pytest.mark.parametrize("last", [4.2, 12000, 1_000_000])
def test_a_tick_at_an_edge_is_not_cut_off(last):
    picture = Picture(720, 300, "edges")
    picture.axes(Axis([0.0, last], 70, 718, margin=0.0), None)
    ticks = re.findall(r'x="([\d.]+)" y="[\d.]+" text-anchor="middle">([^<]+)<', str(picture))
    assert len(ticks) >= 5
    assert all(float(x) + 4 * len(text) <= 720 for x, text in ticks)
