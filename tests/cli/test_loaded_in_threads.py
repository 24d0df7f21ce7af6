"""Everything that a loaded model offers, from several threads at once: what each gives is what it gives alone."""

from __future__ import annotations

import threading

import pytest
import tiny_recipe

import components

TEMPLATE = "{% for m in messages %}<|bos|>{{ m.role }}: {{ m.content }}<|eos|>{% endfor %}<|bos|>"
ROUNDS = 6


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("threads")
    with pytest.MonkeyPatch.context() as patch:
        tiny_recipe.write(folder, patch)
        return components.train("./tiny.yaml", ["trainer.max_steps=20", "task.samples=0"], quiet=True).folder.resolve()


@pytest.mark.parametrize("decoding", ["sample", "beam", "speculative"])
def test_threads_give_what_one_gives(trained, tmp_path, decoding):
    (tmp_path / "chat.jinja").write_text(TEMPLATE)
    more = [f"decoding.draft={trained}"] if decoding == "speculative" else []
    loaded = components.load(trained, [f"decoding={decoding}", *more])
    asks = {
        "generate": lambda: loaded.generate(["the tree", "stone"], max_new_tokens=12, seed=3, stop=["zz"]),
        "score": lambda: [s.log_probability for s in loaded.score(["the tree", "a stone <|endoftext|>"])],
        "chat": lambda: loaded.chat(
            [{"role": "user", "content": "hello <|eos|>"}], template=tmp_path / "chat.jinja", max_new_tokens=8
        ),
        "encode": lambda: (loaded.tokenizer.encode("<|eos|> the"), loaded.tokenizer.encode("<|eos|>", special_tokens=True)),
        "stream": lambda: streamed(loaded),
    }
    alone, faults = {name: ask() for name, ask in asks.items()}, []

    def work(name):
        try:
            for _ in range(ROUNDS):
                if asks[name]() != alone[name]:
                    faults.append(name)
        except Exception as e:
            faults.append(f"{name}: {e!r}")

    threads = [threading.Thread(target=work, args=(name,)) for name in (*asks, "chat", "encode")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


def streamed(loaded):
    pieces: list[str] = []
    loaded.generate("the", max_new_tokens=10, on_text=pieces.append)
    return pieces
