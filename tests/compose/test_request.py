"""The words of a command are parsed once: what they say of where a run begins is the same for every command, and for Python."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.cli import main
from components.compose import composed, multirun, request
from components.compose.composed import compose
from components.compose.grammar import in_quotes, literal
from components.compose.request import BEGINNINGS, Request, recipe_word
from components.core.errors import UserError

SOURCES = Path(composed.__file__).parents[1]


def test_a_request_keeps_every_word_in_order() -> None:
    words = [
        "seed=1,2",
        "+recipe='my recipe'",
        "hydra/launcher=joblib",
        "model/norm=rms",
        "++init_from=null",
        "hydra.sweep.dir=a,b",
    ]
    asked = Request.of(words)
    assert [a.typed for a in asked.arguments] == [words[0], words[1], words[3], words[4]]
    assert asked.hydra == (words[2], words[5]), "word for word"
    assert [a.key for a in asked.overrides] == ["seed", "model.norm"]
    assert asked.recipe == "my recipe"
    assert asked.arguments[1].text == "'my recipe'", "the quotes stay: to a sweep they mean one value"


def test_null_is_not_the_same_as_not_given() -> None:
    assert Request.of(["init_from=null"]).given == ("init_from",)
    assert Request.of(["init_from=null"]).init_from is None
    assert Request.of(["seed=1"]).given == ()
    assert Request.of(["init_from=null", "seed=1"]).without("init_from") == Request.of(["seed=1"])
    assert Request.of(["init_from='null'"]).init_from == "null"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["recipe=a", "+recipe=b"], "recipe: given twice: a, b; choose one"),
        (["resume=a", "++resume=null"], "resume: given twice: a, null; choose one"),
        (["init_from="], "init_from: no name after init_from=; give a run's folder"),
        (["recipe="], "recipe: no name after recipe=; components list recipe says which there are"),
        (["recipe=null"], "'recipe=null': names no recipe; write recipe=<name>"),
        (["recipe=[a,b]"], "'recipe=[a,b]': names no recipe"),
        (["recipe.x=1"], "'recipe.x=1': names no recipe"),
        (["~recipe", "seed=1"], "'~recipe': names no recipe"),
        (["recipe=a,b"], "'recipe=a,b': is a sweep; add --multirun"),
        (["recipe='a,b'"], "unknown recipe 'a,b'"),
        (["recipe=2024"], "unknown recipe '2024'"),
        (["recipe=größe"], "unknown recipe 'größe'"),
    ],
)
def test_the_command_line_and_python_say_the_same(words, says, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as e:
        compose(None, words)
    assert says in str(e.value)
    for command in ("train", "validate", "show"):
        assert main([command, *words]) == 2
        assert says in capsys.readouterr().err


def test_a_recipe_beside_the_words_counts_as_one_of_them(tmp_path) -> None:
    assert Request.of([], "gpt_python") == Request.of(["recipe=gpt_python"])
    assert Request.of([], "it's (1), 2.yaml").recipe == "it's (1), 2.yaml"
    for door in (compose, lambda name, words: multirun.multirun(name, words, cwd=tmp_path)):
        with pytest.raises(UserError, match="recipe: given twice: gpt_python, llama_tiny"):
            door("gpt_python", ["recipe=llama_tiny"])


@pytest.mark.parametrize("name", ["plain", "it's", "'quoted", 'a "b" c', "a,b", "''", "a (1)/b"])
def test_quotes_come_off_as_they_went_on(name) -> None:
    assert literal(in_quotes(name)) == (name if name != "''" else "")
    word = f"init_from={in_quotes(name)}"
    asked = compose("gpt_python", [word])
    assert asked.config["init_from"] == Request.of([word]).init_from
    assert compose("gpt_python", [f"paths.runs={in_quotes(name)}"]).config["paths"]["runs"] == Request.of([word]).init_from


def test_only_one_pair_of_quotes_comes_off() -> None:
    assert compose("gpt_python", ["init_from=\"'a'\""]).config["init_from"] == "'a'"
    assert compose("gpt_python", [r"init_from='it\'s'"]).config["init_from"] == "it's"


def test_a_word_that_is_still_typed() -> None:
    assert [recipe_word(w) for w in ("recipe=a", "+recipe='a b'", "recipe=", "recipe", "xrecipe=a", "recipes=a")] == [
        *("a", "a b", ""),
        *(None,) * 3,
    ]


def constants(file: Path) -> Iterator[tuple[str, ast.AST]]:
    """(text, the call that it is given to) of every literal argument."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf8"))):
        for argument in node.args if isinstance(node, ast.Call) else ():
            found = argument.elts if isinstance(argument, ast.Tuple) else [argument]
            yield from ((c.value, node) for c in found if isinstance(c, ast.Constant) and isinstance(c.value, str))


READS = ("startswith", "removeprefix", "partition", "split", "match", "fullmatch", "search", "findall", "compile")
QUOTES = ("strip", "lstrip", "rstrip", "removeprefix", "removesuffix")


def readers(names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for file in SOURCES.rglob("*.py"):
        if "_share" not in file.parts:
            for text, call in constants(file):
                if getattr(getattr(call, "func", None), "attr", "") in names:
                    yield str(file.relative_to(SOURCES)), text


def test_where_a_run_begins_is_recognised_in_one_file() -> None:
    found = {file for file, text in readers(READS) if any(f"{key}=" in text for key in BEGINNINGS)}
    assert found == {str(Path(request.__file__).relative_to(SOURCES))}


def test_quotes_are_taken_off_in_one_function() -> None:
    assert {
        file for file, text in readers(QUOTES) if {*text} & {*"'\""} and file.startswith(("compose", "runs", "run.py"))
    } == set()
    cut = set()
    for folder in ("compose", "runs", "cli", "explain"):
        for file in (SOURCES / folder).glob("*.py"):
            tree = ast.parse(file.read_text(encoding="utf8"))
            for function in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)):
                for node in ast.walk(function):
                    quoted = isinstance(node, ast.Subscript) and ast.unparse(node.slice) == "1:-1"
                    if quoted and isinstance(node.value, ast.Name):
                        cut.add(f"{folder}/{file.name}: {function.name}")
    assert cut == {"compose/grammar.py: literal"}
