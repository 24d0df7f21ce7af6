"""Encoders and encoder-decoders in the layouts that files are found in: without a head, with older names, with copies; T5 v1.1's own head."""

from __future__ import annotations

import json
from pathlib import Path

import oracles_encoder_decoders
import oracles_encoders
import oracles_mbart
import oracles_pegasus
import pytest
import torch
import torch.nn.functional as F
from parity import Oracle, Pair, close, logits_of_ours, logits_of_theirs, made, ours, source_ids, theirs
from safetensors.torch import load_file, save_file
from torch import Tensor

import components
from components.core.errors import UserError
from components.core.sockets import Batch
from components.interop import convert
from components.interop.config import architecture_of, at, recipe_of

transformers = pytest.importorskip("transformers")
BY_NAME = {o.name: o for m in (oracles_encoders, oracles_encoder_decoders, oracles_mbart, oracles_pegasus) for o in m.ORACLES}
CLOSE = 1e-5
BARE = {"BERT": "BertModel", "RoBERTa": "RobertaModel", "ModernBERT": "ModernBertModel"}


def changed(folder: Path, tensors=lambda t: t, **fields) -> Path:
    """``folder`` with other tensors and fields of config.json."""
    weights = load_file(folder / "model.safetensors")
    save_file({n: t.clone() for n, t in tensors(weights).items()}, folder / "model.safetensors")
    config = {**json.loads((folder / "config.json").read_text()), **fields}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("name", BARE)
def test_a_bare_model_gives_hidden_vectors(name, tmp_path):
    config, fields = BY_NAME[name].config
    pair = made(Oracle(name, BARE[name], (config, fields)), tmp_path / "theirs")
    ids = pair.ids()
    mask = torch.ones_like(ids)
    mask[0, -5:] = 0
    with torch.no_grad():
        hidden = pair.theirs(input_ids=ids, attention_mask=mask).last_hidden_state
        given = pair.ours(Batch(ids, valid=mask.bool()))
    assert close(given[mask.bool()], hidden[mask.bool()]) <= CLOSE
    written = convert.write_folder(pair.imported.config, pair.imported.weights, pair.vocab, tmp_path / "ours")
    assert written.label == BARE[name]
    again = getattr(transformers, BARE[name]).from_pretrained(tmp_path / "ours", attn_implementation="eager").eval()
    with torch.no_grad():
        assert torch.equal(again(input_ids=ids, attention_mask=mask).last_hidden_state, hidden)


def test_bart_without_a_head_reads_logits_from_its_embedding(tmp_path):
    """As its base checkpoint lies on the hub: no prefix, no bias of logits."""
    oracle = BY_NAME["BART"]
    pair = made(Oracle("BART", "BartModel", oracle.config, source=True), tmp_path)
    assert not [n for n in load_file(tmp_path / "model.safetensors") if n.startswith(("model.", "final"))]
    ids = pair.ids()
    with torch.no_grad():
        hidden = pair.theirs(input_ids=source_ids(pair), decoder_input_ids=ids).last_hidden_state
    assert close(logits_of_ours(oracle, pair, ids), hidden @ pair.theirs.shared.weight.T) <= CLOSE


def test_berts_older_names_and_what_its_pretraining_left_are_read(tmp_path):
    """As bert-base-uncased lies on the hub."""
    pair = made(BY_NAME["BERT"], tmp_path)
    before = dict(pair.imported.weights)  # read before the file changes

    def older(tensors):
        more = {"cls.seq_relationship.weight": torch.zeros(2, 48), "cls.seq_relationship.bias": torch.zeros(2)}
        more |= {"bert.pooler.dense.weight": torch.zeros(48, 48), "bert.pooler.dense.bias": torch.zeros(48)}
        more["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"]
        names = {
            n: n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta") for n in tensors
        }
        return {**{names[n]: t for n, t in tensors.items()}, **more}

    again = convert.read_folder(changed(tmp_path, older, position_embedding_type="absolute"))
    assert again.weights.keys() == before.keys()
    assert all(torch.equal(t, before[n]) for n, t in again.weights.items())
    with pytest.raises(UserError, match=r"position_embedding_type='relative_key': only 'absolute'"):
        convert.read_folder(changed(tmp_path, position_embedding_type="relative_key"))


def test_of_two_tied_names_a_file_may_have_either(tmp_path):
    pair = made(BY_NAME["T5 v1.0"], tmp_path)
    before = dict(pair.imported.weights)

    def other(tensors):
        return {("lm_head.weight" if n == "shared.weight" else n): t for n, t in tensors.items()}

    again = convert.read_folder(changed(tmp_path, other))
    assert all(torch.equal(t, before[n]) for n, t in again.weights.items())


def test_marians_tables_of_sinusoids_are_no_weights(tmp_path):
    pair = made(BY_NAME["Transformer"], tmp_path)

    def older(tensors):
        return {
            **tensors,
            "model.encoder.embed_positions.weight": torch.zeros(64, 48),
            "lm_head.weight": tensors["model.shared.weight"],
        }

    again = convert.read_folder(changed(tmp_path, older))
    assert again.weights.keys() == pair.imported.weights.keys()
    with pytest.raises(UserError, match="decoder_vocab_size=98"):
        convert.read_folder(changed(tmp_path, decoder_vocab_size=98))
    with pytest.raises(UserError, match=r"encoder_ffn_dim=80, decoder_ffn_dim=96: both sides"):
        convert.read_folder(changed(tmp_path, decoder_vocab_size=97, decoder_ffn_dim=96))


@pytest.mark.parametrize("name", ["BERT", "T5 v1.0", "Transformer"])
def test_a_folder_is_loaded_with_as_many_rows_as_it_has(name, tmp_path):
    """Its objective wants no tokens beyond them, which would be rows that the checkpoint has not."""
    oracle = BY_NAME[name]
    pair = made(oracle, tmp_path)
    loaded = components.load(tmp_path)
    ids = pair.ids()
    batch = Batch(ids, source=Batch(source_ids(pair))) if oracle.source else Batch(ids)
    with torch.no_grad():
        assert torch.equal(loaded.model(batch), pair.ours(batch))
    assert loaded.config["loss"].get("mask_id", 96) == 96  # no tokenizer says which it is


# fields beside the sizes that configs on the hub have, and what they become
FOUND = {
    "BertForMaskedLM": (
        {
            **{"directionality": "bidi", "pooler_fc_size": 768, "pooler_num_attention_heads": 12, "pooler_num_fc_layers": 3},
            **{"pooler_size_per_head": 128, "pooler_type": "first_token_transform", "vocab_size": 119547, "output_past": True},
        },
        {"model.name": "encoder", "vocab_size": 119547, "model.d_model": 768},
    ),
    "BartForConditionalGeneration": (
        {
            **{"_num_labels": 3, "add_bias_logits": False, "add_final_layer_norm": False, "extra_pos_embeddings": 2},
            **{"force_bos_token_to_be_generated": True, "forced_bos_token_id": 0, "length_penalty": 2.0, "max_length": 142},
            **{"min_length": 56, "no_repeat_ngram_size": 3, "normalize_before": False, "normalize_embedding": True},
            **{
                "num_beams": 4,
                "num_hidden_layers": 12,
                "output_past": True,
                "prefix": " ",
                "static_position_embeddings": False,
            },
        },
        {"model.d_model": 1024, "model.position.offset": 2, "model.embedding_norm": "inherit"},
    ),
    "MarianMTModel": (
        {
            **{"_num_labels": 3, "activation_function": "swish", "bad_words_ids": [[58100]], "decoder_vocab_size": 58101},
            **{"d_model": 512, "normalize_embedding": False, "static_position_embeddings": True, "scale_embedding": True},
            **{f"{side}_{n}": v for side in ("encoder", "decoder") for n, v in (("layers", 6), ("ffn_dim", 2048))},
        },
        {"model.ffn.activation": "silu", "model.embedding.scale": "sqrt", "model.n_layers": 6, "model.decoder.n_layers": None},
    ),
    "T5ForConditionalGeneration": (
        {
            **{"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "n_positions": 512, "output_past": True},
            **{"task_specific_params": {"summarization": {"prefix": "summarize: "}}, "num_decoder_layers": 6},
        },
        {"model.head.name": "linear", "model.head.multiplier": 1.0, "model.ffn.name": "glu", "model.attention.scale": 1.0},
    ),
}


@pytest.mark.parametrize("cls", FOUND)
def test_configs_as_they_lie_on_the_hub(cls):
    fields, wanted = FOUND[cls]
    config = {"architectures": [cls], **fields}
    recipe, _ = recipe_of(architecture_of(config, "here"), config, "here")
    assert {path: at(recipe, path) for path in wanted} == wanted


MODERN = BY_NAME["ModernBERT"].config[1]
T5 = BY_NAME["T5 v1.0"].config[1]
VARIANTS = [
    (
        "ModernBertForMaskedLM",
        "ModernBertConfig",
        {**MODERN, "attention_bias": True, "mlp_bias": True, "norm_bias": True, "classifier_bias": True},
    ),
    ("ModernBertForMaskedLM", "ModernBertConfig", {**MODERN, "tie_word_embeddings": False, "decoder_bias": False}),
    (
        "ModernBertForMaskedLM",
        "ModernBertConfig",
        {**MODERN, "layer_types": ["sliding_attention"] * 2 + ["full_attention"] * 3},
    ),
    ("BertForMaskedLM", "BertConfig", {**BY_NAME["BERT"].config[1], "hidden_act": "relu", "type_vocab_size": 3}),
    ("XLMRobertaForMaskedLM", "XLMRobertaConfig", {**BY_NAME["RoBERTa"].config[1], "pad_token_id": 3}),
    ("CamembertForMaskedLM", "CamembertConfig", BY_NAME["RoBERTa"].config[1]),
    ("T5ForConditionalGeneration", "T5Config", {**T5, "feed_forward_proj": "gated-silu"}),
    ("T5ForConditionalGeneration", "T5Config", {**T5, "feed_forward_proj": "gelu_new", "tie_word_embeddings": False}),
    ("BartForConditionalGeneration", "BartConfig", {**BY_NAME["BART"].config[1], "scale_embedding": True, "encoder_layers": 3}),
    ("MarianMTModel", "MarianConfig", {**BY_NAME["BART"].config[1], "activation_function": "swish"}),
]


@pytest.mark.parametrize(("cls", "config", "fields"), VARIANTS, ids=[f"{c}-{i}" for i, (c, *_) in enumerate(VARIANTS)])
def test_other_values_of_fields(cls, config, fields, tmp_path):
    oracle = Oracle(cls, cls, (config, fields), source="Config" in config and config[:2] in ("T5", "Ba", "Ma"))
    pair = made(oracle, tmp_path / "theirs")
    ids = pair.ids()
    assert close(logits_of_ours(oracle, pair, ids), logits_of_theirs(oracle, pair, ids)) <= CLOSE
    written = convert.write_folder(pair.imported.config, pair.imported.weights, pair.vocab, tmp_path / "ours", prefer=cls)
    assert written.label == cls
    a, b = (load_file(tmp_path / f / "model.safetensors") for f in ("theirs", "ours"))
    assert a.keys() == b.keys()
    assert all(torch.equal(t, b[n]) for n, t in a.items())


# -- T5 v1.1 with a head of its own -----------------------------------------------------------------------------------------


def rms(x: Tensor, weight: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight


def bucket(distance: int, both_ways: bool, n: int = 8, furthest: int = 16) -> int:
    """Of a key that many positions after the query, as the paper's code numbers them."""
    first = 0
    if both_ways:
        n //= 2
        first, distance = (n if distance > 0 else 0), abs(distance)
    else:
        distance = max(-distance, 0)
    exact = n // 2
    if distance < exact:
        return first + distance
    steps = torch.log(torch.tensor(distance / exact)) / torch.log(torch.tensor(furthest / exact)) * (n - exact)
    return first + min(exact + int(steps), n - 1)


def naive_t5(w: dict[str, Tensor], source: Tensor, target: Tensor, layers: int, heads: int) -> Tensor:
    """T5 v1.1 by the papers, one head and one query after another; ``w`` by the names of its checkpoints."""

    def attend(x: Tensor, memory: Tensor, name: str, table: Tensor | None, causal: bool) -> Tensor:
        q, k, v = (F.linear(y, w[f"{name}.{n}.weight"]).chunk(heads, -1) for n, y in (("q", x), ("k", memory), ("v", memory)))
        read = []
        for h in range(heads):
            scores = q[h] @ k[h].transpose(1, 2)
            for i in range(x.shape[1]):
                for j in range(memory.shape[1]):
                    if table is not None:
                        scores[:, i, j] += table[bucket(j - i, not causal), h]
                    if causal and j > i:
                        scores[:, i, j] = float("-inf")
            read.append(scores.softmax(-1) @ v[h])
        return F.linear(torch.cat(read, -1), w[f"{name}.o.weight"])

    def unit(x: Tensor, name: str) -> Tensor:
        gate = F.gelu(F.linear(x, w[f"{name}.wi_0.weight"]), approximate="tanh")
        return F.linear(gate * F.linear(x, w[f"{name}.wi_1.weight"]), w[f"{name}.wo.weight"])

    def side(ids: Tensor, name: str, memory: Tensor | None) -> Tensor:
        x = w["shared.weight"][ids]
        table = w[f"{name}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
        for i in range(layers):
            layer = f"{name}.block.{i}.layer"
            y = rms(x, w[f"{layer}.0.layer_norm.weight"])
            x = x + attend(y, y, f"{layer}.0.SelfAttention", table, memory is not None)
            if memory is not None:
                y = rms(x, w[f"{layer}.1.layer_norm.weight"])
                x = x + attend(y, memory, f"{layer}.1.EncDecAttention", None, False)
            last = 1 if memory is None else 2
            x = x + unit(rms(x, w[f"{layer}.{last}.layer_norm.weight"]), f"{layer}.{last}.DenseReluDense")
        return rms(x, w[f"{name}.final_layer_norm.weight"])

    return F.linear(side(target, "decoder", side(source, "encoder", None)), w["lm_head.weight"])


def test_t5_with_a_head_of_its_own(tmp_path):
    """Against a forward pass written from the papers, and against the class, which keeps two different matrices apart when it reads them."""
    oracle = BY_NAME["T5 v1.1 and Flan-T5"]
    theirs(oracle).save_pretrained(tmp_path / "tied")

    def own(tensors):
        return {**tensors, "lm_head.weight": torch.randn(97, 48, generator=torch.Generator().manual_seed(7))}

    with pytest.raises(UserError, match=r"lm_head\.weight is no copy of shared\.weight"):
        convert.read_folder(changed(tmp_path / "tied", own))
    folder = changed(tmp_path / "tied", tie_word_embeddings=False)
    imported = convert.read_folder(folder)
    cls = transformers.T5ForConditionalGeneration
    pair = Pair(cls.from_pretrained(folder).eval(), ours(imported), imported, folder, 97)
    ids = pair.ids()
    logits = logits_of_ours(oracle, pair, ids)
    assert close(logits, naive_t5(load_file(folder / "model.safetensors"), source_ids(pair), ids, 3, 4)) <= CLOSE
    assert close(logits, logits_of_theirs(oracle, pair, ids)) <= CLOSE
    convert.write_folder(imported.config, imported.weights, 97, tmp_path / "out")
    again = cls.from_pretrained(tmp_path / "out").eval()
    assert torch.equal(again.lm_head.weight, pair.theirs.lm_head.weight)
    with torch.no_grad():
        assert close(logits, again(input_ids=source_ids(pair), decoder_input_ids=ids).logits) <= CLOSE


def test_tables_of_sinusoids_are_held_to_what_is_computed(tmp_path):
    pair = made(BY_NAME["Pegasus"], tmp_path)
    table = "model.encoder.embed_positions.weight"
    half = changed(tmp_path, lambda tensors: {**tensors, table: tensors[table].half()})
    assert convert.read_folder(half).weights.keys() == pair.imported.weights.keys()
    without = changed(tmp_path, lambda tensors: {n: t for n, t in tensors.items() if n != table})
    assert convert.read_folder(without).weights.keys() == pair.imported.weights.keys()
    with pytest.raises(UserError, match=f"{table} has other numbers than the table that is computed here"):
        convert.read_folder(
            changed(tmp_path, lambda tensors: {**tensors, table: pair.theirs.model.encoder.embed_positions.weight.flip(0)})
        )


@pytest.mark.parametrize("name", ["mBART", "Pegasus"])
def test_fields_of_the_code_before_transformers_4(name, tmp_path):
    made(BY_NAME[name], tmp_path)
    older = {"normalize_before": True, "add_final_layer_norm": True, "static_position_embeddings": name == "Pegasus"}
    convert.read_folder(changed(tmp_path, **older, normalize_embedding=name == "mBART"))
    with pytest.raises(UserError, match="normalize_before=False"):
        convert.read_folder(changed(tmp_path, normalize_before=False))
