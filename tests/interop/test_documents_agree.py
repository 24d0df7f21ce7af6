"""Documents of an imported model are what transformers feeds it: the likelihood of a corpus is theirs, and nothing given is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import checkpoints as made
import pytest
import torch

import components
from components.cli import main
from components.core.errors import UserError
from components.core.makers import make
from components.corpus import prepare
from components.corpus.blocks import EvaluationBlocks
from components.explain.asking import ask
from components.explain.subject import subject_of
from components.runs import importing
from components.runs.preparing import TrainedTokenizer

transformers = pytest.importorskip("transformers")
TEXTS = [f"The quick brown fox number {i} jumps over the lazy dog." for i in range(24)]
DATA = ["data=text", "data.path=book.txt", "data.split_on=blank_lines", "task.validation_fraction=0.5", "task.test_fraction=0"]


@pytest.fixture(autouse=True)
def book(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text("\n\n".join(TEXTS))


def corpus_of(folder):
    source = make({"name": "text", "path": "book.txt", "split_on": "blank_lines"}, "data")
    return prepare(source, TrainedTokenizer(importing.read(folder).tokenizer), cache="cache", validation=0.5)


@torch.no_grad()
def theirs(folder, texts):
    """(sum of negative log likelihoods, number of targets) of each text and its end, alone, after what their tokenizer begins one with."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    total = count = 0.0
    for text in texts:
        ids = tokenizer(text)["input_ids"]
        if ids[0] not in tokenizer.all_special_ids:
            ids = [model.config.eos_token_id, *ids]
        row = torch.tensor([[*ids, model.config.eos_token_id]])
        logs = model(row).logits[0, :-1].log_softmax(-1)
        total -= logs.gather(1, row[0, 1:, None]).sum().item()
        count += row.shape[1] - 1
    return total, count


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_likelihood_of_a_corpus_is_transformers(kind, tmp_path):
    folder = getattr(made, kind)(tmp_path / kind)
    longer = ["model.context_length=1024"] if kind == "llama" else []  # no document is cut
    found = components.evaluate(folder, [*DATA, *longer], split="validation")
    nats, count = theirs(folder, list(corpus_of(folder).text("validation")))
    assert found["targets"] == count
    if longer:
        assert found["loss"] * count == pytest.approx(nats, rel=1e-4)


def test_an_encoder_reads_the_frame_that_transformers_puts_around_a_text(tmp_path):
    folder = made.bert(tmp_path / "bert")
    corpus = corpus_of(folder)
    blocks = EvaluationBlocks(corpus.validation, 4096, whole=True)
    batch = blocks.batch(0, [0])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    want = [i for text in corpus.text("validation") for i in tokenizer(text.rstrip("\n"))["input_ids"]]
    assert batch.ids[0, : len(want)].tolist() == want
    own = {tokenizer.cls_token_id, tokenizer.sep_token_id}
    assert not own & set(batch.targets.unique().tolist())


def test_bert_is_explained_with_what_closes_a_text(tmp_path):
    folder = made.bert(tmp_path / "bert")
    asked = ask(subject_of(folder), "the quick fox", new_tokens=0, seed=0)
    assert asked.ids == transformers.AutoTokenizer.from_pretrained(folder)("the quick fox")["input_ids"]


def test_a_corpus_of_another_frame_is_another_corpus(tmp_path):
    """The same text and the same ids: what stands around a document is part of what the cache finds it by."""
    folder = made.llama(tmp_path / "llama")
    held, where = importing.read(folder).tokenizer, set()
    source = make({"name": "text", "path": "book.txt"}, "data")
    for begins in ([1], []):
        held.files["components.json"] = json.dumps({**held.said("components.json"), "begins": begins})
        where.add(prepare(source, TrainedTokenizer(held), cache="cache").hash)
    assert len(where) == 2


def test_an_imported_model_is_measured_on_no_data_that_nobody_named(tmp_path, capsys):
    folder = made.llama(tmp_path / "llama")
    assert main(["import", str(folder), "--to", "mine"]) == 0
    for place in (str(folder), "mine"):
        assert main(["evaluate", place]) == 2
        assert "brings no data; name some: data=text data.path=FILE" in capsys.readouterr().err
    with pytest.raises(UserError, match="brings no data"):
        components.evaluate("mine")


SAID = {
    "drawn": (
        {
            "do_sample": True,
            "temperature": 0.1,
            "top_k": 1,
            "repetition_penalty": 1.3,
            "min_p": 0.2,
            "no_repeat_ngram_size": 3,
            "max_length": 9,
        },
        [
            {"name": "repetition", "penalty": 1.3},
            {"name": "no_repeat_ngram", "n": 3},
            {"name": "temperature", "value": 0.1},
            {"name": "top_k", "k": 1},
            {"name": "min_p", "p": 0.2},
        ],
        ["max_length"],
    ),
    "as transformers draws": ({"do_sample": True, "top_p": 0.9}, [{"name": "top_k", "k": 50}, {"name": "top_p", "p": 0.9}], []),
    "likeliest": ({"do_sample": False, "temperature": 0.5}, None, ["temperature"]),
    "likeliest, shaped": ({"repetition_penalty": 1.2}, [{"name": "repetition", "penalty": 1.2}, {"name": "top_k", "k": 1}], []),
    "beams": ({"num_beams": 3, "early_stopping": True, "max_new_tokens": 4}, None, []),
    "nothing": ({"eos_token_id": 2, "transformers_version": "5", "_from_model_config": True}, None, []),
}


@pytest.mark.parametrize("name", SAID)
def test_how_a_model_is_to_write_is_read(name, tmp_path, capsys):
    said, samplers, left = SAID[name]
    folder = made.llama(tmp_path / "llama")
    (folder / "generation_config.json").write_text(json.dumps(said))
    assert main(["import", str(folder), "--to", "mine"]) == 0
    told = capsys.readouterr().out
    for field in left:
        assert field in told
    if not left:
        assert "left unread" not in told
    loaded = components.load("mine")
    decoding = make(loaded.config["decoding"], "decoding")
    kind = {"likeliest": "greedy", "beams": "beam"}.get(name, "sample")
    assert loaded.config["decoding"]["name"] == kind
    if name == "beams":
        assert (decoding.beam_size, decoding.early_stopping) == (3, "full")
    if samplers is not None:
        assert [
            {"name": s["name"], **{k: v for k, v in s.items() if k != "name" and k in dict(w)}}
            for s, w in zip(loaded.config["decoding"]["samplers"], samplers, strict=True)
        ] == samplers
    assert isinstance(loaded.generate("The", max_new_tokens=3), str)


@pytest.mark.parametrize(
    "said", [{"temperature": "hot"}, {"top_k": -1}, {"eos_token_id": 1.5}, {"do_sample": 3}, {"num_beams": [2]}, {"top_p": 7}]
)
def test_a_value_that_no_field_has_is_said_with_the_file(said, tmp_path):
    folder = made.llama(tmp_path / "llama")
    (folder / "generation_config.json").write_text(json.dumps(said))
    with pytest.raises(UserError, match=rf"generation_config\.json: {next(iter(said))}="):
        importing.read(folder)
