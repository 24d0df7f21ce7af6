"""What each rung of the ladder is asked: trains it, and what it is compared with, and gives raw figures that go into docs/ladder.json.

A figure here is measured and never judged: what follows from it is in ladder_claims.py, how it looks in ladder_pictures.py.
"""

from __future__ import annotations

import csv
import json
import math
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import yaml

import components
from components.compose import compose
from components.core.sockets import Batch, Layer
from components.corpus.steps import EvalBatches, TrainSteps
from components.explain.pack import as_data

ROOT = Path(__file__).parent.parent
RECIPES = ROOT / "recipes" / "ladder"
SENTENCE = "The cat drank the milk because it was hungry"
START = "humpty dumpt"
DEPTHS = (4, 32, 128)
BRANCHES = {
    "residual and norm": [],
    "norm alone": ["model/residual=none"],
    "residual alone": ["model/norm=none"],
    "neither": ["model/residual=none", "model/norm=none"],
    "neither, drawn large": ["model/residual=none", "model/norm=none", "model/init=kaiming", "model.init.gain=1.5"],
}
DEEP = {
    "residual": [],
    "plain": ["model/residual=none"],
    "plain, init of He et al.": ["model/residual=none", "model/init=kaiming"],
}
CROSS = {"without attention": [], "with attention": ["model/cross=gqa"]}
TUNED = {  # ways to fine-tune rung 13
    "lower layers more slowly": ["tuning=layer_decay"],
    "the head alone": ["tuning=frozen", "optimizer.lr=0.01"],
    "the head, and LoRA in the layers": ["adapter=lora", "adapter.train=[head]", "optimizer.lr=0.003"],
}
CPU = "cpu_seconds.txt"  # beside summary.json: processor time of a whole run, which other processes hardly change
SHOWN = ("seconds", "cpu_seconds", "train_loss", "val_loss")
LENGTHS, EACH = range(3, 17), 50
VARIANTS = {  # each a swap of rung 9
    "transformer_xl": ["model/position=transformer_xl"],
    "rope": ["model/position=rope"],
    "linear attention": ["model/attention=linear"],
    "gated values": ["model.attention.gate=elementwise"],
}


@dataclass
class Lab:
    """Where runs go, which seeds they have, and ``known`` figures of other rungs, which need not be trained again."""

    folder: Path
    seeds: tuple[int, ...] = (0, 1, 2)
    say: Callable[[str], None] = print
    known: dict[str, Any] = field(default_factory=dict)

    def train(self, rung: str, *words: str, seed: int = 0) -> Any:
        name, words = f"ladder/{rung}" if rung[0].isdigit() else rung, (f"paths.runs={self.folder}", f"seed={seed}", *words)
        if (found := self.finished(name, words)) is not None:
            return found
        started = time.process_time()
        made = components.train(name, list(words), quiet=True)
        made.figures["cpu_seconds"] = time.process_time() - started
        (made.folder / CPU).write_text(str(made.figures["cpu_seconds"]))
        shown = {n: round(v, 4) for n, v in made.figures.items() if n in SHOWN and v is not None}
        self.say(f"{name} {' '.join(words[1:])}: {shown}, load {os.getloadavg()[0]:.1f}")
        return made

    def finished(self, name: str, words: tuple[str, ...]) -> Any:
        """A run of the same config that an earlier walk has left in the folder."""
        config = compose(name, list(words)).config
        for file in sorted((self.folder / name).glob(f"*/{CPU}")):
            known = yaml.safe_load((file.parent / "config.yaml").read_text(encoding="utf8"))
            if str(known["init_from"]).startswith(str(config["init_from"])):  # the checkpoint in the run that was named
                known["init_from"] = config["init_from"]
            if known == config:
                figures = json.loads((file.parent / "summary.json").read_text(encoding="utf8"))
                return SimpleNamespace(folder=file.parent, figures={**figures, "cpu_seconds": float(file.read_text())})
        return None

    def known_runs(self, number: str) -> list[dict[str, Any]]:
        """Of another rung's own recipe, if they are known for these seeds."""
        runs = self.known.get(number, {}).get("runs", [])
        mine = [r for r in runs if r["seed"] in self.seeds] if isinstance(runs, list) else []
        return mine if [r["seed"] for r in mine] == list(self.seeds) else []


def record(made: Any, seed: int, **more: Any) -> dict[str, Any]:
    """What is kept of a run: the figures that the page or a test reads."""
    names = ("step", "seconds", "cpu_seconds", "parameters", "train_loss", "val_loss", "best_val_loss", "val_bits_per_byte")
    names += ("val_accuracy", "val_token_accuracy")
    kept = {n: digits(made.figures[n]) for n in names if made.figures.get(n) is not None}
    return {"seed": seed, **kept, **more}


def digits(value: Any, count: int = 5) -> Any:
    """Rounded to significant digits, lists and mappings too: enough to draw and compare."""
    if isinstance(value, dict):
        return {k: digits(v, count) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [digits(v, count) for v in value]
    return float(f"{value:.{count}g}") if isinstance(value, float) and math.isfinite(value) else value


def curve(made: Any) -> dict[str, list[list[float]]]:
    """{train, validation: [[step, loss], ...]} of metrics.csv."""
    with (made.folder / "metrics.csv").open(encoding="utf8") as f:
        rows = list(csv.DictReader(f))
    found = {"train": "train_loss", "validation": "val_loss"}
    return {name: [[int(r["step"]), digits(float(r[c]))] for r in rows if r.get(c)] for name, c in found.items()}


def first_batch(recipe: Any) -> Batch:
    """The batch of the first step."""
    data = recipe.data
    return TrainSteps(data.train, data.batch_size, 1, 0, 1, data.apart, data.preparation)[0].batch


def gradients(recipe: Any) -> None:
    """Gradients of the first step's loss, in ``.grad``."""
    terms = recipe.model(first_batch(recipe), recipe.task.loss)
    value, weight = terms.losses["loss"]
    if value.requires_grad:
        (value / weight).backward()


def norm_of(parameters: Any) -> float:
    return sum(float(p.grad.double().norm()) ** 2 for p in parameters if p.grad is not None) ** 0.5


# -- 1 to 5: numbers, characters, pieces -----------------------------------------------------------------------------------


def leaf_flower(lab: Lab) -> dict[str, Any]:
    runs = []
    for seed in lab.seeds:
        made = lab.train("01_leaf_flower", seed=seed)
        right = {split: components.evaluate(made.folder, split=split)["accuracy"] for split in ("train", "validation")}
        runs.append(record(made, seed, right=right))
        if seed == lab.seeds[0]:
            trace = components.explain(made.folder, prompt="32,107,56,11.2").trace
            network = {"layers": digits(as_data(trace.network.layers), 4), "names": as_data(trace.network.names)}
    return {"runs": runs, "network": network}


def perceptron(lab: Lab) -> dict[str, Any]:
    runs = {}
    for name, words in {"graded": [], "threshold": ["model.head.activation=step"], "graded, L1": ["loss.distance=l1"]}.items():
        for seed in lab.seeds:
            recipe = components.load_recipe("ladder/02_perceptron", [*words, f"seed={seed}"])
            gradients(recipe)
            before = [p.detach().flatten().tolist() for p in recipe.model.parameters()]
            made = lab.train("02_perceptron", *words, seed=seed)
            model = components.load(made.folder).model
            sums = {round(0.1 * n, 1): judged(model, (0.1, 0.1, 0.1 * n)) for n in range(11)}
            runs.setdefault(name, []).append(
                record(
                    made,
                    seed,
                    gradient=digits(norm_of(recipe.model.parameters())),
                    before=digits(before),
                    after=digits([p.detach().flatten().tolist() for p in model.parameters()]),
                    first=digits(judged(model, (0.1, 0.1, 0.4))),
                    by_third_mark=digits(list(sums.values())),
                )
            )
    return {"runs": runs}


def judged(model: Any, marks: tuple[float, ...]) -> float:
    """The score that the model gives three marks."""
    with torch.no_grad():
        return float(model(Batch(torch.zeros(1, 1, dtype=torch.long), values=torch.tensor([[marks]]))))


def next_character(lab: Lab) -> dict[str, Any]:
    from components.parts.data.rhyme import RHYME

    runs = []
    for seed in lab.seeds:
        made = lab.train("03_next_character", seed=seed)
        loaded = components.load(made.folder)
        runs.append(record(made, seed, says=loaded.generate(START, max_new_tokens=12), curve=curve(made)["train"]))
        if seed == lab.seeds[0]:
            steps = components.explain(loaded, prompt=START, new_tokens=4).trace
            words = steps["words"]
            panels = [
                {
                    "names": [words[str(int(i))] for i, *_ in step["stages"][-1]["top"][:6]],
                    "p": digits([p for *_, p in step["stages"][-1]["top"][:6]]),
                    "chosen": words[str(step["chosen"])],
                }
                for step in steps["generation"]["steps"]
            ]
    return {"runs": runs, "panels": panels, "meant": RHYME[: len(START) + 12]}


def embedding(lab: Lab) -> dict[str, Any]:
    runs = {"03_next_character": lab.known_runs("03"), "04_embedding": []}
    for rung, some in runs.items():
        for seed in lab.seeds if not some else ():
            made = lab.train(rung, seed=seed)
            runs[rung] = [*runs[rung], record(made, seed, curve=curve(made)["train"])]
            if rung == "04_embedding" and seed == lab.seeds[0]:
                loaded = components.load(made.folder)
                table = flat(loaded.model.embedding, loaded.tokenizer)
    return {"runs": runs, "table": table}


def flat(part: Any, tokenizer: Any) -> dict[str, Any]:
    """The rows of an embedding along their two directions of largest spread: [[character, x, y], ...], and their share of the variance."""
    weight = next(part.parameters()).detach().double()
    seen = [i for i in range(tokenizer.vocab_size) if i not in tokenizer.specials.values()]
    rows = weight[seen] - weight[seen].mean(0)
    _, spread, directions = torch.linalg.svd(rows, full_matrices=False)
    share = float((spread[:2] ** 2).sum() / (spread**2).sum())
    places = (rows @ directions[:2].T).tolist()
    return {"share": digits(share), "rows": [[tokenizer.decode([i]), *digits(p, 4)] for i, p in zip(seen, places, strict=True)]}


TRIED = ("unforgettable cats", "The network learns.", "猫 🐈\n\tif x:", "\x00 ÿ")


def subwords(lab: Lab) -> dict[str, Any]:
    runs: dict[str, list[Any]] = {}
    for name, words in {"bpe": [], "char": ["tokenizer=char"]}.items():
        for seed in lab.seeds:
            made = lab.train("05_subwords", *words, seed=seed)
            bytes_per_token = made.figures["val_loss"] / math.log(2) / made.figures["val_bits_per_byte"]
            runs.setdefault(name, []).append(record(made, seed, bytes_per_token=digits(bytes_per_token), curve=curve(made)))
    tokenizer = components.load_recipe("ladder/05_subwords").task.tokenizer
    merges = json.loads(tokenizer.core.to_str())["model"]["merges"][:12]
    merges = ["".join(m) if isinstance(m, list) else m.replace(" ", "") for m in merges]
    pieces = {text: [tokenizer.decode([i]) for i in tokenizer.encode(text)] for text in ("unforgettable", " cats", " learning")}
    return {
        "runs": runs,
        "merges": [m.replace("Ġ", "␣") for m in merges],
        "pieces": pieces,
        "round_trip": all(tokenizer.decode(tokenizer.encode(t)) == t for t in TRIED),
    }


# -- 6 to 9: attention, depth, the GPT ---------------------------------------------------------------------------------------


def self_attention(lab: Lab) -> dict[str, Any]:
    runs = [made_and_kept(lab, "06_self_attention", seed) for seed in lab.seeds]
    return {"runs": [r for r, _ in runs], "looked": looked_at(runs[0][1])}


def multi_head(lab: Lab) -> dict[str, Any]:
    one = lab.known_runs("06") or [made_and_kept(lab, "06_self_attention", seed)[0] for seed in lab.seeds]
    four = [made_and_kept(lab, "07_multi_head", seed) for seed in lab.seeds]
    return {"runs": {"06_self_attention": one, "07_multi_head": [r for r, _ in four]}, "looked": looked_at(four[0][1])}


def made_and_kept(lab: Lab, rung: str, seed: int, *words: str) -> tuple[dict[str, Any], Any]:
    made = lab.train(rung, *words, seed=seed)
    return record(made, seed, curve=curve(made)), made


def looked_at(made: Any) -> dict[str, Any]:
    """The weights of the first layer's heads over the sentence, (H, T, T), and its tokens."""
    trace = components.explain(made.folder, prompt=SENTENCE, new_tokens=0).trace
    weights = trace["mixers"][0]["weights"].tensor.double()
    return {
        "tokens": [t["text"] for t in trace["tokens"]],
        "rows": digits(float((weights.sum(-1) - 1).abs().max()), 2),
        "future": digits(float(weights.triu(1).abs().max()), 2),
        "weights": [[[round(v, 3) for v in row] for row in head] for head in weights.tolist()],
    }


def deep_residual(lab: Lab) -> dict[str, Any]:
    by_layer: dict[str, dict[str, list[float]]] = {}
    for depth in DEPTHS:
        for name, words in BRANCHES.items():
            recipe = components.load_recipe("ladder/08_deep_residual", [f"model.n_layers={depth}", *words])
            gradients(recipe)
            layers = [m for m in recipe.model.modules() if isinstance(m, Layer)]
            assert len(layers) == depth
            by_layer.setdefault(str(depth), {})[name] = digits([norm_of(m.parameters()) for m in layers], 3)
    runs: dict[str, list[Any]] = {}
    for name, words in DEEP.items():
        for seed in lab.seeds:
            runs.setdefault(name, []).append(made_and_kept(lab, "08_deep_residual", seed, *words)[0])
    return {"runs": runs, "gradients": by_layer, "frequencies": digits(frequencies("08_deep_residual"))}


def frequencies(rung: str) -> float:
    """Validation loss of a model that knows how often each character stands in the training split, and nothing else (one added to each)."""
    recipe = components.load_recipe(f"ladder/{rung}")
    data, size = recipe.data, recipe.task.tokenizer.vocab_size
    ids = torch.from_numpy(data.train.split.tokens.astype("int64"))
    p = (torch.bincount(ids, minlength=size) + 1.0) / (len(ids) + size)
    batches = EvalBatches(data.validation, data.batch_size, 0, 1, data.apart, data.limit * data.batch_size)
    asked = torch.cat([(t := batches[i].batch.targets)[t >= 0] for i in range(len(batches))])
    return float(-p.double().log()[asked].mean())


def gpt(lab: Lab) -> dict[str, Any]:
    runs = []
    for seed in lab.seeds:
        made = lab.train("09_gpt", seed=seed)
        accepted = made.figures.get("accepted_share")
        runs.append(record(made, seed, curve=curve(made), accepted=digits(accepted)))
        if seed == lab.seeds[0]:
            sample = components.load(made.folder).generate("def ", max_new_tokens=100)
    return {"runs": runs, "sample": sample}


# -- 10 to 15: other wirings ---------------------------------------------------------------------------------------------------


def recurrent(lab: Lab) -> dict[str, Any]:
    runs: dict[str, list[Any]] = {}
    for name, words in CROSS.items():
        for seed in lab.seeds:
            made = lab.train("10_recurrent", *words, seed=seed)
            runs.setdefault(name, []).append(record(made, seed, by_length=by_length(components.load(made.folder))))
    return {"runs": runs, "lengths": list(LENGTHS), "each": EACH}


def by_length(loaded: Any) -> list[float]:
    """Exact match on numbers of each length that are drawn anew: of 3 digits on, hardly one of them was seen."""
    from components.parts.data.spelled_numbers import WORDS, SpelledNumbers

    seen = {e.input for e in SpelledNumbers(count=loaded.config["data"]["count"]).examples()}
    drawn, found = random.Random(12345), []
    for length in LENGTHS:
        numbers = [[drawn.randrange(10) for _ in range(length)] for _ in range(4 * EACH)]
        asked = [n for n in numbers if " ".join(map(str, n)) not in seen][:EACH]
        assert len(asked) == EACH
        said = loaded.generate([" ".join(map(str, n)) for n in asked], max_new_tokens=24)
        found.append(sum(s.strip() == " ".join(WORDS["en"][d] for d in n) for s, n in zip(said, asked, strict=True)) / EACH)
    return found


def translation(lab: Lab) -> dict[str, Any]:
    runs: dict[str, list[Any]] = {}
    for target in ("fr", "zh"):
        for seed in lab.seeds:
            words = () if target == "fr" else (f"data.target={target}",)
            made = lab.train("11_translation", *words, seed=seed)
            scores = {}
            for decoding in ("greedy", "beam"):
                asked = [f"decoding={decoding}", "task.scored=500", f"task.bleu_tokenize={'zh' if target == 'zh' else '13a'}"]
                found = components.evaluate(made.folder, asked)
                scores[decoding] = {n: digits(found[n]) for n in ("exact_match", "bleu", "chrf")}
            runs.setdefault(target, []).append(record(made, seed, scores=scores, curve=curve(made)))
            if seed == lab.seeds[0]:
                loaded = components.load(made.folder)
                asked = ["Feb 9, 1974", "Saturday, February 9, 1974", "May 1, 2031"]
                runs[target][-1]["says"] = dict(zip(asked, loaded.generate(asked, max_new_tokens=40), strict=True))
                if target == "fr":
                    crossed = read_of_source(loaded)
    return {"runs": runs, "crossed": crossed}


def read_of_source(loaded: Any) -> dict[str, Any]:
    """What the decoder's last layer reads of the source while it writes, the mean of its heads."""
    trace = components.explain(loaded, prompt="Saturday, February 9, 1974", new_tokens=24).trace
    weights = [m for m in trace["mixers"] if m["crossed"]][-1]["weights"].tensor.mean(0)
    return {
        "source": [t["text"] for t in trace["source"]],
        "tokens": [t["text"] for t in trace["tokens"]],
        "weights": [[round(v, 3) for v in row] for row in weights.tolist()],
    }


def variants(lab: Lab) -> dict[str, Any]:
    base = lab.known_runs("09") or [made_and_kept(lab, "09_gpt", seed)[0] for seed in lab.seeds]
    runs: dict[str, list[Any]] = {"ladder/09_gpt": base}
    for name, words in VARIANTS.items():
        rung, words = ("12_variants", []) if name == "transformer_xl" else ("09_gpt", words)  # the recipe is the first of them
        runs[name] = [made_and_kept(lab, rung, seed, *words)[0] for seed in lab.seeds]
    return {"runs": runs}


def classify(lab: Lab) -> dict[str, Any]:
    """Pretrained once; fine-tuned in every way, and trained from scratch with the same tokens, with every seed."""
    words = ("data=texts_of", "data.source=language_id", "tokenizer.vocab_size=2048", "task.judged_samples=0")
    before = lab.train("09_gpt", *words)
    found = tuned(lab, "13_classify", before, "optimizer.lr=0.002")
    del found["folder"]
    for name, ways in TUNED.items():
        for seed in lab.seeds:
            made = lab.train("13_classify", f"init_from={before.folder}", *ways, seed=seed)
            found["runs"].setdefault(name, []).append(record(made, seed, learned=learned(made), curve=curve(made)))
    return found


def learned(made: Any) -> int:
    """How many of a run's weights learn."""
    return sum(p.numel() for p in components.load(made.folder).model.parameters() if p.requires_grad)


def instruct(lab: Lab) -> dict[str, Any]:
    found = tuned(lab, "14_instruct", lab.train("gpt_python"))
    loaded = components.load(found.pop("folder"))
    asked = "Return the larger of two numbers."
    return {**found, "asked": asked, "answer": loaded.chat([{"role": "user", "content": asked}], max_new_tokens=80)}


def tuned(lab: Lab, rung: str, before: Any, *alone: str) -> dict[str, Any]:
    """Runs that begin with the weights of ``before``, and runs with its tokens alone (and ``alone``)."""
    start = {"pretrained": (f"init_from={before.folder}",), "from scratch": (f"tokenizer.run={before.folder}", *alone)}
    runs: dict[str, list[Any]] = {"pretraining": [record(before, 0, curve=curve(before))]}
    folders = []
    for name, words in start.items():
        for seed in lab.seeds:
            made = lab.train(rung, *words, seed=seed)
            runs.setdefault(name, []).append(record(made, seed, learned=learned(made), curve=curve(made)))
            folders.append(made.folder)
    return {"runs": runs, "folder": str(folders[0])}


def patches(lab: Lab) -> dict[str, Any]:
    runs = []
    for seed in lab.seeds:
        made = lab.train("15_patches", seed=seed)
        runs.append(record(made, seed, curve=curve(made)))
        if seed == lab.seeds[0]:
            shown = digits_of(made)
    return {"runs": runs, "shown": shown}


def digits_of(made: Any, count: int = 20) -> dict[str, Any]:
    """Unseen digits with what the model says of them: all that are wrong first, then the next ones."""
    loaded = components.load(made.folder)
    data = components.load_recipe("ladder/15_patches").data
    blocks = data.validation
    batch = blocks.batch(0, range(blocks.n_blocks))
    with torch.no_grad():
        said = loaded.model(batch).argmax(-1).flatten().tolist()
    truth, side = batch.targets.flatten().tolist(), 4
    wrong = [i for i in range(len(truth)) if said[i] != truth[i]]
    picked = [*wrong, *(i for i in range(len(truth)) if said[i] == truth[i])][:count]
    images = []
    for i in picked:
        cut = batch.values[i].reshape(side, side, 2, 2)
        images.append((cut.permute(0, 2, 1, 3).reshape(8, 8) * 16).round().int().tolist())
    return {
        "wrong": len(wrong),
        "of": len(truth),
        "images": images,
        "said": [said[i] for i in picked],
        "truth": [truth[i] for i in picked],
    }


def fitting(lab: Lab) -> dict[str, Any]:
    """Rung 15 with 10 % of the digits to learn from: too small, fitting, too large and too long, and stopped early."""
    runs = {}
    for name, own in FIT.items():
        made = lab.train("15_patches", *FIT_WORDS, *own)
        runs[name] = record(made, 0, curve=curve(made))
    return {"runs": runs}


FIT_WORDS = ("task.validation_fraction=0.9", "task.validation_every=50", "trainer.max_steps=1000", "schedule=constant")
FIT = {
    "too small": ["model.d_model=4", "model.n_layers=1", "optimizer.lr=0.0005"],
    "fits": ["trainer.max_steps=250"],
    "too long": [],
    "stopped early": ["callbacks.early_stopping={patience: 3}"],
}

MEASURES: dict[str, Callable[[Lab], dict[str, Any]]] = {
    "01": leaf_flower,
    "02": perceptron,
    "03": next_character,
    "04": embedding,
    "05": subwords,
    "06": self_attention,
    "07": multi_head,
    "08": deep_residual,
    "09": gpt,
    "10": recurrent,
    "11": translation,
    "12": variants,
    "13": classify,
    "14": instruct,
    "15": patches,
    "fit": fitting,
}


def every_run(found: dict[str, Any]) -> list[dict[str, Any]]:
    """All runs that a rung's figures have, however they are grouped."""
    runs = found["runs"]
    if isinstance(runs, list):
        return runs
    return [run for some in runs.values() for run in (some if isinstance(some, list) else [some])]


def seconds_of(found: dict[str, Any]) -> list[float]:
    return [r["seconds"] for r in every_run(found)]
