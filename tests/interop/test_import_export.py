"""``components import`` and ``components export``: what goes in comes out, and in between it is a run like any other."""

from __future__ import annotations

import json
import os
from pathlib import Path

import checkpoints as made
import pytest
import torch
import yaml
from safetensors.torch import load_file

import components
from components.cli import main
from components.compose import compose
from components.core.errors import UserError
from components.core.sockets import Batch
from components.runs import checkpoints
from components.runs.preparing import corpus_of, task_options

transformers = pytest.importorskip("transformers")
PROMPTS = ["The quick brown fox", "Größe und Maß", "東京は", ""]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """{name: (their folder, our run, the folder that our run was exported to)}, each made once by the two commands."""
    known: dict[str, tuple[Path, Path, Path]] = {}

    def three(name: str) -> tuple[Path, Path, Path]:
        if name not in known:
            at = tmp_path_factory.mktemp(name)
            theirs = getattr(made, name)(at / "theirs")
            assert main(["import", str(theirs), "--to", str(at / "run")]) == 0
            assert main(["export", str(at / "run"), "--to", str(at / "out")]) == 0
            known[name] = theirs, at / "run", at / "out"
        return known[name]

    return three


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return {n: t for f in sorted(folder.glob("*.safetensors")) for n, t in load_file(f).items()}


def their_text(folder: Path, prompt: str, new: int = 12) -> str:
    """Greedy text as a user of transformers makes it."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"].long()
    ids = ids if ids.shape[1] else torch.tensor([[model.config.bos_token_id]])
    made_ = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=new, pad_token_id=0)[0]
    return tokenizer.decode(made_, skip_special_tokens=True, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_greedy_text_is_that_of_transformers(name, folders):
    theirs, run, out = folders(name)
    loaded = components.load(run, ["decoding=greedy"])
    for prompt in PROMPTS:
        wanted = their_text(theirs, prompt)
        assert loaded.generate(prompt, max_new_tokens=12) == wanted
        assert their_text(out, prompt) == wanted


def test_text_comes_piece_by_piece_with_its_spaces(folders):
    loaded = components.load(folders("llama")[1], ["decoding=greedy"])
    whole = 0
    for prompt in PROMPTS:
        for new in range(1, 12):
            pieces: list[str] = []
            text = loaded.generate(prompt, max_new_tokens=new, on_text=pieces.append)
            if "\ufffd" not in text:  # parts of characters are held back
                assert prompt + "".join(pieces) == text
                whole += " " in text[len(prompt) :]
    assert whole


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5", "bert"])
def test_tensors_and_config_come_out_as_they_went_in(name, folders):
    theirs, _, out = folders(name)
    before, after = tensors(theirs), tensors(out)
    assert before.keys() == after.keys()
    assert all(before[n].dtype == after[n].dtype and torch.equal(before[n], after[n]) for n in before)
    said, again = (json.loads((f / "config.json").read_text()) for f in (theirs, out))
    assert said["architectures"] == again["architectures"]
    both = [transformers.AutoConfig.from_pretrained(f).to_dict() for f in (theirs, out)]
    for config in both:
        config.pop("_name_or_path", None)
    assert both[0] == both[1]
    assert {n: said[n] for n in ("bos_token_id", "eos_token_id", "pad_token_id") if n in said}.items() <= again.items()


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5", "bert"])
def test_the_tokenizer_comes_out_as_it_went_in(name, folders):
    theirs, run, out = folders(name)
    before, after = (transformers.AutoTokenizer.from_pretrained(f) for f in (theirs, out))
    ours = components.load(run).tokenizer
    for text in ("The quick brown fox", "Größe und Maß, 東京 12345", "a</s>b [SEP] <unk>", ""):
        ids = before(text)["input_ids"]
        assert after(text)["input_ids"] == ids == ours.encode(text, special_tokens=True)
    roles = [f"{role}_token" for role in ("bos", "eos", "pad", "unk", "mask", "sep", "cls")]
    assert [getattr(before, role) for role in roles] == [getattr(after, role) for role in roles]


def test_a_folder_of_theirs_is_loaded_as_it_is(folders):
    theirs, run, _ = folders("llama")
    direct, by_run = components.load(theirs), components.load(str(run))
    ids = torch.randint(3, 90, (2, 9))
    with torch.no_grad():
        wanted = transformers.AutoModelForCausalLM.from_pretrained(theirs)(ids).logits
        assert (direct.model(ids) - wanted).abs().max() <= 1e-5 * wanted.abs().max()
        assert torch.equal(direct.model(ids), by_run.model(ids))
    assert direct.config["model"] == by_run.config["model"]
    assert direct.tokenizer.encode("a fox") == by_run.tokenizer.encode("a fox")
    assert direct.folder is None


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5", "bert"])
def test_weights_are_read_and_none_is_drawn_before(name, folders, monkeypatch):
    theirs, run, _ = folders(name)
    wanted = components.load(run).model.state_dict()
    real = torch.nn.Module.to_empty

    def poisoned(model, **options):
        made = real(model, **options)
        with torch.no_grad():
            for t in (*made.parameters(), *made.buffers()):
                t.fill_(float("nan") if t.is_floating_point() else -1)
        return made

    def drawn(*_):
        raise AssertionError("a value is drawn")

    monkeypatch.setattr(torch.nn.Module, "to_empty", poisoned)
    monkeypatch.setattr("components.core.weights.generator_for", drawn)
    for path in (theirs, run):
        model = components.load(path).model
        assert all(torch.equal(t, wanted[n]) for n, t in model.state_dict().items())
        assert not any(b.isnan().any() for b in model.buffers())


def test_an_encoder_decoder_takes_source_and_target(folders):
    theirs, run, _ = folders("t5")
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(theirs)
    source, ids = torch.randint(3, 90, (2, 7)), torch.randint(3, 90, (2, 5))
    for loaded in (components.load(theirs), components.load(run)):
        with torch.no_grad():
            wanted = model(input_ids=source, decoder_input_ids=ids).logits
            ours = loaded.model(Batch(ids, source=Batch(source)))
        assert (ours - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_an_encoder_gives_its_vectors(folders):
    theirs, run, _ = folders("bert")
    ids = torch.randint(5, 90, (2, 7))
    with torch.no_grad():
        wanted = transformers.AutoModel.from_pretrained(theirs, add_pooling_layer=False)(ids).last_hidden_state
        assert (components.load(run).model(Batch(ids)) - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_the_run_is_a_run(folders, tmp_path, monkeypatch, capsys):
    _, run, _ = folders("llama")
    assert sorted(f.name for f in run.iterdir())[:2] == ["checkpoints", "components.json"]
    assert yaml.safe_load((run / "config.yaml").read_text())["model"]["name"] == "decoder"
    assert json.loads((run / "run.json").read_text())["source"]["architecture"] == "LlamaForCausalLM"
    capsys.readouterr()
    assert main(["runs", "--runs", str(run.parent)]) == 0
    assert "imported" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text("\n\n".join(f"The fox and dog number {i}." for i in range(80)))
    data = ["data=text", "data.path=book.txt"]
    assert main(["evaluate", str(run), *data, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["loss"] > 0
    assert main(["generate", str(run), "--prompt", "The fox", "--max-new-tokens", "4", "decoding=greedy"]) == 0
    assert capsys.readouterr().out.startswith("The fox")
    assert main(["train", f"resume={run}"]) == 2
    assert "was imported" in (said := capsys.readouterr().err)
    assert f"init_from={run}" in said


def test_documents_begin_as_the_file_says(folders, tmp_path):
    _, run, _ = folders("llama")
    book = tmp_path / "book.txt"
    book.write_text("\n\n".join(f"The fox and dog number {i}." for i in range(80)))
    config = compose(str(run / "config.yaml"), ["data=text", f"data.path={book}"]).config
    _, corpus = corpus_of(config, task_options(config), None)
    tokens = corpus.train.tokens[: corpus.train.starts[3]].tolist()
    assert tokens[0] == 1  # <s>, which every prompt begins with; </s> is what is asked for before the next one
    assert [i for i, t in enumerate(tokens) if t == 1] == corpus.train.starts[:3].tolist()
    assert 2 not in tokens


def test_dtypes_stay_and_files_are_cut(tmp_path):
    theirs = made.llama(tmp_path / "theirs", dtype=torch.bfloat16)
    assert main(["import", str(theirs), "--to", str(tmp_path / "run")]) == 0
    held = checkpoints.read(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert {t.dtype for t in held["state_dict"].values()} == {torch.bfloat16}
    size = (theirs / "model.safetensors").stat().st_size
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").stat().st_size < 1.5 * size  # no tensor twice
    assert main(["export", str(tmp_path / "run"), "--to", str(tmp_path / "out"), "--shard-size", "30KB"]) == 0
    shards = sorted((tmp_path / "out").glob("*.safetensors"))
    assert len(shards) > 2
    assert all(f.stat().st_size < 60_000 for f in shards)
    before, after = tensors(theirs), tensors(tmp_path / "out")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[n], after[n]) and after[n].dtype == torch.bfloat16 for n in before)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.dtype == torch.bfloat16
    assert main(["import", str(tmp_path / "out"), "--to", str(tmp_path / "again")]) == 0  # shards are read, too
    again = checkpoints.read(tmp_path / "again" / "checkpoints" / "last.ckpt")["state_dict"]
    assert all(torch.equal(again[n], t) for n, t in held["state_dict"].items())


def test_a_model_may_have_more_rows_than_its_tokenizer(tmp_path):
    theirs = made.llama(tmp_path / "theirs", rows=640)
    assert main(["import", str(theirs), "--to", str(tmp_path / "run")]) == 0
    loaded = components.load(tmp_path / "run", ["decoding=greedy"])
    assert loaded.model.embedding.table.weight.shape[0] == loaded.tokenizer.vocab_size == 640
    assert loaded.generate("The fox", max_new_tokens=12) == their_text(theirs, "The fox")


def test_without_a_tokenizer_ids_are_numbers(tmp_path, capsys):
    theirs = made.llama(tmp_path / "theirs")
    for file in theirs.glob("tokenizer*"):
        file.unlink()
    assert main(["import", str(theirs), "--to", str(tmp_path / "run")]) == 0
    assert "ids are written as numbers" in capsys.readouterr().out
    loaded = components.load(tmp_path / "run", ["decoding=greedy"])
    text = loaded.generate("5 6 70", max_new_tokens=5)
    model = transformers.AutoModelForCausalLM.from_pretrained(theirs)
    ids = torch.tensor([[1, 5, 6, 70]])
    wanted = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=5, pad_token_id=0)[0]
    assert [int(i) for i in text.split()] == wanted[1:].tolist()
    assert main(["export", str(tmp_path / "run"), "--to", str(tmp_path / "out")]) == 0
    assert not (tmp_path / "out" / "tokenizer.json").exists()


TRAINED = {
    "llama": [
        "model/position=rope",
        "model/attention=gqa",
        "model/ffn=glu",
        "model.ffn.activation=silu",
        "model/norm=rms",
        "model.attention.qk_norm=none",
    ],
    "gpt2": [
        *("model/position=learned", "model/norm=layer", "model/head=tied", "model.attention.bias=[q,k,v,out]"),
        "model.attention.qk_norm=none",
        *("model/ffn=mlp", "model.ffn.bias=true", "model.ffn.activation=gelu_tanh"),
    ],
}
TRAINED["qwen3"] = [*TRAINED["llama"][:-1], "model.attention.qk_norm=rms", "model.attention.head_dim=16"]
TRAINED["halves"] = [*TRAINED["llama"], "model.position.layout=half"]
TRAINED["llama_tiny"] = ["model.d_model=32", "tokenizer=bpe"]
TINY = [
    *("recipe=gpt_python", "model.d_model=32", "model.n_layers=2", "model.context_length=32", "model.attention.n_heads=4"),
    *("data=text", "data.path=book.txt", "trainer.max_steps=2", "trainer.accelerator=cpu", "trainer.precision=32-true"),
    *("task.samples=0", "task.judged_samples=0", "task.batch_size=4", "tokenizer=bpe", "tokenizer.vocab_size=300"),
]

MASKED = ["model=encoder", "task=masked_language_modeling", "loss=masked_lm"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text("\n\n".join(f"The fox and dog number {i} walk over the hill." for i in range(80)))
    return tmp_path


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.usefixtures("here")
def test_what_is_trained_here_goes_out(name):
    base = TINY if name != "llama_tiny" else ["recipe=llama_tiny", *TINY[4:]]
    run = components.train(None, [*base, *TRAINED[name]], quiet=True).folder
    assert main(["export", str(run), "--to", "out"]) == 0
    loaded = components.load(run, ["decoding=greedy"])
    ids = torch.randint(5, 290, (2, 9))
    with torch.no_grad():
        theirs = transformers.AutoModelForCausalLM.from_pretrained("out")(ids).logits
        assert (loaded.model(ids) - theirs).abs().max() <= 1e-5 * theirs.abs().max()
    for prompt in ("The fox", "über"):
        wanted = loaded.generate(prompt, max_new_tokens=8)
        assert their_text(Path("out"), prompt, 8).rstrip() == wanted.rstrip()


@pytest.mark.usefixtures("here")
def test_an_adapter_goes_into_the_weights(capsys):
    base = components.train(None, [*TINY, *TRAINED["llama"]], quiet=True).folder
    tuned = components.train(
        None, [*TINY, *TRAINED["llama"], f"init_from={base}", "adapter=lora", "adapter.rank=2", "optimizer.lr=0.05"], quiet=True
    ).folder
    capsys.readouterr()
    assert main(["export", str(tuned), "--to", "out"]) == 0
    assert "the adapter is in the weights" in capsys.readouterr().out
    ids = torch.randint(5, 290, (2, 9))
    with torch.no_grad():
        theirs = transformers.AutoModelForCausalLM.from_pretrained("out")(ids).logits
        assert (components.load(tuned).model(ids) - theirs).abs().max() <= 1e-5 * theirs.abs().max()
        assert (components.load(base).model(ids) - theirs).abs().max() > 1e-3


@pytest.mark.usefixtures("here")
def test_a_model_that_nobody_else_has_is_written_as_ours_and_says_why(capsys):
    run = components.train(None, [*TINY, *TRAINED["llama"], "model.attention.gate=headwise"], quiet=True).folder
    assert main(["export", str(run), "--to", "out"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("ComponentsForCausalLM: ")
    assert "none of the known architectures" in said
    assert "nearest is" in said
    assert "model.attention.gate=headwise where it has none" in said
    assert "import components.interop.transformers" in said
    assert main(["import", "out", "--to", "runs/again"]) == 0
    assert main(["export", "runs/again", "--to", "back"]) == 0
    for file in (f for f in Path("out").iterdir() if f.name != "README.md"):  # the card is of another run
        assert (Path("back") / file.name).read_bytes() == file.read_bytes(), file.name


def test_an_encoder_that_nobody_else_has_stays(here, capsys):
    words = [w for w in TINY if not w.startswith(("task.samples", "task.judged"))]
    run = components.train(None, [*words, *TRAINED["llama"], *MASKED, "model.attention.gate=headwise"], quiet=True).folder
    capsys.readouterr()
    assert main(["export", str(run), "--to", "out"]) == 2
    assert "none of the known architectures" in capsys.readouterr().err
    assert not list(here.glob("out*"))


def test_the_hub_out_of_reach_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert main(["import", "someone/not-here", "--to", "run"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "the hub does not give it" in said
    assert not list(tmp_path.iterdir())


def test_a_config_kept_for_the_decoding_is_taken_along(tmp_path):
    theirs = made.gpt2(tmp_path / "theirs")
    generation = {"bos_token_id": 0, "eos_token_id": [1, 7], "do_sample": True, "temperature": 0.6}
    (theirs / "generation_config.json").write_text(json.dumps(generation))
    assert main(["import", str(theirs), "--to", str(tmp_path / "run")]) == 0
    assert components.load(tmp_path / "run").tokenizer.ends == [1, 7]
    assert main(["export", str(tmp_path / "run"), "--to", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text()) == generation


def test_load_takes_no_folder_of_anything_else(tmp_path):
    with pytest.raises(UserError, match="no such run"):
        components.load(tmp_path)
