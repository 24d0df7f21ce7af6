"""A model that is no class of transformers', in its hands: its Auto classes, generate, pipeline and Trainer take it after one import."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

import components
from components.cli import main
from components.compose import compose
from components.core.makers import make
from components.core.sockets import Batch, Terms
from components.corpus.special_ids import first_ids
from components.corpus.tokens import Tokens
from components.interop import convert
from components.interop.own import LABEL
from components.parts.tokenizer.byte import Byte
from components.runs.exporting import generation_file, special_ids, tokenizer_files

transformers = pytest.importorskip("transformers")
auto = pytest.importorskip("components.interop.transformers")

SMALL = ["model.d_model=16", "model.n_layers=2", "model.context_length=64"]
HEADS = ["model.attention.n_heads=2", "model.attention.n_kv_heads=1"]
LONG = "model.position.scaling={name: longrope, original_context: 32, long_factor: [1.5, 2.0, 3.0, 4.0]}"
# what keeps keys, what keeps a state, what keeps both, experts with a loss of their own, a tied head, layers that are visited twice
KINDS = {
    "softmax": [*HEADS, "model/ffn=none", "model.attention.sinks=true"],
    "window": ["model/attention=sliding_window", "model.attention.n_heads=2", "model.attention.mask.window=4", "model/ffn=mlp"],
    "recurrent": ["model/attention=gated_delta_net", "model.attention.n_heads=2", "model/position=none"],
    "both": [*HEADS, "model/position=none", "model.layers.last.attention=gla", "model.layers.last.attention.n_heads=2"],
    "moe": [*HEADS, "model/ffn=moe", "model.ffn.n_experts=4", "model/head=tied", "model/norm=layer"],
    "turning": [*HEADS, "model/position=rope", LONG],
    "looped": [*HEADS, "model/stack=looped", "model/position=alibi", "model/head=tied"],
}
TEXTS = ["the tree", "a river runs through"]


def exported(kind: str, folder: Path) -> tuple[torch.nn.Module, Tokens]:
    """(a small model with drawn weights, its tokenizer), written to ``folder`` in our own layout."""
    config, tokenizer = compose("llama_tiny", [*SMALL, *KINDS[kind]]).config, Byte()
    size = tokenizer.vocab_size
    model = make(config["model"], "model", vocab_size=size).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())) * 0.2)
    files = tokenizer_files(tokenizer, config) | generation_file(None, tokenizer, {"name": "greedy"})[0]
    ids = {f"{role}_token_id": i for role, i in special_ids(tokenizer).items() if role in ("bos", "eos", "pad")}
    convert.write_folder(config, model.state_dict(), size, folder, ids, LABEL, files=files)
    return model, tokenizer


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    """{kind: (folder, our model, our tokenizer)}, each made once."""
    known: dict[str, tuple[Path, torch.nn.Module, Tokens]] = {}

    def home(kind: str) -> tuple[Path, torch.nn.Module, Tokens]:
        if kind not in known:
            folder = tmp_path_factory.mktemp(kind) / "out"
            known[kind] = (folder, *exported(kind, folder))
        return known[kind]

    return home


def asked(tokenizer: object) -> dict[str, Tensor]:
    """Two prompts of other lengths, padded on the left."""
    return tokenizer(TEXTS, return_tensors="pt", padding=True, padding_side="left")  # type: ignore[operator]


@pytest.mark.parametrize("kind", sorted({*KINDS} - {"turning"}))
def test_auto_classes_load_the_same_model_and_write_the_same_text(kind, homes):
    folder, ours, tokens = homes(kind)
    model, tokenizer = (
        transformers.AutoModelForCausalLM.from_pretrained(folder),
        transformers.AutoTokenizer.from_pretrained(folder),
    )
    ids = torch.randint(5, 200, (2, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model(ids).logits, ours(ids))
        assert torch.equal(model(ids, logits_to_keep=2).logits, ours(ids)[:, -2:])
    given = asked(tokenizer)
    wanted = components.load(folder, ["decoding=greedy"]).generate(TEXTS, max_new_tokens=8)
    how = {"max_new_tokens": 8, "do_sample": False}
    made = model.generate(**given, **how)
    assert tokenizer.batch_decode(made, skip_special_tokens=True) == wanted
    assert torch.equal(made, model.generate(**given, **how, use_cache=False))
    beams = {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 5, "do_sample": False}
    assert torch.equal(model.generate(**given, **beams), model.generate(**given, **beams, use_cache=False))
    drawn = []
    for kept in (True, False):
        torch.manual_seed(3)
        drawn.append(model.generate(**given, do_sample=True, top_k=20, max_new_tokens=8, use_cache=kept))
    assert torch.equal(*drawn)
    assert [tokenizer(t)["input_ids"] for t in TEXTS] == [[*first_ids(tokens), *tokens.encode(t)] for t in TEXTS]


@pytest.mark.parametrize("kind", ["softmax", "recurrent", "moe"])
def test_what_transformers_saves_is_the_same_model(kind, homes, tmp_path):
    folder, ours, _ = homes(kind)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    model.save_pretrained(tmp_path / "again")
    ids = torch.randint(5, 200, (1, 7))
    with torch.no_grad():
        assert torch.equal(transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "again")(ids).logits, ours(ids))
        assert torch.equal(components.load(tmp_path / "again").model(ids), ours(ids))
    held = json.loads((folder / "config.json").read_text())
    assert held["architectures"] == [LABEL]
    assert "auto_map" not in held
    assert {f.suffix for f in folder.iterdir()} == {".json", ".safetensors"}


def test_a_pipeline_writes_with_it(homes):
    folder = homes("recurrent")[0]
    wanted = components.load(folder, ["decoding=greedy"]).generate(TEXTS[0], max_new_tokens=6)
    write = transformers.pipeline("text-generation", model=str(folder))
    assert write(TEXTS[0], do_sample=False, max_new_tokens=6)[0]["generated_text"] == wanted


def test_the_loss_is_that_of_transformers_and_what_layers_add(homes):
    _, ours, _ = homes("moe")
    model = transformers.AutoModelForCausalLM.from_pretrained(homes("moe")[0])
    ids = torch.randint(5, 200, (2, 12), generator=torch.Generator().manual_seed(1))
    labels = ids.masked_fill(torch.arange(12) < 3, -100)
    loss = model(ids, labels=labels).loss
    plain = torch.nn.functional.cross_entropy(ours(ids)[:, 2:-1].flatten(0, 1), ids[:, 3:].flatten())
    terms = ours(Batch(ids), lambda *_: Terms())
    added = sum(terms.aim[n] * s / w for n, (s, w) in terms.losses.items())
    assert added > 0
    assert loss.item() == pytest.approx((plain + added).item(), rel=1e-5)
    half = model(ids, labels=labels, num_items_in_batch=36).loss  # 18 targets of a step of 36
    assert half.item() == pytest.approx(loss.item() / 2, rel=1e-5)


def test_padding_and_packed_rows_change_no_numbers(homes):
    _, ours, _ = homes("both")
    model = transformers.AutoModelForCausalLM.from_pretrained(homes("both")[0])
    a, b = torch.randint(5, 200, (1, 5)), torch.randint(5, 200, (1, 4))
    with torch.no_grad():
        mask = torch.tensor([[0, 0, 1, 1, 1, 1, 1]])
        padded = model(torch.cat([torch.zeros(1, 2, dtype=torch.long), a], 1), attention_mask=mask).logits[:, 2:]
        packed = model(torch.cat([a, b], 1), position_ids=torch.tensor([[0, 1, 2, 3, 4, 0, 1, 2, 3]])).logits
        assert torch.allclose(padded, ours(a), atol=1e-5)
        assert torch.allclose(packed, torch.cat([ours(a), ours(b)], 1), atol=1e-5)


def test_trainer_teaches_it_and_its_folder_comes_home(homes, tmp_path):
    pytest.importorskip("accelerate", reason="transformers' Trainer needs it")
    folder, _, _ = homes("moe")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    rows = [{"input_ids": list(range(5, 17)), "labels": list(range(5, 17))} for _ in range(16)]
    told = transformers.TrainingArguments(
        str(tmp_path / "run"),
        max_steps=6,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        learning_rate=0.03,
        gradient_checkpointing=True,
        report_to=[],
        use_cpu=True,
        logging_steps=1,
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = transformers.Trainer(model=model, args=told, train_dataset=rows, eval_dataset=rows[:4])
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    after = trainer.evaluate()["eval_loss"]
    assert after < before - 0.5
    trainer.save_model(str(tmp_path / "taught"))
    ids = torch.arange(5, 17)[None]
    with torch.no_grad():
        assert torch.equal(components.load(tmp_path / "taught").model(ids), model.eval()(ids).logits)


def test_where_angles_change_with_the_length_nothing_is_kept(homes):
    folder, _, _ = homes("turning")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    prompt = "the tree by the river stands"  # 29 tokens with the first: the angles turn within the text
    given = transformers.AutoTokenizer.from_pretrained(folder)(prompt, return_tensors="pt")
    with pytest.raises(ValueError, match="use_cache=False"):
        model.generate(**given, do_sample=False, max_new_tokens=8)
    made = model.generate(**given, do_sample=False, max_new_tokens=8, use_cache=False)[0].tolist()
    loaded = components.load(folder, ["decoding=greedy"])
    assert loaded.tokenizer.decode(made[1:]) == loaded.generate(prompt, max_new_tokens=8)


def test_a_state_is_not_cut_back(homes):
    model = transformers.AutoModelForCausalLM.from_pretrained(homes("recurrent")[0])
    with pytest.raises(ValueError, match="stateful"):
        model.generate(torch.tensor([[5, 6]]), assistant_model=model, max_new_tokens=2)


def test_what_it_does_not_do_is_said(homes):
    model = transformers.AutoModelForCausalLM.from_pretrained(homes("softmax")[0])
    ids = torch.randint(5, 200, (1, 4))
    for how in ({"output_attentions": True}, {"output_hidden_states": True}, {"inputs_embeds": torch.zeros(1, 4, 16)}):
        with pytest.raises(ValueError, match=r"components\.trace"):
            model(ids, **how)
    with pytest.raises(ValueError, match="another recipe"):
        model.resize_token_embeddings(300)


def test_a_damaged_or_newer_config_is_said_in_one_line(homes, tmp_path, capsys):
    folder, _, _ = homes("softmax")
    held = json.loads((folder / "config.json").read_text())
    for wrong, said in (({"format": 99}, "another release"), ({"model": 3}, "no composed model")):
        other = tmp_path / said.split()[0]
        other.mkdir()
        for file in folder.iterdir():
            (other / file.name).write_bytes(file.read_bytes())
        (other / "config.json").write_text(json.dumps({**held, "composed": {**held["composed"], **wrong}}))
        assert main(["import", str(other), "--to", str(tmp_path / "run")]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
        assert not (tmp_path / "run").exists()
