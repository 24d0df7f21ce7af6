"""BLOOM (BigScience 2022, arXiv:2211.05100): ALiBi, a norm of the embedding, queries, keys and values interleaved by head."""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import either, stack, tied
from components.interop.architectures._neox import EVERY, fused
from components.interop.fields import Constant, Same

# how the model was trained on many machines: nothing that its class reads
TRAINING = ("masked_softmax_fusion", "bias_dropout_fusion", "attention_softmax_in_fp32", "skip_bias_add", "skip_bias_add_qkv")

ARCHITECTURE = Architecture(
    names=("BloomForCausalLM", "BloomModel"),
    model_type="bloom",
    base={
        "model": {
            "name": "decoder",
            "position": "alibi",
            "norm": "layer",
            "embedding_norm": "inherit",
            "block": "pre_norm",
            "attention": {"name": "gqa", "bias": EVERY},
            "ffn": {"name": "mlp", "widen": 4.0, "activation": "gelu_tanh", "bias": True},
        }
    },
    fields=(
        Same("vocab_size", "vocab_size", 250880),
        either(("hidden_size", "n_embed"), "model.d_model", 64),
        either(("n_layer", "num_hidden_layers"), "model.n_layers", 2),
        either(("n_head", "num_attention_heads"), "model.attention.n_heads", 8),
        Same("seq_length", "model.context_length", 2048),
        Same("layer_norm_epsilon", "model.norm.eps", 1e-5),
        Same("hidden_dropout", "model.residual.dropout", 0.0),
        Same("attention_dropout", "model.attention.dropout", 0.0),
        Constant("slow_but_exact", False),  # sums in pieces, which leave the biases out
        Constant("apply_residual_connection_post_layernorm", False),
        Constant("n_inner", None),
        tied(True),
    ),
    tensors=(
        Rule("transformer.word_embeddings.weight", "embedding.table.weight"),
        Rule("transformer.word_embeddings_layernorm.{p}", "stack.embedding_norm.{p}"),
        fused("transformer.h.{i}.self_attention.query_key_value"),
        Rule("transformer.h.{i}.self_attention.dense.{p}", stack("attention.out.{p}")),
        Rule("transformer.h.{i}.mlp.dense_h_to_4h.{p}", stack("ffn.up.{p}")),
        Rule("transformer.h.{i}.mlp.dense_4h_to_h.{p}", stack("ffn.out.{p}")),
        Rule("transformer.h.{i}.input_layernorm.{p}", stack("attention_norm.{p}")),
        Rule("transformer.h.{i}.post_attention_layernorm.{p}", stack("ffn_norm.{p}")),
        Rule("transformer.ln_f.{p}", "stack.final_norm.{p}"),
        Rule("lm_head.weight", "head.logits.weight"),
    ),
    # the offset shifts all scores of a query alike
    free=frozenset(("offset_alibi", "unk_token_id", *TRAINING)),
    prefix="transformer.",
    copies={"lm_head.weight": "transformer.word_embeddings.weight"},
)
