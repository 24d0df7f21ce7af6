"""What trl's own trainers say of a few pairs whose logits are given: the numbers in losses_of_trl.json, so that no test needs trl.

Made with trl 1.16.0: in an environment that has it (and transformers), ``python tests/training/losses_of_trl.py`` writes the file again. Each
trainer's method is called as it stands, with what it asks of its trainer beside it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor

FILE = Path(__file__).with_suffix(".json")
VOCAB, LENGTH, IGNORED = 5, 5, -100
PAIRS = [((1, 2), (3, 4), (1,)), ((2, 0), (1, 1, 2), (4, 3)), ((4, 1), (2,), (0, 3, 3))]  # prompt, chosen, rejected
MISMATCHED = [(p, *PAIRS[(i + 1) % len(PAIRS)][1:]) for i, (p, _, _) in enumerate(PAIRS)]
BETA, SIMPO, GAMMA = 0.1, 2.0, 1.0
REWARDS, CLIP, BUDGET = [(1.0, 0.0, 0.5), (0.0, 2.0, 0.0)], 0.3, 7  # of the six answers as two groups of three


def logits(seed: float, scale: float = 2.0) -> Tensor:
    """(6, T, V) in fp64, the chosen answers before the rejected ones: the same numbers wherever they are made."""
    n = 2 * len(PAIRS) * LENGTH * VOCAB
    return (scale * torch.sin(seed * torch.arange(1, n + 1, dtype=torch.float64))).view(-1, LENGTH, VOCAB)


def scores() -> Tensor:
    return torch.tensor([0.3, -1.2, 2.0, 0.9, -0.4, 0.1], dtype=torch.float64)


TABLES = {"policy": 1.7, "reference": 2.3, "policy_mismatched": 0.9, "reference_mismatched": 1.3, "drawn": 1.705}  # the seeds


def sequences(pairs=PAIRS) -> tuple[Tensor, Tensor]:
    """(6, T) ids and labels: the token itself where it is an answer's, else -100."""
    ids, labels = torch.zeros(2, 2 * len(pairs), LENGTH, dtype=torch.long)
    labels.fill_(IGNORED)
    for row, (prompt, answer) in enumerate([(p, a) for side in (1, 2) for p, a in [(x[0], x[side]) for x in pairs]]):
        whole = torch.tensor([*prompt, *answer])
        ids[row, : len(whole)] = whole
        labels[row, len(prompt) : len(whole)] = whole[len(prompt) :]
    return ids, labels


def log_probs(table: Tensor, labels: Tensor) -> Tensor:
    """(6, T - 1) of each label, 0 where nothing is asked: what a fused head gives trl's trainers."""
    wanted = labels[:, 1:]
    said = table[:, :-1].log_softmax(-1).gather(-1, wanted.clamp(min=0)[..., None])[..., 0]
    return said * (wanted != IGNORED)


def trainer(**given: object) -> SimpleNamespace:
    """What a loss asks of its trainer, on one process."""
    alone = SimpleNamespace(
        device=torch.device("cpu"), gather=lambda x: x, gather_for_metrics=lambda x: x, reduce=lambda x, **_: x
    )
    base = {"accelerator": alone, "model": SimpleNamespace(training=True), "_metrics": {"train": defaultdict(list)}}
    plain = {"aux_loss_enabled": False, "beta": BETA, "label_smoothing": 0.0, "_total_train_tokens": 0, "_tp_size": 1}
    return SimpleNamespace(**{**base, **plain, "precompute_ref_logps": True, **given})


def model_of(table: Tensor, labels: Tensor):
    """A model that says the table's numbers."""

    def model(**_: object) -> SimpleNamespace:
        said = log_probs(table, labels)
        nothing = torch.zeros_like(said)
        return SimpleNamespace(log_probs=said, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool())

    return model


def found(loss: Tensor, table: Tensor) -> dict[str, object]:
    (gradient,) = torch.autograd.grad(loss, table)
    return {"loss": float(loss.detach()), "gradient": gradient.tolist()}


def groups(ids: Tensor, labels: Tensor) -> dict[str, object]:
    """GRPO and Dr. GRPO, of answers that ``drawn`` has drawn; advantages as trl makes them of rewards."""
    from trl import GRPOTrainer

    made: dict[str, object] = {}
    mask = (labels[:, 1:] != IGNORED).long()
    rewards = torch.tensor(REWARDS, dtype=torch.float64)
    drawn, reference = (log_probs(logits(TABLES[name]), labels) for name in ("drawn", "reference"))
    for kind in ("grpo", "dr_grpo"):
        table = logits(TABLES["policy"]).requires_grad_()
        spread = rewards.std(1, keepdim=True) + 1e-4 if kind == "grpo" else 1.0
        inputs = {
            "prompt_ids": ids[:, :0],
            "prompt_mask": mask[:, :0],
            "completion_ids": ids[:, 1:],
            "completion_mask": mask,
            "advantages": ((rewards - rewards.mean(1, keepdim=True)) / spread).view(-1),
            "old_per_token_logps": drawn,
            "ref_per_token_logps": reference,
        }
        said = log_probs(table, labels)
        given = {
            "_get_per_token_logps_and_entropies": lambda *_, said=said, **__: (said, torch.zeros_like(said), None),
            "args": SimpleNamespace(use_bias_correction_kl=False, delta=None),
            **{"top_entropy_quantile": 1.0, "off_policy_mask_threshold": None, "importance_sampling_level": "token"},
            **{
                "epsilon_low": CLIP,
                "epsilon_high": CLIP,
                "loss_type": kind,
                "use_vllm": False,
                "max_completion_length": BUDGET,
            },
            **{"current_gradient_accumulation_steps": 1, "_entropy_bonus_enabled": False},
        }
        made[kind] = found(GRPOTrainer._compute_loss(trainer(**given), None, inputs), table)
    return made


def main() -> None:
    import trl
    from trl import DPOTrainer, KTOTrainer, RewardTrainer
    from trl.experimental.cpo import CPOTrainer
    from trl.experimental.orpo import ORPOTrainer

    ids, labels = sequences()
    mask = (labels != IGNORED).long()
    reference = log_probs(logits(TABLES["reference"]), labels).sum(-1)
    both = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "completion_mask": mask}
    made: dict[str, object] = {"trl": trl.__version__}

    for name, theirs in (("dpo", "sigmoid"), ("ipo", "ipo")):
        table = logits(TABLES["policy"]).requires_grad_()
        kinds = {
            "loss_types": [theirs],
            "loss_weights": [1.0],
            "f_divergence_type": "reverse_kl",
            "ld_alpha": None,
            "use_weighting": False,
        }
        chosen, rejected = reference.chunk(2)
        inputs = {**both, "ref_chosen_logps": chosen, "ref_rejected_logps": rejected}
        made[name] = found(DPOTrainer._compute_loss(trainer(**kinds), model_of(table, labels), inputs, False), table)

    table = logits(TABLES["policy"]).requires_grad_()
    _, others = sequences(MISMATCHED)
    kl = {name: log_probs(logits(TABLES[f"{name}_mismatched"]), others).sum(-1) for name in ("policy", "reference")}
    weights = {"desirable_weight": 1.0, "undesirable_weight": 1.5, "calculate_KL": True, "loss_type": "kto"}
    kto = trainer(**weights, _compute_kl_logps=lambda *_: kl["policy"])
    inputs = {**both, "label": torch.tensor([True] * 3 + [False] * 3), "ref_logps": reference, "ref_KL_logps": kl["reference"]}
    made["kto"] = found(KTOTrainer._compute_loss(kto, model_of(table, labels), inputs, False), table)
    made["kto_baseline"] = kto._metrics["train"]["kl"][0]

    table = logits(TABLES["policy"]).requires_grad_()
    means = CPOTrainer.get_batch_logps(table, labels, average_log_prob=True)
    simpo = trainer(loss_type="simpo", alpha=0.0, beta=SIMPO, simpo_gamma=GAMMA)
    made["simpo"] = found(CPOTrainer.cpo_loss(simpo, *means.chunk(2))[0].mean(), table)

    table = logits(TABLES["policy"]).requires_grad_()
    means = ORPOTrainer.get_batch_logps(table, labels, average_log_prob=True)
    made["orpo_odds"] = found(-ORPOTrainer.odds_ratio_loss(trainer(), *means.chunk(2))[0].mean(), table)

    given = scores().requires_grad_()
    args = SimpleNamespace(center_rewards_coefficient=None)
    said = lambda **_: SimpleNamespace(logits=given[:, None])  # noqa: E731
    made["reward"] = found(
        RewardTrainer.compute_loss(trainer(args=args), said, {"attention_mask": torch.ones_like(ids)}), given
    )
    made |= groups(ids, labels)
    FILE.write_text(json.dumps(made) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
