"""Sources of examples that need no file: what they are is what the texts say, and each gives the same every time."""

from __future__ import annotations

import gettext
import struct
from datetime import date

import pytest

from components import build
from components.core.errors import UserError
from components.core.extras import EXTRA
from components.corpus import prepare
from components.parts.data import _catalogues
from components.parts.data.rhyme import RHYME


def examples(name: str, **options):
    return list(build("data", name, **options).examples())


# leaf_flower, rhyme


def test_the_table_of_leaves_and_flowers():
    found = examples("leaf_flower")
    assert [(e.split, e.answer) for e in found] == [
        ("train", "flower"),
        ("train", "flower"),
        ("train", "leaf"),
        ("train", "leaf"),
        ("train", "flower"),
        ("train", "flower"),
        ("validation", "leaf"),
        ("validation", "flower"),
    ]
    assert found[0].input == ((242, 124, 242, 17.1),)
    assert found[6].input == ((32, 107, 56, 11.2),)
    weights = (0.10, -0.29, -0.07, 0.46)
    assert sum(w * v for w, v in zip(weights, found[6].input[0])) == pytest.approx(-26.598)
    assert build("data", "leaf_flower").labels == ("leaf", "flower")


def test_its_numbers_can_be_made_small():
    assert examples("leaf_flower", divide_by=255.0)[0].input[0][0] == pytest.approx(242 / 255)
    assert build("data", "leaf_flower", divide_by=255.0).fingerprint() != build("data", "leaf_flower").fingerprint()


def test_twelve_characters_of_the_rhyme_are_followed_by_one_alone():
    assert RHYME.startswith("humpty dumpty sat on the wall\n")
    assert RHYME.islower()
    after: dict[str, set[str]] = {}
    for i in range(len(RHYME) - 12):
        after.setdefault(RHYME[i : i + 12], set()).add(RHYME[i + 12])
    assert all(len(following) == 1 for following in after.values())


def test_the_rhyme_is_a_corpus_of_one_document(tmp_path):
    corpus = prepare(build("data", "rhyme"), build("tokenizer", "char"), cache=tmp_path, validation=0.0)
    assert list(corpus.text("train")) == [RHYME]
    with pytest.raises(UserError, match="leave the validation split empty"):
        prepare(build("data", "rhyme"), build("tokenizer", "char"), cache=tmp_path)


# babel_dates


def test_dates_are_the_same_day_in_both_languages():
    found = examples("babel_dates", count=500)
    assert found == examples("babel_dates", count=500)
    assert found != examples("babel_dates", count=500, seed=1)
    months = [
        "janvier",
        "février",
        "mars",
        "avril",
        "mai",
        "juin",
        "juillet",
        "août",
        "septembre",
        "octobre",
        "novembre",
        "décembre",
    ]
    english = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    days = ["lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche"]
    seen, forms = set(), set()
    for e in found:
        *weekday, monthday, year = e.input.split(", ")
        month, day = monthday.split()
        when = date(int(year), english.index(month[:3]) + 1, int(day))
        expected = f"{when.day} {months[when.month - 1]} {when.year}"
        assert e.answer == (f"{days[when.weekday()]} {expected}" if weekday else expected)
        seen.add(when)
        forms.add((bool(weekday), len(month) > 3))
    assert len(seen) == 500  # so that no day is in two splits
    assert {(True, True), (False, True), (False, False)} <= forms


def test_the_day_of_the_week_in_the_answer():
    asked = [e.input for e in examples("babel_dates", count=60, target="de")]
    kept, never, always = (
        [e.answer for e in examples("babel_dates", count=60, target="de", weekday=w)] for w in ("kept", "never", "always")
    )
    assert [("tag," in a or "woch," in a) for a in kept] == ["day," in q for q in asked]
    assert not any("tag," in a for a in never)
    assert all("tag," in a or "woch," in a for a in always)


def test_chinese_dates():
    answers = [e.answer for e in examples("babel_dates", count=50, target="zh", weekday="never")]
    assert all("年" in a and "月" in a and a.endswith("日") for a in answers)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": "fx"}, "data.target: babel has no locale 'fx'"),
        ({"source": "en_QQQ"}, "data.source: babel has no locale 'en_QQQ'; did you mean 'en_"),
        ({"first_year": 2000, "last_year": 1999}, "first_year=2000 and last_year=1999"),
        ({"first_year": 2000, "last_year": 2000, "count": 367}, "count=367 is more than the 366 days"),
    ],
)
def test_dates_that_there_are_not(options, words):
    with pytest.raises(ValueError, match=words):
        build("data", "babel_dates", **options)


@pytest.mark.parametrize(("name", "package"), [("babel_dates", "babel"), ("language_id", "django")])
def test_a_package_that_is_not_there_is_named(monkeypatch, name, package):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    monkeypatch.setattr(_catalogues, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=rf"pip install 'lightning-components\[{EXTRA[package]}\]'"):
        build("data", name)


# gettext, language_id


def write_catalogue(file, messages: dict[str, str], *, order: str = "<", charset: str = "UTF-8") -> None:
    """A catalogue as msgfmt writes it."""
    held = {"": f"Content-Type: text/plain; charset={charset}\n", **messages}
    ids, strings = ([t.encode(charset) for t in texts] for texts in (held.keys(), held.values()))
    at, tables, data = 28 + 16 * len(held), [], b""
    for texts in (ids, strings):
        for text in texts:
            tables.append(struct.pack(f"{order}2I", len(text), at + len(data)))
            data += text + b"\0"
    file.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack(f"{order}7I", 0x950412DE, 0, len(held), 28, 28 + 8 * len(held), 0, 0)
    file.write_bytes(head + b"".join(tables) + data)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with two catalogues of French and one of Chinese."""
    monkeypatch.setattr("components.parts.data.gettext.roots", lambda: [str(tmp_path)])
    write_catalogue(
        tmp_path / "a/fr/LC_MESSAGES/a.mo",
        {
            "yes": "oui",
            "menu\x04open": "ouvrir",
            "%d file\0%d files": "%d fichier\0%d fichiers",
            "one egg\0eggs": "un œuf\0des œufs",
            "OK": "OK",
            "nothing": "",
            "x" * 300: "long",
        },
    )
    write_catalogue(tmp_path / "b/fr_FR/LC_MESSAGES/b.mo", {"yes": "si", "no": "été"}, order=">", charset="latin-1")
    write_catalogue(tmp_path / "b/fr/LC_MESSAGES/iso_639.mo", {"Basque": "basque"})
    write_catalogue(tmp_path / "b/zh_CN/LC_MESSAGES/b.mo", {"yes": "是"})
    return tmp_path


def test_pairs_of_the_catalogues_that_are_there(machine):
    source = build("data", "gettext")
    assert [(e.input, e.answer) for e in source.examples()] == [
        ("yes", "oui"),
        ("open", "ouvrir"),
        ("one egg", "un œuf"),
        ("no", "été"),
    ]
    assert next(source.examples()).origin == str(machine / "a/fr/LC_MESSAGES/a.mo")
    list(source.examples())
    assert source.notes == [
        "4 strings in fr from 2 catalogues; left out: 3 too long, marked or not translated, 1 that an earlier catalogue translates otherwise"
    ]
    assert ("%d file", "%d fichier") in [(e.input, e.answer) for e in examples("gettext", marked=True)]
    assert [e.answer for e in examples("gettext", language="zh_Hans")] == ["是"]


def test_fingerprint_follows_what_is_installed(machine):
    before = build("data", "gettext").fingerprint()
    assert before == build("data", "gettext").fingerprint()
    assert before != build("data", "gettext", max_chars=20).fingerprint()
    write_catalogue(machine / "c/fr/LC_MESSAGES/c.mo", {"new": "nouveau"})
    assert before != build("data", "gettext").fingerprint()


@pytest.mark.usefixtures("machine")
def test_no_catalogue_says_what_to_install():
    with pytest.raises(
        UserError, match=r"no catalogue of 'ff' was found on this machine; pip install django .* did you mean 'fr'"
    ):
        examples("gettext", language="ff")


def test_a_damaged_catalogue_is_named(machine):
    file = machine / "a/fr/LC_MESSAGES/a.mo"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"a\.mo: is cut short"):
        examples("gettext")
    file.write_bytes(b"text")
    with pytest.raises(UserError, match=r"a\.mo: is no catalogue"):
        examples("gettext")


def test_a_real_catalogue_is_read_as_python_reads_it():
    file = _catalogues.catalogues([_catalogues.django()])["fr"][0]
    with open(file, "rb") as f:
        known = gettext.GNUTranslations(f)
    found = [(m, forms[0]) for m, forms in _catalogues.messages(file) if forms]
    assert len(found) > 100
    agreed = [said in (known.gettext(m), known.ngettext(m, m, 1)) for m, said in found]
    assert sum(agreed) > 0.9 * len(found)  # the others have a context


def test_languages_told_apart():
    source = build("data", "language_id", languages=("de", "en", "fr"))
    found = list(source.examples())
    assert source.labels == ("de", "en", "fr")
    assert {e.answer for e in found} == {"de", "en", "fr"}
    assert len({e.input for e in found}) == len(found) > 600
    assert all(len(e.input) >= 8 and "%" not in e.input for e in found)
    assert "left out that several of them have" in source.notes[0]
    everything = build("data", "language_id")
    assert len(everything.labels) > 80
    assert "en" in everything.labels
    with pytest.raises(UserError, match="Django has no language 'dx'; did you mean 'id'"):
        build("data", "language_id", languages=("dx",))
