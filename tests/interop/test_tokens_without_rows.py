"""Tokens that were added to a tokenizer and never to its model: each command says which and where, in one line."""

from __future__ import annotations

import json
from pathlib import Path

import checkpoints as made
import pytest
from tokenizers import Tokenizer

import components
from components.cli import main
from components.core.errors import UserError

transformers = pytest.importorskip("transformers")
CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>{% endif %}"
STRICT = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}"
    "{{ m.content }}</s>{% endfor %}"
)
TUNED = [
    *("train", "recipe=run/config.yaml", "init_from=run", "tokenizer=of_run", "task.samples=0", "trainer.max_steps=1"),
    *("trainer.accelerator=cpu", "trainer.precision=32-true", "task.batch_size=2", "paths.runs=runs"),
]
CHATS = ["task=instruction_tuning", "data=conversations", "data.path=chat.jsonl", "task.validation_fraction=0.3"]


@pytest.fixture(autouse=True)
def run(tmp_path, monkeypatch, capsys):
    """``run``: imported, with "river" and the signs of chats added to its tokenizer alone; a book and conversations beside it."""
    monkeypatch.chdir(tmp_path)
    folder = made.llama(tmp_path / "llama")
    core = Tokenizer.from_file(str(folder / "tokenizer.json"))
    core.add_tokens(["river"])
    core.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    core.save(str(folder / "tokenizer.json"))
    Path("book.txt").write_text("\n\n".join(f"The fox and dog number {i}." for i in range(40)) + "\n\nThe river runs.")
    Path("river.txt").write_text("a river")
    said = [[("user", f"q {i}"), ("assistant", f"a {i}")] for i in range(12)]
    said[7].insert(0, ("user", "twice"))
    rows = [json.dumps({"messages": [{"role": r, "content": c} for r, c in m]}) for m in said]
    Path("chat.jsonl").write_text("".join(row + "\n" for row in rows))
    Path("chatml.jinja").write_text(CHATML)
    Path("strict.jinja").write_text(STRICT)
    assert main(["import", str(folder), "--to", "run"]) == 0
    assert "3 tokens have no row" in capsys.readouterr().out


BOOK = ["data=text", "data.path=book.txt", "data.split_on=blank_lines"]
COMMANDS = {
    "generate": (["generate", "run", "--prompt", "a river"], "prompt: 'a river': holds the token '\u2581river'"),
    "a list": (
        ["generate", "run", "--prompt", "a fox", "--prompt", "a river"],
        "prompt: 'a river': holds the token '\u2581river'",
    ),
    "score": (["generate", "run", "--score", "river.txt"], "score: the text 'a river': holds the token '\u2581river'"),
    "explain": (["explain", "run", "--prompt", "a river"], "--prompt: holds the token '\u2581river'"),
    "evaluate": (["evaluate", "run", *BOOK], "the document 'The river runs.': holds the token '\u2581river'"),
    "train": ([*TUNED, *BOOK], "the document 'The river runs.': holds the token '\u2581river'"),
    "tune": ([*TUNED, *CHATS, "task.template=chatml.jinja"], "chat.jsonl:"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_names_the_token_and_the_text(name, capsys):
    words, says = COMMANDS[name]
    assert main(words) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert says in said
    assert "and the model has rows for ids below" in said
    assert not Path("runs").exists() or not list(Path("runs").rglob("*.ckpt"))


def test_a_conversation_too():
    loaded = components.load("run")
    with pytest.raises(UserError, match=r"chat: the conversation as its template writes it: holds the token '<\|im_start\|>'"):
        loaded.chat([{"role": "user", "content": "hello"}], template="chatml.jinja")


def test_a_conversation_that_the_template_refuses_is_named_or_dropped(capsys):
    words = [*TUNED, *CHATS, "task.template=strict.jinja"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "chat.jsonl:8: chat_template.jinja refuses this conversation: Roles must alternate" in said
    assert "data.abnormal=drop leaves such rows out" in said
    assert main([*words, "data.abnormal=drop"]) == 0
    told = capsys.readouterr()
    assert "1 examples of" in told.out + told.err
    assert "chat.jsonl:8 (chat_template.jinja refuses this conversation" in told.out + told.err


def test_an_empty_stop_is_refused_and_a_stop_ends_the_work():
    loaded = components.load("run", ["decoding=greedy"])
    with pytest.raises(UserError, match="stop: an empty text is found everywhere"):
        loaded.generate("The", stop=["fox", ""])
    prompt = "The quick brown"
    whole = loaded.generate(prompt, max_new_tokens=30)
    words = [w for w in whole[len(prompt) :].split(" ") if w]
    stop = f" {words[0]}" if whole[len(prompt) :].startswith(" ") else words[0]
    passes, forward = [0], loaded.model.forward

    def counted(*args, **options):
        passes[0] += 1
        return forward(*args, **options)

    loaded.model.forward = counted
    assert loaded.generate(prompt, max_new_tokens=30, stop=stop) == whole[: whole.index(stop, len(prompt))]
    assert passes[0] <= len(loaded.tokenizer.encode(words[0])) + 1
