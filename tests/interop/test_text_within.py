"""Checkpoints that read images too: their text model is read, gives the same logits, and goes out as a model of text."""

from __future__ import annotations

import json

import pytest
import torch
from parity import close
from safetensors.torch import load_file, save_file

import components
from components.cli import main
from components.compose import compose
from components.interop import convert

transformers = pytest.importorskip("transformers")
TEXT = {
    **{"vocab_size": 97, "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8},
    **{"intermediate_size": 48, "max_position_embeddings": 64, "bos_token_id": 2, "eos_token_id": 1},
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
ENDS = {"vision_output_dim": 16, "projector_input_dim": 16, "projector_output_dim": 16}
STRETCHED = {"rope_scaling": {"rope_type": "linear", "factor": 8.0}, "sliding_window": 6, "num_hidden_layers": 7}


def gemma3(folder):
    config = transformers.Gemma3Config(text_config={**TEXT, **STRETCHED}, vision_config=VISION, mm_tokens_per_image=4)
    return saved(transformers.Gemma3ForConditionalGeneration(config), folder)


def llama4(folder):
    text = {**TEXT, "num_hidden_layers": 4, "intermediate_size_mlp": 40, "num_local_experts": 4, "attention_chunk_size": 8}
    config = transformers.Llama4Config(text_config=text, vision_config={**VISION, "intermediate_size": 64, **ENDS})
    return saved(transformers.Llama4ForConditionalGeneration(config), folder)


def saved(model, folder):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.empty(p.shape).normal_(0.0, 0.1, generator=generator))
    model.eval().save_pretrained(folder)
    return model


def text_logits(model, ids):
    """Llama 4's class trips over its own output where there is no image."""
    return (model.language_model if isinstance(model, transformers.Llama4ForConditionalGeneration) else model)(ids).logits


NEWER = (("language_model.model.", "model.language_model."), ("language_model.lm_head.", "lm_head."))


@pytest.mark.parametrize("names", ["as saved", "as the class has them"])
@pytest.mark.parametrize("make", [gemma3, llama4])
@torch.no_grad()
def test_the_text_model_is_read(make, names, tmp_path, capsys):
    theirs = make(tmp_path / "theirs")
    file = tmp_path / "theirs" / "model.safetensors"
    if names != "as saved":
        tensors = load_file(file)
        for before, after in NEWER:
            tensors = {n.replace(before, after) if n.startswith(before) else n: t for n, t in tensors.items()}
        moved = ("vision_tower", "vision_model", "multi_modal_projector")
        save_file({f"model.{n}" if n.startswith(moved) else n: t for n, t in tensors.items()}, file)
    ids = torch.randint(5, 80, (2, 20), generator=torch.Generator().manual_seed(0))
    wanted = text_logits(theirs, ids)
    loaded = components.load(tmp_path / "theirs")
    assert close(loaded.model(ids), wanted) <= 1e-5
    assert loaded.tokenizer.ends == [1]
    assert main(["import", str(tmp_path / "theirs"), "--to", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert f"of {type(theirs).__name__} its text model alone" in said
    assert "multi_modal_projector" in said
    assert "tensors)" in said
    assert main(["export", str(tmp_path / "run"), "--to", str(tmp_path / "out")]) == 0
    held = json.loads((tmp_path / "out" / "config.json").read_text())
    assert held["architectures"] == [type(theirs).__name__.replace("ForConditionalGeneration", "ForCausalLM")]
    assert "text_config" not in held
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert close(again(ids).logits, wanted) <= 1e-5


def test_gemma_3_as_the_hub_has_it(tmp_path, capsys):
    """The config.json of gemma-3-4b-it, which says little: the rest is what the class takes."""
    text = {"hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34}
    text |= {"rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024}
    config = {
        **{"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "mm_tokens_per_image": 256},
        **{"boi_token_index": 255999, "eoi_token_index": 256000, "eos_token_id": [1, 106], "image_token_index": 262144},
        **{"initializer_range": 0.02, "torch_dtype": "bfloat16", "transformers_version": "4.50.0.dev0"},
        "text_config": text,
        "vision_config": {"hidden_size": 1152, "model_type": "siglip_vision_model", "num_hidden_layers": 27},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert main(["import", "--config-only", str(tmp_path / "config.json")]) == 0
    printed = capsys.readouterr().out
    (tmp_path / "mine.yaml").write_text(printed)
    model = convert.on_meta(compose(str(tmp_path / "mine.yaml")).config, 262208)
    theirs = transformers.Gemma3TextConfig(**{n: v for n, v in text.items() if n != "model_type"})
    with torch.device("meta"):
        wanted = sum(p.numel() for p in transformers.Gemma3ForCausalLM(theirs).parameters())
    assert sum(p.numel() for p in model.parameters()) == wanted
    for option in ("base: 1000000.0", "name: linear", "factor: 8.0", "window: 1024"):
        assert option in printed


def test_a_model_of_more_than_text_that_is_not_known_says_so(tmp_path, capsys):
    config = {"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava", "text_config": {}, "vision_config": {}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert main(["import", str(tmp_path), "--to", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert "LlavaForConditionalGeneration is not known here; it reads more than text" in said
