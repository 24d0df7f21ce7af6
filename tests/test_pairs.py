"""Any part with any part: every pair from two sockets trains, decodes with a cache and sees no future, or is refused with a reason.

``python tests/test_pairs.py`` prints rows, pairs, built and refused, and rewrites the golden list (tests/golden/pairs.txt) and docs/pairs.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from covering import Cell, Row, all_pairs, covering_array
from hosts import parts

from components.check.host import numbers
from components.compose import compose
from components.compose.check import check
from components.compose.reading import read_tree
from components.core import registry
from components.core.errors import UserError
from components.core.makers import ScopedMaker, make
from components.core.sockets import Batch, Terms
from components.core.traits import each_turn

ROOT = Path(__file__).parent.parent
GOLDEN, PAGE = Path(__file__).parent / "golden" / "pairs.txt", ROOT / "docs" / "pairs.md"
LENGTH, VOCAB = 12, 40
PIECES = 12  # tests that share the rows of a host, so that workers do
# what makes a default recipe small and neutral: no position, so that every attention is welcome
SMALL = ("model.d_model=48", "model.context_length=16", "model.init=depth_scaled")
NEUTRAL = ("model/position=none", "model/attention=gqa", "model/norm=rms")
CLASSES = ("loss=classification", "task=classification")
# what a part has to have beside it, or has to be told
BESIDE = {
    "head/classification": (*CLASSES, "data=language_id"),
    "head/regression": ("loss=regression", "task=regression", "data=judges", "model/embedding=values"),
    "embedding/patches": ("model.embedding.d_in=4",),
    "head/multi_token": ("loss=multi_token",),
    "value/embedding": ("model/embedding=value_embeddings",),
    "head/tied_factorised": ("model/embedding=factorised",),
    "attention/disentangled": ("model/position=disentangled",),
    "position/disentangled": ("model/attention=disentangled",),
    # nothing keeps numbers in bounds, and each FFN with a gate squares them
    "norm/none": ("model.n_layers=2",),
    # nothing carries a signal past a branch: few of them, which begin so that it neither dies out nor grows
    "residual/none": ("model.n_layers=2", "model.init=xavier", "model.init.embedding_std=1.0"),
}
# of these, those that stand in a model whose other parts are chosen as well
PAIRED = ("value/embedding", "head/tied_factorised", "attention/disentangled", "position/disentangled")


class Host:
    """A wiring with sockets: ``sockets`` = {name of the socket: (its path in an override, the kind that goes in)}."""

    def __init__(
        self,
        name: str,
        model: str,
        sockets: dict[str, tuple[str, str]],
        *fixed: str,
        leave: Iterable[str] = (),
        neutral: tuple[str, ...] = NEUTRAL,
    ) -> None:
        self.name, self.model, self.paths, self.fixed, self.neutral = name, model, sockets, fixed, neutral
        left = set(leave)
        self.sockets = {
            socket: [p.split("/")[1] for p in parts(kind) if p not in left and not _preset(p)]
            for socket, (_, kind) in sockets.items()
        }

    def __str__(self) -> str:
        return self.name.replace(" ", "_")

    def overrides(self, row: Row) -> list[str]:
        """What the command line says for these choices; sockets that are left open stay neutral."""
        said = [f"model={self.model}", *SMALL, *self.neutral, *self.fixed]
        chosen = tuple(f"{self.paths[socket][0]}=" for socket in row) + (("model.n_layers",) if self.model == "mlp" else ())
        for socket, part in row.items():
            path, kind = self.paths[socket]
            if not (socket == "mask" and part == "full"):  # what every mixer has, whether it has a socket for it or not
                said.append(f"{path}={part}")
                said += [w for w in BESIDE.get(f"{kind}/{part}", ()) if not w.startswith(chosen)]
        return said

    def config(self, row: Row) -> dict[str, Any]:
        return compose("gpt_python", self.overrides(row)).config


def _preset(part: str) -> bool:
    return bool(registry.entry(*part.split("/")).preset_of)


def at_top(*kinds: str) -> dict[str, tuple[str, str]]:
    return {kind: (f"model/{kind}", kind) for kind in kinds}


def without(word: str, *kinds: str) -> list[str]:
    """Parts that do not lack ``word``."""
    return [p for p in parts(*kinds) if word not in registry.entry(*p.split("/")).signature.declared.get("lacks", ())]


def lacking(word: str, *kinds: str) -> list[str]:
    return [p for p in parts(*kinds) if p not in without(word, *kinds)]


def providing(*words: str, kind: str) -> list[str]:
    """Parts that provide one of ``words``."""
    return [p for p in parts(kind) if {*words} & {*registry.entry(*p.split("/")).signature.declared.get("provides", ())}]


def others(some: Iterable[str], kind: str) -> list[str]:
    return [p for p in parts(kind) if p not in {*some}]


CACHE = {"cache": ("cache", "cache")}
MASK = {"mask": ("model.attention.mask", "mask")}
INSIDE = {kind: (f"model.attention.{kind}", kind) for kind in ("mask", "gate", "value", "sharing")}
TOKEN_HEADS = lacking("causal", "head")  # to be left out where every position has logits of its own
POOLED = without("causal", "head")
NUMBERS = providing("values", kind="embedding")  # they read numbers, which a text has none of
# by value=embedding alone, and by ffn=per_layer_input, in whose hosts they are
READ_ELSEWHERE = ["embedding/value_embeddings", "embedding/per_layer_embeddings"]
READS = ["ffn/per_layer_input"]  # which has a host with that embedding
HOSTS = [
    Host(
        "decoder",
        "decoder",
        {**at_top("position", "attention", "norm", "ffn", "block", "residual", "embedding", "head", "stack"), **MASK, **CACHE},
        leave=[*lacking("causal", "attention", "head", "ffn"), *NUMBERS, *READ_ELSEWHERE, *READS],
    ),
    Host(
        "softmax attention",
        "decoder",
        {**INSIDE, "scaling": ("model.position.scaling", "scaling"), **at_top("block", "residual", "stack")},
        "model/position=rope",
    ),
    Host(
        "mixture of experts",
        "decoder",
        {"router": ("model.ffn.router", "router"), **at_top("norm", "block", "residual", "stack")},
        "model/ffn=moe",
        leave=lacking("causal", "router"),
    ),
    Host(
        "encoder",
        "encoder",
        {
            **at_top("position", "attention", "norm", "ffn", "block", "residual", "stack", "head"),
            **MASK,
            "pooling": ("model.head.pooling", "pooling"),
        },
        "model/head=classification",
        *BESIDE["head/classification"],
        leave=[*POOLED, *READS],
    ),
    Host(
        "encoder of numbers",
        "encoder",
        {**at_top("embedding", "norm"), "pooling": ("model.head.pooling", "pooling")},
        "model/head=classification",
        *CLASSES,
        "data=digits",
        "model/embedding=values",
        leave=others(NUMBERS, "embedding"),
    ),
    Host(
        "mlp",
        "mlp",
        {**at_top("embedding", "norm", "head"), **CACHE},
        "model.window=3",
        "model.hidden=[24,48]",
        leave=[*TOKEN_HEADS, *NUMBERS, *READ_ELSEWHERE],
        neutral=("model/norm=rms",),
    ),
    Host(
        "recurrent",
        "recurrent",
        {**at_top("attention", "embedding", "head"), **CACHE},
        "loss=seq2seq",
        leave=[*TOKEN_HEADS, *NUMBERS, *READ_ELSEWHERE, *others(providing("state", kind="attention"), "attention")],
        neutral=("model/attention=gru",),
    ),
    Host(
        "recurrent with attention",
        "recurrent",
        {"cross": ("model/cross", "attention"), **at_top("embedding"), **CACHE},
        "loss=seq2seq",
        leave=[*NUMBERS, *READ_ELSEWHERE, *others(providing("memory", "absent", kind="attention"), "attention")],
        neutral=("model/attention=gru",),
    ),
    Host(
        "experts of an encoder",
        "encoder",
        {"router": ("model.ffn.router", "router"), **at_top("block")},
        "model/ffn=moe",
        "loss=masked_lm",
        "task=masked_language_modeling",
    ),
    Host(
        "encoder-decoder",
        "encoder_decoder",
        {**at_top("position", "attention", "norm", "ffn", "block", "residual")},
        "model/cross=gqa",
        leave=[*lacking("causal", "attention", "ffn"), *READS],
    ),
    Host(
        "vectors of layers",
        "decoder",
        {**at_top("norm", "block", "residual", "stack", "head"), **CACHE},
        "model/embedding=per_layer_embeddings",
        "model/ffn=per_layer_input",
        leave=[*lacking("causal", "head"), "head/tied_factorised"],  # which goes with another embedding
    ),
    Host(
        "ffns beside others",
        "decoder",
        {"side_ffn": ("model.stack.side_ffn", "ffn"), "last_ffn": ("model.block.last_ffn", "ffn"), **at_top("residual")},
        "model/stack=altup",
        "model/block=scaled_sandwich",
        "model/embedding=per_layer_embeddings",
        "model/ffn=per_layer_input",
        leave=lacking("causal", "ffn"),
    ),
]


def model_of(config: dict[str, Any]) -> torch.nn.Module:
    return make(ScopedMaker(config["model"], where="model"), "model", vocab_size=VOCAB)


@cache
def nodes(host: Host) -> dict[Cell, Any]:
    """The spelled-out node of every part in its socket, or the error where it cannot stand there even alone."""
    found: dict[Cell, Any] = {}
    for socket, names in host.sockets.items():
        for name in names:
            config = host.config({socket: name})
            found[socket, name] = _at(config, host.paths[socket][0])
    return found


def _at(config: dict[str, Any], path: str) -> Any:
    for word in path.replace("/", ".").split("."):
        config = config[word]
    return config


@cache
def plain(host: Host, *read: Cell) -> dict[str, Any]:
    """``read``: parts that have to have another one beside them in the model."""
    return host.config(dict(read))


def with_beside(host: Host, row: Row) -> tuple[Cell, ...]:
    return tuple(c for c in row.items() if f"{host.paths[c[0]][1]}/{c[1]}" in PAIRED)


def refusal(host: Host, row: Row) -> str | None:
    """Why these parts are refused together, or None. The composer's own check, on a config put together from spelled-out nodes."""
    config = {
        kind: node for kind, node in plain(host, *with_beside(host, row)).items() if kind not in ("loss", "task")
    }  # they go by the head
    config["model"] = deepcopy(config["model"])
    for socket in sorted(row, key=lambda s: host.paths[s][0].count(".")):  # what stands inside another part after that part
        path = host.paths[socket][0].replace("/", ".").split(".")
        holder = config
        for word in path[:-1]:
            holder = holder[word]
        if path[-1] not in holder:
            if row[socket] == "full":
                continue
            return f"{holder['name']} takes no {path[-1]}"
        holder[path[-1]] = deepcopy(nodes(host)[socket, row[socket]])
    try:
        check(read_tree(config))
    except UserError as e:
        return str(e)
    return None


@cache
def array(host: Host) -> tuple[list[Row], dict[tuple[Cell, Cell], str], int]:
    """(rows, {refused pair: reason}, number of pairs)."""
    pairs = all_pairs(host.sockets)
    refused = {p: why for p in pairs if (why := refusal(host, dict(p))) is not None}
    forbidden = {frozenset(p) for p in refused}

    def fits(row: Row) -> bool:
        if any(frozenset(p) in forbidden for p in combinations(row.items(), 2)):
            return False
        return len(row) < len(host.sockets) or refusal(host, row) is None

    rows, lost = covering_array(host.sockets, [p for p in pairs if p not in refused], fits)
    assert not lost, f"pairs that fit alone but in no whole row: {lost[:5]}"
    return rows, refused, len(pairs)


@cache
def kept() -> dict[str, tuple[list[Row], list[tuple[Cell, Cell]], int]]:
    """{host: (rows, refused pairs, number of pairs)} as the golden list has them: to find them takes a minute, which one test spends."""
    found: dict[str, tuple[list[Row], list[tuple[Cell, Cell]], int]] = {}
    for line in GOLDEN.read_text(encoding="utf8").splitlines():
        cells = [(socket, part) for word in line.split() if "=" in word for socket, _, part in [word.partition("=")]]
        if not line.startswith(" "):
            name, _, counts = line.partition(":")
            rows, refused = [], []
            found[name] = rows, refused, int(counts.split("pairs ")[1].split(",")[0])
        elif line.startswith("  refused "):
            refused.append((cells[0], cells[1]))
        else:
            rows.append(dict(cells))
    return found


# -- what a row has to do ------------------------------------------------------------------------------------------------


def lacks(host: Host, row: Row) -> set[str]:
    return {w for s, p in row.items() for w in registry.entry(host.paths[s][1], p).signature.declared.get("lacks", ())}


def exercise(host: Host, row: Row, config: dict[str, Any]) -> None:
    """One training step, decoding with a cache in unequal chunks, and no look at the future."""
    model = model_of(config).double()
    ids = torch.randint(0, VOCAB, (2, LENGTH), generator=torch.Generator().manual_seed(0))
    missing = lacks(host, row) | set(registry.entry("model", host.model).signature.declared.get("lacks", ()))
    train(model, batch_of(host, model, ids))
    model.eval()
    with torch.no_grad():
        whole = model(batch_of(host, model, ids))
        assert torch.isfinite(whole).all()
        if "causal" not in missing:
            changed = ids.clone()
            changed[:, 7:] = (changed[:, 7:] + 1) % VOCAB
            torch.testing.assert_close(model(batch_of(host, model, changed))[:, :7], whole[:, :7], rtol=1e-9, atol=1e-9)
        if not missing & {"causal", "cacheable"}:
            kept = make(config["cache"], "cache")
            steps = [
                model(batch_of(host, model, ids, slice(a, b)), cache=kept)
                for a, b in ((0, 5), (5, 6), (6, 10), (10, 11), (11, LENGTH))
            ]
            torch.testing.assert_close(torch.cat(steps, 1), whole, rtol=1e-6, atol=1e-7)


def batch_of(host: Host, model: torch.nn.Module, ids: torch.Tensor, part: slice = slice(None)) -> Batch:
    """A batch with what the wiring and the embedding read."""
    ids = ids[:, part]
    source = Batch(torch.arange(9).expand(ids.shape[0], -1) * 7 % VOCAB) if reads_source(host) else None
    values = numbers(ids, model.embedding.d_in) if "values" in getattr(model.embedding, "provides", ()) else None
    return Batch(ids if values is None else torch.zeros_like(ids), targets=ids.roll(-1, 1), source=source, values=values)


def reads_source(host: Host) -> bool:
    return "source" in registry.entry("model", host.model).signature.declared["provides"]


def train(model: torch.nn.Module, batch: Batch) -> None:
    """A step of gradient descent on all logits, whatever their shape."""

    def objective(hidden: torch.Tensor, head: Any, batch: Batch) -> Terms:
        del batch
        logits = head(hidden)
        log_p = logits.log_softmax(-1) if logits.shape[-1] > 1 else -logits.square()
        return Terms({"loss": (-log_p[..., 0].sum(), torch.tensor(float(logits[..., 0].numel())))})

    for _ in each_turn(model.train()):
        terms = model(batch, objective)
        total = sum(value / weight for value, weight in terms.losses.values())
        assert torch.isfinite(total)
        total.backward()
    # the objective above asks the head for the next token alone
    dead = [n for n, p in model.named_parameters() if p.grad is None and not n.startswith("head.ahead.")]
    assert not dead, f"accepted, and nothing reads {dead}"
    length = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # models without any norm may have steep places
    assert torch.isfinite(length)
    assert length > 0
    with torch.no_grad():
        for p in model.parameters():
            if p.grad is not None:
                p -= 0.05 * p.grad


def works_after_all(host: Host, pair: tuple[Cell, Cell]) -> bool:
    """Composed with the check off: does the refused pair do all that a row must, with both parts taking part?"""
    row = dict(pair)
    config = unchecked(host, row)
    if config is None:
        return False
    try:
        exercise(host, row, config)
    except (UserError, RuntimeError, ValueError, TypeError, AttributeError, KeyError, AssertionError):
        return False
    return all(takes_part(host, row, socket, config) for socket in row) and not silent(host, config) - alone_silent(host, row)


def silent(host: Host, config: dict[str, Any]) -> set[str]:
    """Parameters that a training step gives no gradient: what they compute is heard nowhere."""
    model = model_of(config).double()
    train(model, batch_of(host, model, torch.arange(2 * LENGTH).view(2, LENGTH) % VOCAB))
    return {name for name, p in model.named_parameters() if p.grad is None}


def alone_silent(host: Host, row: Row) -> set[str]:
    """Those of the row's parts, each without the others."""
    return {name for s, p in row.items() if (config := unchecked(host, {s: p})) is not None for name in silent(host, config)}


def unchecked(host: Host, row: Row) -> dict[str, Any] | None:
    """The row's config without the check, or None where a socket does not exist."""
    config = deepcopy(plain(host))
    for socket in sorted(row, key=lambda s: host.paths[s][0].count(".")):
        path = host.paths[socket][0].replace("/", ".").split(".")
        holder = _at(config, ".".join(path[:-1])) if path[1:] else config
        if path[-1] not in holder:
            return None
        holder[path[-1]] = deepcopy(nodes(host)[socket, row[socket]])
    return config


def takes_part(host: Host, row: Row, socket: str, config: dict[str, Any]) -> bool:
    """Whether the model computes something else with the part than with what stands in its socket when nothing is said."""
    other = unchecked(host, {s: p for s, p in row.items() if s != socket})
    assert other is not None
    ids = torch.randint(0, VOCAB, (2, LENGTH), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        models = [_scrambled(model_of(c)) for c in (config, other)]
        a, b = (model(batch_of(host, model, ids)) for model in models)
        if reads_source(host):  # a decoder that does not read its source is no encoder-decoder
            model = models[0]
            batch = batch_of(host, model, ids)
            if torch.equal(model(batch), model(Batch(ids, source=Batch((ids + 1) % VOCAB)))):
                return False
    return a.shape != b.shape or not torch.equal(a, b)


def _scrambled(model: torch.nn.Module) -> torch.nn.Module:
    """Parameters by name, so that models that share a parameter share its value."""
    from components.core.weights import generator_for

    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.empty(p.shape).normal_(0.0, 0.2, generator=generator_for(1, name)))
    return model.double().eval()


# -- the tests -----------------------------------------------------------------------------------------------------------

every_host = pytest.mark.parametrize("host", HOSTS, ids=str)
in_pieces = pytest.mark.parametrize(("host", "piece"), [(h, i) for h in HOSTS for i in range(PIECES)], ids=str)


@in_pieces
def test_rows_train_decode_and_see_no_future(host, piece):
    for row in kept()[host.name][0][piece::PIECES]:
        try:
            exercise(host, row, host.config(row))
        except Exception as e:
            raise AssertionError(f"{' '.join(host.overrides(row))}: {type(e).__name__}: {e}") from e


@in_pieces
def test_refused_pairs_are_refused_by_name_and_would_not_work(host, piece):
    for pair in kept()[host.name][1][piece::PIECES]:
        with pytest.raises(UserError) as said:
            host.config(dict(pair))
        for socket, part in pair:
            path = host.paths[socket][0].replace("/", ".")  # the part itself, or what stands in a socket of it
            assert f"{host.paths[socket][1]}/{part}" in str(said.value) or f"{path}." in str(said.value), str(said.value)
        assert not works_after_all(host, pair), f"{pair} is refused, and works"


@every_host
def test_every_pair_is_in_a_row_or_refused(host):
    rows, refused, pairs = kept()[host.name]
    met = {frozenset(p) for row in rows for p in combinations(row.items(), 2)}
    assert not met & {frozenset(p) for p in refused}
    assert len(met) + len(refused) == pairs
    assert len(refused) <= 0.1 * pairs


def test_every_part_is_somewhere():
    """In a row here, with three models in test_three_models, or in a recipe. Evaluations, which no run has, are in tests/evaluation."""
    import test_three_models

    from components.compose.completion_tree import PartialRun
    from components.core.resources import recipe_files

    here = {f"{kind}/{part}" for host in HOSTS for socket, (_, kind) in host.paths.items() for part in host.sockets[socket]}
    here |= {*READ_ELSEWHERE}  # beside value=embedding
    recipes = recipe_files()
    used = {label for recipe in recipes for label in PartialRun([f"recipe={recipe}"], recipes).used()}
    models = {f"model/{host.model}" for host in HOSTS}
    tasks = {w.replace("=", "/") for said in test_three_models.LOSSES.values() for w in said if w.startswith("task=")}
    every = {e.label for e in registry.entries().values() if not e.preset_of and e.origin.split(".")[0] == "components"}
    nowhere = every - here - used - models - tasks - set(test_three_models.CASES)
    of_a_run = (
        "evaluation",
        "reward",
        "callback",
        "logger",
        "strategy",
        "trainer",
    )  # act on a run, and combine with every model
    assert {e for e in nowhere if e.partition("/")[0] not in of_a_run} == set()


def test_what_everybody_combines_is_never_refused():
    host = HOSTS[0]
    refused = {frozenset(p) for p in kept()[host.name][1]}
    for attention in ("gqa", "mla"):
        for position in ("rope", "alibi", "t5_bias", "learned", "sinusoidal", "none"):
            assert frozenset({("attention", attention), ("position", position)}) not in refused
    common = [("attention", "gqa"), ("attention", "mla"), ("mask", "sliding_window")]
    common += [("position", p) for p in ("rope", "alibi", "t5_bias", "learned", "sinusoidal", "none")]
    for cell in common:
        for socket in ("norm", "ffn", "block"):
            for part in host.sockets[socket]:
                assert frozenset({cell, (socket, part)}) not in refused, (cell, part)
        assert cell[0] == "mask" or frozenset({cell, ("mask", "sliding_window")}) not in refused


def test_the_golden_list_is_as_it_was():
    """A minute: it finds all rows anew, which the tests above take from the list."""
    assert GOLDEN.read_text(encoding="utf8") == golden(), "python tests/test_pairs.py writes it anew; look at the difference"
    assert PAGE.read_text(encoding="utf8") == page(), "python tests/test_pairs.py writes it anew"


# -- what is kept and shown ----------------------------------------------------------------------------------------------


def golden() -> str:
    lines = []
    for host in HOSTS:
        rows, refused, pairs = array(host)
        lines.append(f"{host.name}: rows {len(rows)}, pairs {pairs}, built {pairs - len(refused)}, refused {len(refused)}")
        lines += ["  " + " ".join(f"{s}={p}" for s, p in row.items()) for row in rows]
        lines += [f"  refused {a[0]}={a[1]} with {b[0]}={b[1]}" for a, b in refused]
    return "\n".join(lines) + "\n"


def page() -> str:
    lines = [
        "# Any part with any part",
        "",
        "Every pair of parts from two sockets stands in at least one model that is built, trained for a step, decoded with a cache and",
        "checked for looks at the future, or is refused by `components validate` with a reason. Written by `python tests/test_pairs.py`;",
        "`pytest tests/test_pairs.py` runs all rows, and each refused pair with the check off, where it has to fail or be ignored.",
    ]
    for host in HOSTS:
        rows, refused, pairs = array(host)
        share = f"{100 * len(refused) / pairs:.1f}"
        lines += [
            "",
            f"## {host.name}",
            "",
            f"{pairs} pairs in {len(rows)} models: {pairs - len(refused)} built, {len(refused)} refused ({share} %).",
        ]
        lines += ["", "Refused pairs of all pairs, socket by socket:", "", "| | " + " | ".join(host.sockets) + " |"]
        lines.append("|---" * (len(host.sockets) + 1) + "|")
        for a in host.sockets:
            cells = []
            for b in host.sockets:
                n = sum({p[0][0], p[1][0]} == {a, b} for p in refused)
                cells.append("" if a == b else f"{n} / {len(host.sockets[a]) * len(host.sockets[b])}")
            lines.append(f"| {a} ({len(host.sockets[a])}) | " + " | ".join(cells) + " |")
        if refused:
            lines += ["", "| refused | with | reason |", "|---|---|---|"]
        reasons: dict[tuple[str, str], list[str]] = {}
        for pair, why in refused.items():
            (a, b) = sorted(pair, key=lambda c: f"{host.paths[c[0]][1]}/{c[1]} needs" not in why)
            reason = why.split(" needs ")[1].split(", and ")[0] if " needs " in why else why.split(": ")[-1]
            reasons.setdefault((f"{a[0]}={a[1]}", ("needs " if " needs " in why else "") + _of_kind(reason)), []).append(
                f"{b[0]}={b[1]}"
            )
        lines += [f"| {who} | {', '.join(sorted(whom))} | {why} |" for (who, why), whom in sorted(reasons.items())]
    return "\n".join(lines) + "\n"


def _of_kind(reason: str) -> str:
    return reason.split(" takes no ")[-1] if " takes no " not in reason else "takes no " + reason.split(" takes no ")[1]


if __name__ == "__main__":
    GOLDEN.write_text(golden(), encoding="utf8")
    PAGE.write_text(page(), encoding="utf8")
    print(*[line for line in golden().splitlines() if not line.startswith(" ")], sep="\n")
