"""What is claimed of parts, written before it was tried here: the studies of bench/ablations.py, and how an answer decides each claim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from components.studies.answer import Answer, Row, answer
from components.studies.effect import HIGHER, LOWER
from components.studies.report.tables import difference
from components.studies.study import Study

HELD, FAILED, UNTOLD = "held", "did not hold", "cannot be told"
ALIKE, NO_HIGHER = "alike", "no higher"
MARGIN = 0.01  # of the loss: two that differ by less are alike, if the whole interval says so
RECIPE = "recipe"


@dataclass(frozen=True)
class Claim:
    """Of one variant's loss beside another's.

    Args:
        text: the claim in words.
        variant: its name in the study.
        expected: ``lower``, ``higher``, ``alike`` (within `MARGIN` of the other's loss), or ``no higher`` (by more than that).
        against: the other one.
    """

    text: str
    variant: str
    expected: str
    against: str = RECIPE

    def of(self, study: Study) -> tuple[str, str]:
        """(held, did not hold or cannot be told; the sentence of the study's answer)."""
        found = beside(study, self.against)
        effect = next((row.effect for row in found.rows if row.variant == self.variant), None)
        if effect is None or effect.mean is None or effect.interval is None:
            return UNTOLD, "no pair of runs" if effect is None else effect.sentence
        if self.expected in (LOWER, HIGHER):
            if effect.verdict in (LOWER, HIGHER):
                return HELD if effect.verdict == self.expected else FAILED, effect.sentence
            return UNTOLD, f"{difference(effect)}: {effect.sentence}"
        margin, (low, high) = MARGIN * (_row(found, self.against).mean or 0.0), effect.interval
        within = high < margin and (self.expected == NO_HIGHER or low > -margin)
        beyond = low > margin or (self.expected == ALIKE and high < -margin)
        allowed = f"{margin:.3f}" if self.expected == NO_HIGHER else f"±{margin:.3f}"
        said = f"{low:+.3f} to {high:+.3f}, allowed {allowed}; {effect.sentence}"
        return HELD if within else FAILED if beyond else UNTOLD, said


def beside(study: Study, name: str) -> Answer:
    """The answer of the same runs where every variant is compared with the one of this name."""
    variants = tuple(replace(v, is_recipe=v.name == name) for v in study.variants)
    return answer(replace(study, variants=variants), [])


def _row(found: Answer, name: str) -> Row:
    return next(row for row in found.rows if row.variant == name)


@dataclass(frozen=True)
class Comparison:
    """A study that ``components ablate`` makes.

    Args:
        title: of its section.
        source: where the claims are published.
        words: overrides, the recipe's name first.
        asked: further words of the command.
        claims: what must be found.
        told: what a reader should know of how it was set up.
    """

    title: str
    source: str
    words: tuple[str, ...]
    asked: Mapping[str, str | int]
    claims: tuple[Claim, ...]
    told: str = ""


@dataclass(frozen=True)
class Ladder:
    """A study that ``components scale`` makes: the next size is foretold, and lies within ``margin`` of its loss."""

    title: str
    source: str
    words: tuple[str, ...]
    asked: Mapping[str, str | int] = field(default_factory=dict)
    margin: float = 0.01
    told: str = ""


def sized(steps: int, *, context: int = 128, batch: int = 4, precision: str | None = "32-true") -> tuple[str, ...]:
    """A small gpt_python: 0.6 M parameters, 512 tokens a step. ``precision`` None is the recipe's own."""
    return (
        "model.d_model=96",
        f"model.context_length={context}",
        f"task.batch_size={batch}",
        f"trainer.max_steps={steps}",
        f"task.validation_every={steps // 3}",
        "task.samples=0",
        "task.judged_samples=0",
        *(() if precision is None else (f"trainer.precision={precision}",)),
    )


def _ffn(kind: str, activation: str) -> str:
    return f"model/ffn={kind} model.ffn.activation={activation}"


def _norm(block: str, norm: str) -> str:
    return f"model/block={block} model/norm={norm}"


STUDIES: dict[str, Comparison | Ladder] = {
    "a": Comparison(
        "Gated feed-forwards at equal parameters",
        "Shazeer 2020, [arXiv:2002.05202](https://arxiv.org/abs/2002.05202), table 1",
        (
            "recipe=gpt_python",
            *sized(150, precision=None),
            "model.ffn.activation=relu",
            "model/ffn=mlp,glu",
            "model.ffn.activation=relu,gelu,silu",
        ),
        {"design": "grid", "match": "parameters", "seeds": 5},
        (
            Claim("ReGLU is lower than the plain network with ReLU", _ffn("glu", "relu"), LOWER),
            Claim("GEGLU is lower than the plain network with GELU", _ffn("glu", "gelu"), LOWER, _ffn("mlp", "gelu")),
            Claim("SwiGLU is lower than the plain network with Swish", _ffn("glu", "silu"), LOWER, _ffn("mlp", "silu")),
        ),
        "The recipe has ReLU here, as the paper's baseline. All have the recipe's learning rate. It ran under bf16-mixed, which was the recipe's precision then.",
    ),
    "b": Comparison(
        "Norms and their places, each with its own rate",
        "Xiong et al. 2020, [arXiv:2002.04745](https://arxiv.org/abs/2002.04745); Zhang and Sennrich 2019, "
        "[arXiv:1910.07467](https://arxiv.org/abs/1910.07467); Ding et al. 2021, [arXiv:2105.13290](https://arxiv.org/abs/2105.13290); "
        "Zhu et al. 2025, [arXiv:2503.10622](https://arxiv.org/abs/2503.10622)",
        (
            "recipe=gpt_python",
            *sized(300),
            "optimizer=adamw",
            "model/block=pre_norm,post_norm,sandwich",
            "model/norm=layer,rms,dynamic_tanh",
        ),
        {"design": "grid", "tune": "optimizer.lr:[1e-3,3e-3,1e-2]", "seeds": 5},
        (
            Claim(
                "with the norm after each branch (post) the loss falls slower: it is higher than with pre",
                _norm("post_norm", "layer"),
                HIGHER,
            ),
            Claim("norms before and after (sandwich) cost nothing: no higher than pre", _norm("sandwich", "layer"), NO_HIGHER),
            Claim("RMS norm is as good as layer norm", _norm("pre_norm", "rms"), ALIKE),
            Claim("dynamic tanh matches layer norm or is better", _norm("pre_norm", "dynamic_tanh"), NO_HIGHER),
        ),
        "AdamW in place of the recipe's Muon, as in these papers. **Post and dynamic tanh do not learn here at all** (5.8 is what token frequencies alone "
        "give), so their rows say nothing of the parts: the rest of the recipe suits them ill. Tried after the study, on seed 0 alone: post with "
        "`model/init=depth_scaled optimizer.lr=1e-3` comes to 3.94; dynamic tanh with its paper's scale of the embedding, "
        "`model.embedding.scale=sqrt optimizer.lr=3e-3`, to 4.03; post with `optimizer.lr=3e-4`, below the rates of the study, to 5.15.",
    ),
    "c": Comparison(
        "Hybrids of attentions at equal FLOPs",
        "Gemma Team 2025, [arXiv:2503.19786](https://arxiv.org/abs/2503.19786), section 5.2 (windows); Yang et al. 2025, "
        "[arXiv:2412.06464](https://arxiv.org/abs/2412.06464), table 3 (gated delta); Waleffe et al. 2024, "
        "[arXiv:2406.07887](https://arxiv.org/abs/2406.07887) (Mamba-2)",
        (
            "recipe=gpt_python",
            *sized(150, context=256, batch=2, precision=None),
            "model/position=learned",
            "model.pattern=[mixed,full]",
            "model.layers.full={attention:{name:gqa,n_heads:3,qk_norm:rms}}",
            "model/attention=sliding_window,gated_delta_net,mamba2",
        ),
        {"match": "flops", "seeds": 5},
        (
            Claim("a window of 64 in every second layer costs next to nothing", "model/attention=sliding_window", NO_HIGHER),
            Claim("gated delta in every second layer is lower than softmax in all", "model/attention=gated_delta_net", LOWER),
            Claim("Mamba-2 in every second layer is lower than softmax in all", "model/attention=mamba2", LOWER),
        ),
        "Every second layer is full softmax attention in all variants, and in the recipe all are. Positions are learned, since Mamba-2 takes no rotation. "
        "All have the recipe's learning rate. It ran under bf16-mixed, which was the recipe's precision then.",
    ),
    "d": Comparison(
        "Optimizers at equal time, each tuned",
        "Wen et al. 2025, [arXiv:2509.02046](https://arxiv.org/abs/2509.02046)",
        ("recipe=gpt_python", *sized(600), "optimizer=adamw", "optimizer=muon,soap,lion"),
        {"match": "time", "tune": "optimizer.lr:[1e-4,3e-4,1e-3,3e-3,1e-2,3e-2,1e-1]", "seeds": 5},
        (
            Claim("Muon is lower than AdamW", "optimizer=muon", LOWER),
            Claim("SOAP is lower than AdamW", "optimizer=soap", LOWER),
            Claim("Lion is as good as AdamW", "optimizer=lion", ALIKE),
        ),
        "The learning rate alone is tuned; weight decay and momenta are each part's own.",
    ),
    "sizes": Ladder(
        "Four sizes foretell a fifth",
        "Hoffmann et al. 2022, [arXiv:2203.15556](https://arxiv.org/abs/2203.15556)",
        (
            "recipe=gpt_python",
            "model.attention.n_heads=12",
            "task.batch_size=4",
            "task.samples=0",
            "task.judged_samples=0",
            "trainer.precision=32-true",
        ),
        {"sizes": "0.2M,0.5M,1M,2M", "next": "4M", "tokens": "0.12", "tune": "optimizer.lr:3", "seeds": 2},
        told="Each size tunes its own rate. Tokens grow with the parameters, so that there is one cost, FLOPs.",
    ),
}
