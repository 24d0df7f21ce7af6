"""``components generate RUN --prompts FILE --to FILE``: what a teacher writes, and a student that learns from it."""

# ruff: noqa: ARG001  fixtures
from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_recipe

import components
from components.cli import main
from components.corpus.tokens import Tokens
from components.generation.completions import write_completions
from components.generation.loaded import Loaded

ASKED = ["the tree", "the stone number", "a river", "the tree"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher")
    with pytest.MonkeyPatch.context() as patch:
        tiny_recipe.write(folder, patch)
        options = ["trainer.max_steps=20", "task.samples=0", "optimizer.lr=0.03", "task.validation_every=20"]
        return components.train("./tiny.yaml", options, quiet=True).folder.resolve()


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("asked.jsonl").write_text("\n".join(json.dumps({"prompt": p, "more": 1}) for p in ASKED) + "\n")
    return tmp_path


def rows(file: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in Path(file).read_text().splitlines()]


def test_a_teacher_writes_and_a_student_reads(teacher, here, capsys):
    words = ["generate", str(teacher), "--prompts", "asked.jsonl", "--max-new-tokens", "6"]
    assert main([*words, "--to", "chat.jsonl", "decoding=greedy"]) == 0
    assert "4 completions" in capsys.readouterr().out
    made = rows("chat.jsonl")
    assert [row["prompt"] for row in made] == ASKED
    loaded = components.load(teacher, ["decoding=greedy"])
    assert [row["prompt"] + row["completion"] for row in made] == [loaded.generate(p, max_new_tokens=6) for p in ASKED]
    data = ["data=conversations", "data.path=chat.jsonl", "task=instruction_tuning", "task.validation_fraction=0.5"]
    small = ["recipe=llama_tiny", "model.d_model=16", "model.n_layers=1", "tokenizer=byte", "trainer.max_steps=2"]
    assert main(["train", *small, *data, "task.samples=0", "task.validation_every=2", "task.batch_size=2"]) == 0
    student = next(Path("runs").glob("*/*"))
    assert json.loads((student / "summary.json").read_text())["state"] == "finished"
    # its tokenizer has a chat template now, so it is asked as an assistant
    assert main(["generate", str(student), *words[2:], "--to", "again.jsonl", "--samples", "2", "--seed", "5"]) == 0
    again = rows("again.jsonl")
    assert [row["prompt"] for row in again] == [p for p in ASKED for _ in range(2)]
    assert again[:2] == again[6:]  # equal prompts get equal texts, whatever stands around them
    loaded = components.load(student)
    assert again[0]["completion"] == loaded.chat([{"role": "user", "content": ASKED[0]}], max_new_tokens=6, seed=5)


def test_an_encoder_decoder_reads_prompts_as_sources(here):
    made = components.build("tokenizer", "byte")
    sizes = {"d_model": 16, "n_layers": 1, "context_length": 32, "attention": {"name": "gqa", "n_heads": 2}}
    model = components.build("model", "encoder_decoder", vocab_size=made.vocab_size, seed=3, **sizes).eval()
    loaded = Loaded(model, Tokens(made.core, made.roles), {"decoding": {"name": "sample"}, "cache": {"name": "growing"}})
    assert write_completions(loaded, Path("asked.jsonl"), Path("pairs.jsonl"), count=2, max_new_tokens=4, seed=1) == 8
    want = [text for prompt in ASKED for text in loaded.generate(prompt, count=2, max_new_tokens=4, seed=1)]
    assert [row["completion"] for row in rows("pairs.jsonl")] == want
    source = components.build("data", "text_pairs", path="pairs.jsonl", source="prompt", target="completion")
    assert [(e.input, e.answer) for e in source.examples()] == [
        (row["prompt"], row["completion"]) for row in rows("pairs.jsonl")
    ]


def test_what_is_no_prompt_is_one_line(teacher, here, capsys):
    Path("there.jsonl").write_text("")
    Path("empty.jsonl").write_text("\n")
    Path("text.jsonl").write_text('{"prompt": "a"}\nno json\n')
    Path("number.jsonl").write_text('{"prompt": "a"}\n\n{"prompt": 3}\n')
    for words, says in (
        (["--prompts", "asked.jsonl"], "goes with --to"),
        (["--to", "x.jsonl"], "goes with --to"),
        (["--prompts", "asked.jsonl", "--to", "there.jsonl"], "there.jsonl: is there already"),
        (["--prompts", "asked.jsonl", "--to", "x.jsonl", "--prompt", "a"], "--prompt: does not go with --prompts"),
        (["--prompts", "empty.jsonl", "--to", "x.jsonl"], "empty.jsonl: has no prompt"),
        (["--prompts", "text.jsonl", "--to", "x.jsonl"], "text.jsonl:2"),
        (["--prompts", "number.jsonl", "--to", "x.jsonl"], "number.jsonl:3: has no text in a field 'prompt'"),
        (["--prompts", "gone.jsonl", "--to", "x.jsonl"], "gone.jsonl: cannot be read"),
    ):
        assert main(["generate", str(teacher), *words]) == 2
        err = capsys.readouterr().err
        assert says in err
        assert err.rstrip().count("\n") == 0
    assert not Path("x.jsonl").exists()
