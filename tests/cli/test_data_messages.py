"""Whatever is wrong with the user's own data, the one line says which file, and which row of it where it is about one."""

from __future__ import annotations

import json

import pytest

from components.cli import main

GPT = ["recipe=gpt_python", "tokenizer=byte", "task.samples=0"]
KINDS = {
    "text": [*GPT, "task.judged_samples=0", "data=text"],
    "conversations": [*GPT, "data=conversations", "task=instruction_tuning"],
    "labelled_text": [
        *("recipe=ladder/09_gpt", "tokenizer=byte", "data=labelled_text", "task=classification", "loss=classification"),
        *("model/head=classification", "model.head.n_classes=2"),
    ],
    "table": ["recipe=ladder/01_leaf_flower", "data=table"],
    "text_pairs": ["recipe=ladder/11_translation", "data=text_pairs"],
}


def rows(*rows: object) -> str:
    return "\n".join(map(json.dumps, rows))


def labels(n: int, of: int) -> str:
    return rows(*({"text": f"t {i}", "label": i % of} for i in range(n)))


def talk(*messages: object) -> str:
    return rows({"messages": list(messages)})


def pairs(source: str, n: int) -> str:
    return rows(*({"source": source.format(i), "target": f"b{i}"} for i in range(n)))


# (kind, file, its content, what is said of it: the row where it is about one)
CASES = [
    ("text", "x.csv", "", "none of the documents"),
    ("text", "x.csv", "text\n", "none of the documents"),
    ("text", "x.csv", 'text\n"a', "x.csv:2: is no table"),
    ("text", "x.json", "[" * 100_000, "x.json: is no JSON that can be read (nested too deeply)"),
    ("text", "x.json", f"[{'9' * 5000}]", "x.json: is no JSON that can be read (Exceeds the limit"),
    ("text", "x.json", '{"a":1', "x.json:1: is no JSON"),
    ("text", "x.jsonl", "[" * 100_000, "x.jsonl:1: is no JSON that can be read (nested too deeply)"),
    ("text", "x.jsonl", '{"text": 3}', "x.jsonl:1: field 'text' is no text but int"),
    ("text", "x.jsonl", '{"txt": "a"}', "x.jsonl:1: has no field 'text'; did you mean 'txt'? fields: txt; choose by data.field="),
    ("text", "x.jsonl", rows({"text": "a" * 500_000}), "leave the validation split empty"),
    ("text", "x.txt", "a", "leave the validation split empty"),
    ("text", "x.txt", " \n\n ", "none of the documents"),
    ("text", "x.parquet", "PAR1", "x.parquet: is no parquet file"),
    ("conversations", "x.jsonl", talk({"role": "user", "content": [1]}), "x.jsonl:1 messages[0]: holds a part"),
    ("conversations", "x.jsonl", rows({"messages": "a"}), "x.jsonl:1: field 'messages' is no list"),
    ("conversations", "x.jsonl", talk(1, 2), "x.jsonl:1 messages[0]: is no object"),
    ("conversations", "x.jsonl", talk({"role": ["a"], "content": "a"}), "x.jsonl:1 messages[0]: has the role"),
    ("conversations", "x.jsonl", talk(), "none of the examples"),
    ("conversations", "x.jsonl", talk({"role": "user", "content": "a"}, {"role": "bot", "content": "\ue000"}), "split empty"),
    ("labelled_text", "x.jsonl", labels(20, 1), "2 scores for 1 labels"),
    ("labelled_text", "x.jsonl", labels(200, 100), "2 scores for 100 labels"),
    ("labelled_text", "x.jsonl", '{"text":"a","label":Infinity}', "x.jsonl:1: field 'label' is no label"),
    ("labelled_text", "x.tsv", 'text\tlabel\n"a\tb\n"c"d\te\n', "x.tsv:3: is no table"),
    ("table", "x.csv", "", "none of the examples"),
    ("table", "x.csv", "a,b\n1,2\n", "x.csv:2: has no column 'label'"),
    ("table", "x.csv", "a,label\nx,y\n", "has no column of numbers"),
    ("table", "x.csv", "".join(["a,label\n", *(f"{i},{i % 2}\n" for i in range(60))]), "a row has 1 numbers, and the model reads 4"),
    ("table", "x.csv", "a,label\n1e999,y\n2,z\n", "x.csv:2: column 'a' holds '1e999'"),
    ("text_pairs", "x.jsonl", pairs("a", 50), "leave the train split empty"),
    ("text_pairs", "x.jsonl", pairs("a " * 3000 + "{}", 50), "has no example that fits"),
    ("text_pairs", "x.csv", "source,target\na,b,c\n", "x.csv:2: has 3 cells"),
    ("text_pairs", "x.jsonl", rows({"source": 1, "target": ""}), "x.jsonl:1: field 'source' is no text"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "content", "says"), CASES, ids=[f"{c[0]}-{i}" for i, c in enumerate(CASES)])
def test_the_one_line_names_the_file(kind, name, content, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(content)
    cpu = ("trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.max_steps=1", "paths.cache=cache")
    assert main(["train", *KINDS[kind], f"data.path={name}", *cpu]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: "), err
    assert err.count("\n") == 1, err
    assert str(tmp_path / name) in err, err
    assert says in err, err
    assert not (tmp_path / "runs").exists()
    if (
        "x." in says and name != "x.parquet" and "x.json:" not in says
    ):  # of a row: nothing has been read, so the error stands alone
        assert "difference" not in out, out


def test_a_file_that_is_none_and_one_that_memory_does_not_hold(tmp_path, monkeypatch, capsys):
    import os

    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.txt")
    assert main(["train", *KINDS["text"], "data.path=pipe.txt"]) == 2
    assert "pipe.txt" in capsys.readouterr().err
    with open("big.txt", "wb") as f:
        f.truncate(2**20)
    monkeypatch.setattr("components.parts.data._files.Path.read_bytes", lambda _: bytearray(2**62))
    assert main(["train", *KINDS["text"], "data.path=big.txt"]) == 2
    assert "big.txt: is larger than the memory" in capsys.readouterr().err
