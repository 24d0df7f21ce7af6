"""T5 (Raffel et al. 2019, arXiv:1910.10683), v1.1 (Shazeer 2020, arXiv:2002.05202) Flan-T5 (Chung et al. 2022, arXiv:2210.11416), mT5 (Xue et
al. 2020, arXiv:2010.11934), which is v1.1 for many languages and whose class scales nothing, and UMT5 (Chung et al. 2023, arXiv:2304.09151), in
which each layer has a table of its own.

Scores are not scaled, each side has one table of biases by distance, and the cross attention none. v1.0 ties the head to the embedding and scales
what it reads by d_model^-0.5; v1.1 has a head of its own and no such factor, which its config says by ``tie_word_embeddings: false``.
transformers 5 ties the head of both (unless a file holds two different matrices) and saves v1.1 as ``scale_decoder_outputs: false``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import tied
from components.interop.architectures._encoders import spread
from components.interop.fields import Constant, Custom, Field, Fields, Get, Options, Same, Theirs, Unsupported, value_of

PLAIN = {"relu": "relu", "gelu": "gelu", "gelu_new": "gelu_tanh", "silu": "silu"}
GATED = {"gelu": "gelu_tanh", "silu": "silu", "relu": "relu", "gelu_new": "gelu_tanh"}


def _read_depth(default: int) -> Callable[[Theirs], Options]:
    def read(config: Theirs) -> Options:
        encoder = value_of(config, "num_layers", default)
        decoder = config.get("num_decoder_layers") or encoder
        return {"model.n_layers": encoder, "model.decoder.n_layers": None if decoder == encoder else decoder}

    return read


def _write_depth(get: Get) -> Fields:
    encoder = get("model.n_layers")
    return {"num_layers": encoder, "num_decoder_layers": get("model.decoder.n_layers") or encoder}


def _read_head(config: Theirs) -> Options:
    tied = value_of(config, "tie_word_embeddings", True) is not False
    scaled = value_of(config, "scale_decoder_outputs", tied)
    return {"model.head.name": "tied" if tied else "linear", "model.head.multiplier": "rsqrt" if scaled else 1.0}


def _write_head(get: Get) -> Fields:
    factor = get("model.head.multiplier")
    if factor not in (1.0, "rsqrt"):
        raise Unsupported(f"model.head.multiplier={factor!r}: there are 1.0 and 'rsqrt'")
    return {"tie_word_embeddings": get("model.head.name") == "tied", "scale_decoder_outputs": factor == "rsqrt"}


def _activation(gated: bool, default: str) -> Custom:
    """``feed_forward_proj``; ``dense_act_fn`` and ``is_gated_act`` follow from it."""
    table, before = (GATED, "gated-") if gated else (PLAIN, "")

    def read(config: Theirs) -> Options:
        value = value_of(config, "feed_forward_proj", default)
        if (name := value.removeprefix(before)) not in table:
            raise Unsupported(f"feed_forward_proj={value!r}: there are {', '.join(before + n for n in table)}")
        return {"model.ffn.activation": table[name]}

    def write(get: Get) -> Fields:
        name = get("model.ffn.activation")
        found = next((t for t, o in table.items() if o == name), None)
        if found is None:
            raise Unsupported(f"model.ffn.activation={name!r}: feed_forward_proj knows {', '.join(table)}")
        return {"feed_forward_proj": before + found}

    return Custom(("feed_forward_proj", "dense_act_fn", "is_gated_act"), read, write)


def _side(side: str, branches: tuple[tuple[str, str], ...], ffn: dict[str, str], each: bool) -> tuple[Rule, ...]:
    """``branches``: theirs and ours of each attention, in order; the ffn comes after them. ``each``: whether each layer has a table."""
    ours = f"{side}.layers.{{i}}.block."
    rules: list[Rule] = []
    for n, (theirs, name) in enumerate((*branches, ("DenseReluDense", "ffn"))):
        layer = f"{side}.block.{{i}}.layer.{n}."
        maps = ffn if name == "ffn" else {"q": "q", "k": "k", "v": "v", "o": "out"}
        rules += [Rule(f"{layer}{theirs}.{a}.weight", f"{ours}{name}.{b}.weight") for a, b in maps.items()]
        rules.append(Rule(f"{layer}layer_norm.weight", f"{ours}{name}_norm.weight"))
    layer = "{i}" if each else "0"
    table = f"{side}.block.{layer}.layer.0.SelfAttention.relative_attention_bias.weight"
    return (
        *rules,
        Rule(table, f"{side}.positions.{layer}.table.weight"),
        Rule(f"{side}.final_layer_norm.weight", f"{side}.final_norm.weight"),
    )


def _architecture(
    gated: bool,
    *names: str,
    model_type: str = "t5",
    default: str = "relu",
    sizes: tuple[int, ...] = (32128, 2048, 6, 8),
    head: Field,
    each: bool = False,
) -> Architecture:
    """``sizes``: the class's own vocabulary, width of the ffn, depth and heads. ``each``: whether each layer has a table of biases."""
    ffn = {"wi_0": "gate", "wi_1": "up", "wo": "out"} if gated else {"wi": "up", "wo": "out"}
    attention = ("SelfAttention", "attention")
    return Architecture(
        names=names,
        model_type=model_type,
        base={
            "model": {
                "name": "encoder_decoder",
                "position": {"name": "t5_bias", "share": "layer" if each else "stack"},
                "norm": "rms",
                "block": "pre_norm",
                "attention": {"name": "gqa", "scale": 1.0},
                "ffn": "glu" if gated else "mlp",
                "decoder": "layers",
            },
            "loss": "seq2seq",
        },
        fields=(
            Same("vocab_size", "vocab_size", sizes[0]),
            Same("d_model", "model.d_model", 512),
            Custom(("num_layers", "num_decoder_layers"), _read_depth(sizes[2]), _write_depth),
            Same("num_heads", "model.attention.n_heads", sizes[3]),
            Same("d_kv", "model.attention.head_dim", 64),
            Same("d_ff", "model.ffn.d_ff", sizes[1]),
            Same("relative_attention_num_buckets", "model.position.buckets", 32),
            Same("relative_attention_max_distance", "model.position.max_distance", 128),
            Same("layer_norm_epsilon", "model.norm.eps", 1e-6),
            spread("dropout_rate", "model.residual.dropout", "model.embedding.dropout", "model.attention.dropout", default=0.1),
            _activation(gated, default),
            head,
            Custom(("n_positions",), lambda c: {"model.context_length": c.get("n_positions") or 512}, lambda get: {}),  # noqa: ARG005
            Constant("is_decoder", False),
        ),
        tensors=(
            Rule("shared.weight", "embedding.table.weight"),
            *_side("encoder", (attention,), ffn, each),
            *_side("decoder", (attention, ("EncDecAttention", "cross")), ffn, each),
            Rule("lm_head.weight", "head.logits.weight"),
        ),
        free=frozenset(("classifier_dropout", "output_past", "scalable_attention")),
        ignored=("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",),
        copies=dict.fromkeys(("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"), "shared.weight"),
        fits=lambda config: str(config.get("feed_forward_proj", default)).startswith("gated-") == gated,
    )


T5 = ("T5ForConditionalGeneration", "T5WithLMHeadModel")
MT5 = ("MT5ForConditionalGeneration",)
UMT5 = ("UMT5ForConditionalGeneration",)
MANY: dict[str, Any] = {"default": "gated-gelu", "sizes": (250112, 1024, 8, 6)}  # of the classes for many languages
HEAD = Custom(("tie_word_embeddings", "scale_decoder_outputs"), _read_head, _write_head)
ARCHITECTURE = (
    _architecture(False, *T5, head=HEAD),
    _architecture(True, *T5, head=HEAD),
    _architecture(True, *MT5, model_type="mt5", **MANY, head=tied(True)),
    _architecture(False, *UMT5, model_type="umt5", **MANY, head=HEAD, each=True),
    _architecture(True, *UMT5, model_type="umt5", **MANY, head=HEAD, each=True),
)
