"""The battery of sources has teeth: every deliberately faulty source is caught by the property that names its fault, and by no other."""

from __future__ import annotations

import inspect

import faulty_sources as f
import pytest

from components.check import battery, judged

DECLARES, GIVES, SAME = "declares what it gives", "gives what it declares", "is the same each time"
OPTIONS, FILE = "its fingerprint follows its options", "its fingerprint follows its file"
SOUND = [f.Numbers, f.Lines, f.Talks]
FAULTY = [
    (f.InAnyOrder, SAME, "read again, number 1 is another one"),
    (f.SaysItOnce, SAME, "read again, number 1 is another one"),
    (f.StampsTheTime, SAME, "its fingerprint is "),
    (f.ForgetsAnOption, OPTIONS, "count=7 changes what it gives"),
    (f.ForgetsASwitch, OPTIONS, "upper=True changes what it gives"),
    (f.LooksAtTheNameAlone, FILE, "a row was added to the file"),
    (f.SaysNothing, DECLARES, "names none of text, labels"),
    (f.PromisesText, DECLARES, "there is no method documents"),
    (f.GivesNothing, GIVES, "it gives nothing at all"),
    (f.NumbersTheLabels, GIVES, "numbers:1: its answer is no text but int"),
    (f.AnotherLabel, GIVES, "numbers:12: the label 'big' is not among its labels"),
    (f.Ragged, GIVES, "numbers:2: its input has 2 numbers where those before it have 1"),
    (f.FiguresOfNumpy, GIVES, "numbers:1: its input holds float32"),
    (f.Lists, GIVES, "numbers:1: its input is no tuple of tuples of numbers"),
    (f.AnotherRole, GIVES, "numbers:1: its input is no tuple of {"),
    (f.NoPlace, GIVES, "its origin '' and line 0 are no place"),
    (f.AnotherSplit, GIVES, "numbers:1: its split is 'dev'"),
]
# nothing else can be read of a source whose words are wrong
ALSO = {f.SaysNothing: {GIVES}, f.PromisesText: {GIVES, SAME, OPTIONS}}


def broken(source: type) -> dict[str, str]:
    return {v.name: v.text for v in judged(battery(source, kind="data")) if not v.holds}


@pytest.mark.parametrize("source", SOUND)
def test_sound_sources_hold(source):
    assert broken(source) == {}


@pytest.mark.parametrize(("source", "name", "words"), FAULTY, ids=[case[0].__name__ for case in FAULTY])
def test_each_fault_is_caught_by_name(source, name, words):
    found = broken(source)
    assert words in found[name]
    assert set(found) <= {name} | ALSO.get(source, set()), found


def test_every_faulty_source_is_among_them():
    classes = {c for c in vars(f).values() if inspect.isclass(c) and c.__module__ == f.__name__}
    assert classes == {*SOUND, *(case[0] for case in FAULTY)}


def test_a_file_is_asked_for_alone_where_nobody_names_one(tmp_path):
    assert FILE in {c.name for c in battery(f.Lines, kind="data")}
    (tmp_path / "mine.txt").write_text("one\n")
    cases = battery("data/text", {"path": str(tmp_path / "mine.txt")})
    assert FILE not in {c.name for c in cases}
    assert all(v.holds for v in judged(cases))
    assert (tmp_path / "mine.txt").read_text() == "one\n"
