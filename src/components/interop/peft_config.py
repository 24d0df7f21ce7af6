"""``adapter_config.json``, PEFT's settings of an adapter, and the node of ``adapter=`` that says the same here."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from components.core.config_types import Config
from components.core.errors import UserError
from components.core.weight_names import short
from components.interop.adapter_tensors import Change, Product, Scale
from components.interop.files import read_json

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BEFORE = "base_model.model."  # before every name
# settings under which the tensors mean something else, or there are more of them
OTHERWISE = (
    *("lora_bias", "use_qalora", "use_bdlora", "alora_invocation_tokens", "layer_replication", "trainable_token_indices"),
    *("kasa_config", "monteclora_config", "velora_config", "megatron_config", "arrow_config"),
)
NAMES = ("target_modules", "target_parameters", "feedforward_modules", "modules_to_save")
TABLES = ("rank_pattern", "alpha_pattern")  # of regular expressions that name modules
LONGEST, MOST_REPEATS = 5000, 4  # of a pattern: characters, and places where something is repeated
ABOUT = ("base_model_name_or_path", "task_type", "inference_mode", "init_lora_weights", "init_ia3_weights")
MOVES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")  # beginnings that change the base's weights too


def read_fields(folder: Path) -> Config:
    """The settings of a folder.

    Raises:
        UserError: they are not there, or of an adapter that no part here is.
    """
    file = folder / CONFIG
    fields = read_json(file)
    kind = fields.get("peft_type")
    if kind not in ("LORA", "IA3"):
        raise UserError(str(file), f"peft_type is {kind}", "here there are LORA (DoRA with it) and IA3")
    if other := [n for n in OTHERWISE if fields.get(n)]:
        raise UserError(str(file), f"{other[0]}={fields[other[0]]!r} is not known here", "merge the adapter there")
    begins = fields.get("init_lora_weights")
    if isinstance(begins, str) and begins.startswith(MOVES_BASE):
        said = f"init_lora_weights={begins!r} changes the base's weights too"
        raise UserError(str(file), said, "save it with path_initial_model_for_weight_conversion=")
    if kind == "LORA" and not all(_positive(fields.get(n)) for n in ("r", "lora_alpha")):
        raise UserError(str(file), "needs r and lora_alpha, numbers over 0", "fetch it again")
    if fault := _fault(fields):
        raise UserError(str(file), fault, "fetch it again")
    return fields


def _fault(fields: Config) -> str:
    """What is wrong with settings that a stranger wrote: another type, or a pattern that may take for ever."""
    patterns: list[str] = []
    for name in TABLES:
        table = fields.get(name) or {}
        if not isinstance(table, dict) or not all(map(_positive, table.values())):
            return f"{name} is no table of numbers over 0"
        patterns += table
    for name in NAMES:
        names = fields.get(name)
        patterns += [names] if isinstance(names, str) else []
        if not (
            names is None or isinstance(names, str) or (isinstance(names, list) and all(isinstance(n, str) for n in names))
        ):
            return f"{name} is no list of names"
    if not _share(fields.get("lora_dropout") or 0.0):
        return "lora_dropout is no number from 0 to 1"
    unread = next((p for p in patterns if not _quick(p)), None)
    return "" if unread is None else f"the pattern {unread!r:.60} is not read here"


def _quick(pattern: str) -> bool:
    """Whether it is a regular expression that is soon done with any name: no group of it is repeated, and little else."""
    if len(pattern) > LONGEST or re.search(r"\)[*+{]", pattern) or len(re.findall(r"[*+{]", pattern)) > MOST_REPEATS:
        return False
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= sys.float_info.max


def _share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def factor_of(fields: Mapping[str, object], module: str) -> tuple[int, float]:
    """(rank, factor of B A) of one of their modules: a pattern that fits its name's end goes before ``r`` and ``lora_alpha``."""

    def said(patterns: str, otherwise: str) -> float:
        found = fields.get(patterns)
        table = found if isinstance(found, dict) else {}
        value = next((v for k, v in table.items() if re.match(rf"(.*\.)?({k})$", module)), fields[otherwise])
        return float(value)  # type: ignore[arg-type]  # `_fault` has let numbers alone pass

    rank, alpha = said("rank_pattern", "r"), said("alpha_pattern", "lora_alpha")
    return int(rank), alpha / (math.sqrt(rank) if fields.get("use_rslora") else rank)


def node_of(fields: Config, rank: int, factor: float, targets: Sequence[str], train: Sequence[str]) -> Config:
    """The node of ``adapter=`` with these settings, and one rank and factor for all."""
    name = "dora" if fields.get("use_dora") else "lora"
    root = bool(fields.get("use_rslora")) and name == "lora"
    alpha = factor * (math.sqrt(rank) if root else rank)
    if math.isclose(alpha, fields["lora_alpha"], rel_tol=1e-12):
        alpha = float(fields["lora_alpha"])
    dropout = float(fields.get("lora_dropout") or 0.0)
    made = {"name": name, "rank": rank, "alpha": alpha, "dropout": dropout, "targets": [*targets], "train": [*train]}
    return {**made, "scaling": "root" if root else "rank"} if name == "lora" else made


def fields_of(node: Config, theirs: Mapping[str, Change], every: Iterable[str], saved: Sequence[str], *, conv: bool) -> Config:
    """adapter_config.json for these changes of their modules.

    Args:
        node: of ``adapter=``.
        theirs: {their module: change}.
        every: all their modules that have a weight.
        saved: modules that are saved whole.
        conv: whether they keep (in, out).
    """
    every = list(every)
    stacks = [m for m, c in theirs.items() if isinstance(c, Product) and c.is_stack]
    all_of = [m for m in theirs if m not in stacks]
    made: Config = {
        "base_model_name_or_path": None,
        "fan_in_fan_out": conv,
        "inference_mode": True,
        "modules_to_save": _shortest(saved, every) or None,
        "target_modules": _shortest(all_of, every),
        "task_type": None,
    }
    if node["name"] == "ia3":
        inputs = [m for m, c in theirs.items() if isinstance(c, Scale) and not c.on_output]
        return {**made, "peft_type": "IA3", "feedforward_modules": _shortest(inputs, every), "init_ia3_weights": True}
    root = node.get("scaling") == "root"
    ranks = {m: c.a.shape[-2] for m, c in theirs.items() if isinstance(c, Product)}
    factors = {m: c.factor for m, c in theirs.items() if isinstance(c, Product)}
    alphas = {m: _whole(factors[m] * (math.sqrt(r) if root else r)) for m, r in ranks.items()}
    rank, alpha = node["rank"], _whole(float(node["alpha"]))
    return {
        **made,
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0 if stacks else node.get("dropout", 0.0),  # PEFT refuses another beside a stack
        "rank_pattern": _others(ranks, rank, every),
        "alpha_pattern": _others({m: a for m, a in alphas.items() if ranks[m] != rank}, alpha, every),
        "use_rslora": root,
        "use_dora": node["name"] == "dora",
        "bias": "none",
        "init_lora_weights": True,
        **({"target_parameters": _shortest(stacks, every)} if stacks else {}),
    }


def _whole(number: float) -> float:
    """An integer where it is one but for rounding: PEFT writes one."""
    return round(number) if math.isclose(number, round(number), rel_tol=1e-9) else number


def _others(values: Mapping[str, float], usual: float, every: Sequence[str]) -> dict[str, float]:
    """{name: value} of the modules whose value is not the usual one."""
    made: dict[str, float] = {}
    for value in sorted(set(values.values()) - {usual}):
        made |= dict.fromkeys(_shortest([m for m, v in values.items() if v == value], every), value)
    return made


def _shortest(chosen: Sequence[str], every: Sequence[str]) -> list[str]:
    """Ends of names that match exactly the chosen modules: ``q_proj`` for all layers, else whole names."""
    made: dict[str, None] = {}
    for name in chosen:
        leaf = name.rpartition(".")[2]
        alike = [m for m in every if m == leaf or m.endswith(f".{leaf}")]
        made[leaf if not leaf.isdigit() and all(m in chosen for m in alike) else name] = None
    return sorted(made)


def patterns_of(chosen: Iterable[str], paths: Iterable[str]) -> list[str]:
    """Patterns that match exactly the chosen paths of ours: ``*.attention.q`` for all layers, else paths one by one."""
    chosen, paths, made = list(chosen), list(paths), {}
    for path in chosen:
        pattern = short(path)
        made[pattern if all(p in chosen for p in paths if fnmatchcase(p, pattern)) else path] = None
    return list(made)


def says_the_same(kept: Config, made: Config, every: Sequence[str]) -> bool:
    """Whether two settings, which may name modules in different ways, mean the same for a model with these modules."""
    if any(kept.get(n) != v for n, v in made.items() if n not in (*ABOUT, *NAMES, *TABLES, "r", "lora_alpha")):
        return False
    if any(_meant(kept, n, every) != _meant(made, n, every) for n in NAMES):
        return False
    targets = ("target_modules", "target_parameters") if made["peft_type"] == "LORA" else ()
    changed = [m for option in targets for m in _meant(made, option, every)]
    (ranks, factors), (ranks_made, factors_made) = (
        zip(*(factor_of(f, m) for m in changed), strict=True) if changed else ((), ()) for f in (kept, made)
    )
    return ranks == ranks_made and all(math.isclose(a, b, rel_tol=1e-9) for a, b in zip(factors, factors_made, strict=True))


def _meant(fields: Config, option: str, every: Sequence[str]) -> list[str]:
    """The modules that a regular expression, or ends of names, stand for; of ``target_modules``, in the layers that are named beside it."""
    names, layers = fields.get(option), fields.get("layers_to_transform") if option == "target_modules" else None
    if isinstance(names, str):
        found = [m for m in every if re.fullmatch(names, m)]
    else:
        ends = names if isinstance(names, list) else []
        found = [m for m in every if any(m == e or m.endswith(f".{e}") for e in ends)]
    if layers is None:
        return found
    chosen = [layers] if isinstance(layers, int) else layers
    return [m for m in found if (at := re.match(r".*?\.[^.]*\.(\d+)\.", m)) is not None and int(at[1]) in chosen]
