"""Text of encoder-decoders: prompts are sources, read once; what is written is what transformers' ``generate`` writes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import checkpoints as made_
import oracles_encoder_decoders
import pytest
import torch
from parity import made

import components
from components.cli import main
from components.core.errors import UserError
from components.corpus.special_ids import source_ids, target_start
from components.generation.generating import continue_ids

transformers = pytest.importorskip("transformers")
NEW = 12
TRAINED = [
    *("model.d_model=32", "model.n_layers=1", "model.attention.n_heads=4", "model.attention.head_dim=8", "model.ffn.d_ff=64"),
    *(
        "model.context_length=32",
        "data=text",
        "data.path=book.txt",
        "tokenizer=bpe",
        "tokenizer.vocab_size=300",
        "loss=seq2seq",
    ),
    *("trainer.max_steps=20", "trainer.accelerator=cpu", "trainer.precision=32-true", "task.batch_size=4", "optimizer.lr=0.01"),
]
SOURCES = ["The quick brown fox jumps", "Größe und Maß", "東京は大きい。", "dog"]
ORACLES = oracles_encoder_decoders.ORACLES


@torch.no_grad()
def telling(model):
    """Texts that depend on their sources: as drawn, the last norm's bias would choose the same token always."""
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.reset_parameters()
    for name, p in model.named_parameters():
        if "encoder_attn" in name:
            p.mul_(4)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    known = {o.name: made(replace(o, prepare=telling), tmp_path_factory.mktemp("theirs")) for o in ORACLES}
    return lambda oracle: known[oracle.name]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """{name: (their folder, our run, what our run was exported to)}, with a tokenizer."""
    known: dict[str, tuple[Path, Path, Path]] = {}

    def three(name: str) -> tuple[Path, Path, Path]:
        if name not in known:
            at = tmp_path_factory.mktemp(name)
            theirs = getattr(made_, name)(at / "theirs")
            assert main(["import", str(theirs), "--to", str(at / "run")]) == 0
            assert main(["export", str(at / "run"), "--to", str(at / "out")]) == 0
            known[name] = theirs, at / "run", at / "out"
        return known[name]

    return three


def numbered(pair, lengths=(11, 4, 7)):
    """Sources of different lengths as their numbers, and as transformers pads them."""
    drawn = pair.ids(rows=len(lengths), length=max(lengths), seed=9)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    texts = [" ".join(map(str, row[:n].tolist())) for row, n in zip(drawn, lengths)]
    return texts, drawn.masked_fill(~mask, pair.theirs.config.pad_token_id), mask.long()


def kept(row, stop):
    """Ids of one row of theirs up to the one that ends it."""
    new = row.tolist()[1:]
    return new[: new.index(stop)] if stop in new else new


@pytest.mark.parametrize("decoding", ["greedy", "beam"])
@pytest.mark.parametrize("oracle", ORACLES, ids=str)
def test_every_row_writes_what_transformers_writes(oracle, decoding, rows):
    pair = rows(oracle)
    texts, ids, mask = numbered(pair)
    beams = {"num_beams": 1} if decoding == "greedy" else {"num_beams": 3, "length_penalty": 0.5, "early_stopping": False}
    stop = pair.theirs.config.eos_token_id
    wanted = pair.theirs.generate(input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=NEW, **beams)
    wanted = [kept(row, stop) for row in wanted]
    options = [] if decoding == "greedy" else ["decoding.beam_size=3", "decoding.length_penalty=0.5"]
    for cache in ("growing", "static"):
        loaded = components.load(pair.folder, [f"decoding={decoding}", *options, f"cache={cache}"])
        found = loaded.generate(texts, max_new_tokens=NEW)
        assert [[int(i) for i in text.split()] for text in found] == wanted
    assert len({tuple(w) for w in wanted}) > 1  # the source matters


def their_text(folder, source, new=NEW, target=()):
    """Greedy text as a user of transformers makes it."""
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    given = tokenizer(source, return_tensors="pt")
    more = {"decoder_input_ids": torch.tensor([target])} if target else {}
    row = model.generate(
        given["input_ids"], attention_mask=given["attention_mask"], do_sample=False, num_beams=1, max_new_tokens=new, **more
    )[0]
    ids = kept(row, tokenizer.eos_token_id)
    ids = ids[1:] if ids[:1] == [tokenizer.bos_token_id] else ids  # BART writes it, or is given it, before every text
    return tokenizer.decode(ids, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_greedy_text_is_that_of_transformers(name, folders, capsys):
    theirs, run, out = folders(name)
    wanted = [their_text(theirs, s) for s in SOURCES]
    assert components.load(run, ["decoding=greedy"]).generate(SOURCES, max_new_tokens=NEW) == wanted
    assert components.load(theirs, ["decoding=greedy"]).generate(SOURCES[0], max_new_tokens=NEW) == wanted[0]
    assert [their_text(out, s) for s in SOURCES] == wanted
    capsys.readouterr()
    typed = ["generate", str(run), "decoding=greedy", "--max-new-tokens", str(NEW)]
    assert main([*typed, "--prompt", SOURCES[0]]) == 0
    assert capsys.readouterr().out == wanted[0] + "\n"
    assert main([*typed, *(w for s in SOURCES for w in ("--prompt", s))]) == 0
    assert capsys.readouterr().out == "".join(f"=== prompt {i + 1} ===\n{w}\n\n" for i, w in enumerate(wanted))


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_the_target_may_begin_with_what_is_given(name, folders, capsys):
    theirs, run, _ = folders(name)
    loaded = components.load(run, ["decoding=greedy"])
    begun = [*target_start(loaded.tokenizer, "the dog"), *loaded.tokenizer.encode("the dog")]
    assert begun[: 2 if name == "bart" else 1] == ([1, 0] if name == "bart" else [0])
    for source in SOURCES:
        wanted = their_text(theirs, source, target=begun)
        assert wanted.startswith("the dog")
        assert loaded.generate(source, target="the dog", max_new_tokens=NEW) == wanted
    both = loaded.generate(SOURCES[:2], target=["", "the dog"], max_new_tokens=NEW)
    assert both[1] == their_text(theirs, SOURCES[1], target=begun)
    capsys.readouterr()
    typed = ["generate", str(run), "decoding=greedy", "--prompt", SOURCES[0], "--target", "the dog"]
    assert main([*typed, "--max-new-tokens", str(NEW)]) == 0
    assert capsys.readouterr().out == their_text(theirs, SOURCES[0], target=begun) + "\n"


def test_a_first_token_that_is_forced_is_given(tmp_path):
    theirs = made_.bart(tmp_path / "theirs")
    file = theirs / "generation_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "forced_bos_token_id": 9}))
    loaded = components.load(theirs, ["decoding=greedy"])
    assert target_start(loaded.tokenizer) == [1, 9]
    (row,) = continue_ids(
        loaded.model,
        loaded.tokenizer,
        loaded.config,
        [target_start(loaded.tokenizer)],
        seeds=[(0, 0)],
        ends=(1,),
        max_new_tokens=NEW - 1,
        sources=[source_ids(loaded.tokenizer, "a fox")],
    )
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(theirs)
    ids = torch.tensor([source_ids(loaded.tokenizer, "a fox")])
    wanted = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, num_beams=1, max_new_tokens=NEW)[0]
    assert kept(wanted, 1) == [9, *row]


@pytest.fixture
def loaded(folders):
    return components.load(folders("bart")[1], ["decoding.samplers=[{name: temperature, value: 1.5}]"])


def test_sources_together_give_the_texts_that_each_gives_alone(loaded):
    loaded.model.double()
    options = {"max_new_tokens": NEW, "seed": 3}
    alone = [loaded.generate(s, **options) for s in SOURCES]
    assert loaded.generate(SOURCES, **options) == alone
    two = loaded.generate(SOURCES, count=2, **options)
    assert [t[0] for t in two] == alone
    assert all(a != b for a, b in two)


def test_pieces_of_text_and_where_it_stops(loaded):
    shown: list[str] = []
    whole = loaded.generate("a fox", max_new_tokens=40, on_text=shown.append)
    assert whole.startswith("".join(shown))
    assert len("".join(shown)) > len(whole) / 2
    stop = whole[8:11]
    shown.clear()
    cut = loaded.generate("a fox", max_new_tokens=40, stop=stop, on_text=shown.append)
    assert cut == whole[: whole.index(stop)]
    assert cut.startswith("".join(shown))


def test_the_source_is_read_once(loaded, monkeypatch):
    read = []
    encode = type(loaded.model).encode
    monkeypatch.setattr(type(loaded.model), "encode", lambda model, source: read.append(source) or encode(model, source))
    for decoding in ("greedy", "sample", "beam"):
        components.load(loaded.folder, [f"decoding={decoding}"]).generate(SOURCES, max_new_tokens=5)
        assert len(read) == 1
        assert read.pop().ids.shape[0] == len(SOURCES)


def test_a_small_encoder_decoder_drafts(folders):
    run = folders("bart")[1]
    words = ["decoding=speculative", f"decoding.draft={run}", "decoding.samplers=[{name: top_k, k: 1}]"]
    plain = components.load(run, ["decoding=greedy"]).generate(SOURCES, max_new_tokens=NEW)
    assert components.load(run, words).generate(SOURCES, max_new_tokens=NEW) == plain


@torch.no_grad()
def test_scores_are_those_of_a_text_after_its_source(folders, capsys, tmp_path):
    theirs, run, _ = folders("bart")
    loaded, model = components.load(run), transformers.AutoModelForSeq2SeqLM.from_pretrained(theirs)
    texts = ["a dog", "the brown fox and the dog", "x"]
    found = loaded.score(texts, SOURCES[:3])
    for text, source, one in zip(texts, SOURCES, found):
        ids = [1, 0, *loaded.tokenizer.encode(text)]
        given = {"input_ids": torch.tensor([source_ids(loaded.tokenizer, source)]), "decoder_input_ids": torch.tensor([ids])}
        logs = model(**given).logits[0].log_softmax(-1)
        wanted = [logs[i, token].item() for i, token in list(enumerate(ids[1:]))[1:]]
        assert [v for _, v in one.tokens] == pytest.approx(wanted, rel=1e-4)
    assert loaded.score(texts[1], SOURCES[1]).log_probability == pytest.approx(found[1].log_probability, rel=1e-5)
    (tmp_path / "text").write_text(texts[0])
    capsys.readouterr()
    assert main(["generate", str(run), "--score", str(tmp_path / "text"), "--prompt", SOURCES[0]]) == 0
    assert f"{found[0].log_probability:.3f}" in capsys.readouterr().out
    with pytest.raises(UserError, match="1 sources for 2 texts"):
        loaded.score(texts[:2], SOURCES[:1])
    with pytest.raises(UserError, match="read a source"):
        loaded.score(texts[0])


def test_what_is_wrong_is_one_line(folders, tmp_path, capsys):
    run = str(folders("bart")[1])
    for words, said in (
        (["generate", run], "give it as --prompt TEXT"),
        (["generate", run, "--prompt", "fox " * 60], "does not fit into the model's context of 64"),
        (["chat", run], "no chat template"),
    ):
        assert main(words) == 2
        err = capsys.readouterr().err
        assert said in err
        assert err.count("\n") == 1
    plain = made_.gpt2(tmp_path / "gpt2")
    with pytest.raises(UserError, match="reads no source"):
        components.load(plain).generate("a", target="b")
    with pytest.raises(UserError, match="reads no source"):
        components.load(plain).score("a", "b")


def test_the_start_goes_out_with_the_run(folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text("\n\n".join(f"The fox and dog number {i} walk over the hill." for i in range(80)))
    run = components.train("known/t5_small", TRAINED, quiet=True).folder
    assert main(["export", str(run), "--to", "out"]) == 0
    loaded = components.load(run, ["decoding=greedy"])
    end = loaded.tokenizer.specials["endoftext"]
    assert target_start(loaded.tokenizer) == [end]
    assert source_ids(loaded.tokenizer, "fox")[0] == end
    for file in ("config.json", "generation_config.json"):
        assert json.loads(Path("out", file).read_text())["decoder_start_token_id"] == end
    for source in ("The fox", "over the"):
        assert loaded.generate(source, max_new_tokens=NEW) == their_text("out", source)
    for name, start in (("t5", 0), ("bart", 1)):
        _, run, out = folders(name)
        assert json.loads((out / "config.json").read_text())["decoder_start_token_id"] == start
        assert components.load(run).tokenizer.starts == [start]
