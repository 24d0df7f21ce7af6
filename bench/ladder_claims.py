"""What the figures of docs/ladder.json say: for each rung what it should show and whether that holds, and its tables. Nothing is typed in."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ladder_rungs import TUNED

Found = dict[str, Any]
SEEDS = 3  # what "lower" and "beats" need


@dataclass(frozen=True)
class Claim:
    """``needs``: seeds without which it cannot hold."""

    what: str
    measured: str
    holds: bool
    needs: int = 1


@dataclass(frozen=True)
class About:
    claims: Callable[[Found], list[Claim]]
    tables: Callable[[Found], list[str]]
    pictures: tuple[str, ...]


def difference(low: list[float], high: list[float]) -> tuple[float, float]:
    """(mean of ``high`` less mean of ``low``, its standard error)."""
    error = sum(statistics.variance(v) / len(v) for v in (low, high)) ** 0.5 if min(len(low), len(high)) > 1 else float("nan")
    return statistics.mean(high) - statistics.mean(low), error


def below(what: str, low: list[float], high: list[float]) -> Claim:
    """That ``low`` is lower: by at least three seeds on both sides, and more than two standard errors."""
    d, error = difference(low, high)
    said = f"{statistics.mean(low):.3f} against {statistics.mean(high):.3f}: lower by {d:.3f}{beside(error)}, {seeds(low)}"
    return Claim(what, said, min(len(low), len(high)) >= SEEDS and d > 2 * error, SEEDS)


def beside(error: float) -> str:
    return f" ± {error:.3f}" if error == error else ""  # one seed has none


def seeds(values: list[Any]) -> str:
    return f"{len(values)} seed{'s' * (len(values) != 1)}"


def column(runs: list[Found], name: str) -> list[float]:
    return [r[name] for r in runs]


def spread(values: list[float], form: str = ".3f") -> str:
    """Mean ± standard error of the mean."""
    if len(values) < 2:
        return format(values[0], form)
    return f"{statistics.mean(values):{form}} ± {statistics.stdev(values) / len(values) ** 0.5:{form}}"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(head)} |", "|---|" + "--:|" * (len(head) - 1), *(f"| {' | '.join(r)} |" for r in rows)]


def within(found: Found, most: float = 120.0) -> Claim:
    from ladder_rungs import every_run, seconds_of

    longest, cpu = max(seconds_of(found)), max(r["cpu_seconds"] for r in every_run(found))
    said = f"{longest:.0f} s at most" + (f" on a busy machine ({cpu:.0f} s of processor time)" if longest > most > cpu else "")
    return Claim(f"training takes at most {most:.0f} s", said, longest <= most)


# -- 1 to 5 ----------------------------------------------------------------------------------------------------------------------


def leaf_flower(found: Found) -> list[Claim]:
    train, unseen = ([r["right"][s] for r in found["runs"]] for s in ("train", "validation"))
    return [
        Claim("the six rows are learnt", "accuracy " + ", ".join(f"{v:.2f}" for v in train), min(train) == 1),
        Claim("the two unseen rows are right", "accuracy " + ", ".join(f"{v:.2f}" for v in unseen), min(unseen) == 1),
        within(found),
    ]


def weights(values: list[list[float]]) -> str:
    return ", ".join(f"{v:.3f}" for v in values[0])


def perceptron(found: Found) -> list[Claim]:
    graded, threshold = found["runs"]["graded"], found["runs"]["threshold"]
    off = max(abs(a - b) for r in graded for a, b in zip(r["after"][0], (0.8, 0.4, 1.2), strict=True))
    moved = max(abs(a - b) for r in threshold for x, y in zip(r["before"], r["after"], strict=True) for a, b in zip(x, y))
    return [
        Claim("the graded unit learns the judges' worth 0.8, 0.4, 1.2", f"off by at most {off:.3f}", off < 0.02),
        Claim(
            "its gradient is not zero", f"{min(column(graded, 'gradient')):.3g} or more", min(column(graded, "gradient")) > 0
        ),
        Claim("the threshold unit's is", f"{max(column(threshold, 'gradient')):.3g}", max(column(threshold, "gradient")) == 0),
        Claim("and its weights stay as they were drawn", f"moved by {moved:.3g}", moved == 0),
        Claim(
            "marks 0.1, 0.1, 0.4 come to 0.6",
            ", ".join(f"{v:.3f}" for v in column(graded, "first")),
            all(abs(v - 0.6) < 0.01 for v in column(graded, "first")),
        ),
        within(found),
    ]


def perceptron_table(found: Found) -> list[str]:
    rows = []
    for name, runs in found["runs"].items():
        r = runs[0]
        rows.append([name, f"{r['gradient']:.3g}", weights(r["before"]), weights(r["after"]), f"{r['first']:.3f}"])
    return table(["unit (seed 0)", "gradient at the start", "weights drawn", "weights learnt", "score of 0.1, 0.1, 0.4"], rows)


def next_character(found: Found) -> list[Claim]:
    meant, start = found["meant"], "humpty dumpt"
    said = [r["says"][: len(meant)] for r in found["runs"]]
    shown = " / ".join(f"`{s[len(start) :]}`" for s in said)
    return [
        Claim('"humpty dumpt" goes on with "y", " ", "s"', shown, all(s.startswith(meant[: len(start) + 3]) for s in said)),
        Claim("and as the rhyme does, twelve characters", shown, all(s == meant for s in said)),
        within(found),
    ]


def embedding(found: Found) -> list[Claim]:
    numbers, vectors = (column(found["runs"][r], "train_loss") for r in ("03_next_character", "04_embedding"))
    return [below("lower training loss than numbers, at equal steps", vectors, numbers), within(found)]


def subwords(found: Found) -> list[Claim]:
    bpe, char = found["runs"]["bpe"], found["runs"]["char"]
    covered, covered_char = (12 * statistics.mean(column(r, "bytes_per_token")) for r in (bpe, char))
    pieces = found["pieces"]["unforgettable"]
    return [
        Claim(
            "twelve tokens reach further back than twelve characters",
            f"{covered:.1f} bytes against {covered_char:.1f}",
            covered > covered_char,
        ),
        Claim("any text comes back as it went in", "Chinese, an emoji, tabs, NUL", found["round_trip"]),
        Claim("a rare word comes apart", " + ".join(f"`{p}`" for p in pieces), 1 < len(pieces) < len("unforgettable")),
        below("fewer bits per byte than characters", column(bpe, "val_bits_per_byte"), column(char, "val_bits_per_byte")),
        within(found),
    ]


def subwords_table(found: Found) -> list[str]:
    rows = [
        [
            f"`tokenizer={n}`",
            spread(column(r, "val_loss")),
            spread(column(r, "val_bits_per_byte")),
            f"{statistics.mean(column(r, 'bytes_per_token')):.2f}",
            f"{r[0]['parameters']:,}",
        ]
        for n, r in found["runs"].items()
    ]
    pieces = "; ".join(" + ".join(f"`{p}`" for p in each) for each in found["pieces"].values())
    return [
        *table(["", "validation loss (nats per token)", "bits per byte", "bytes per token", "parameters"], rows),
        "",
        "The first merges: " + ", ".join(f"`{m}`" for m in found["merges"]) + f". Pieces: {pieces}.",
    ]


# -- 6 to 9 ----------------------------------------------------------------------------------------------------------------------


def self_attention(found: Found) -> list[Claim]:
    looked = found["looked"]
    return [
        Claim("rows of the matrix sum to 1", f"off by at most {looked['rows']:.0e}", looked["rows"] < 1e-5),
        Claim("no weight on the future", f"{looked['future']:.0e}", looked["future"] == 0),
        within(found),
    ]


def self_attention_table(found: Found) -> list[str]:
    runs = found["runs"]
    said = f"Validation loss {spread(column(runs, 'val_loss'))}, {spread(column(runs, 'val_bits_per_byte'))} bits per byte, "
    return [said + f"{runs[0]['parameters']:,} parameters, {seeds(runs)}."]


def multi_head(found: Found) -> list[Claim]:
    one, four = found["runs"]["06_self_attention"], found["runs"]["07_multi_head"]
    sizes = {r["parameters"] for r in one + four}
    return [
        Claim("as many parameters as one head", " and ".join(f"{s:,}" for s in sorted(sizes)), len(sizes) == 1),
        below("lower validation loss than one head", column(four, "val_loss"), column(one, "val_loss")),
        within(found),
    ]


def deep_residual(found: Found) -> list[Claim]:
    deepest, known = found["gradients"]["128"], found["frequencies"]
    residual, plain = (column(found["runs"][n], "val_loss") for n in ("residual", "plain"))
    kept = min(deepest["residual and norm"]) / max(deepest["residual and norm"])
    first = deepest["norm alone"][0]
    return [
        Claim("with the shortcut every layer gets a gradient", f"smallest over largest of 128: {kept:.2f}", kept > 0.1),
        Claim("without it the first of 128 gets none", f"{first:.1e}", first < 1e-6),
        Claim(
            "plain, 128 layers do not train: no better than the characters' frequencies",
            f"{min(plain):.3f} at best, frequencies alone {known:.3f}",
            min(plain) > known - 0.01,
        ),
        Claim(
            "with the shortcut they do",
            f"{max(residual):.3f} at worst, frequencies alone {known:.3f}",
            max(residual) < known - 0.1,
        ),
        below("the residual network's loss is lower than the plain one's", residual, plain),
        within(found),
    ]


def deep_residual_table(found: Found) -> list[str]:
    from ladder_rungs import DEEP

    rows = [
        [n, " ".join(f"`{w}`" for w in DEEP[n]) or "the recipe", spread(column(r, "train_loss")), spread(column(r, "val_loss"))]
        for n, r in found["runs"].items()
    ]
    rows.append(["frequencies of characters alone", "", "", f"{found['frequencies']:.3f}"])
    return table(["128 layers", "swap", "training loss", "validation loss"], rows)


def gpt(found: Found) -> list[Claim]:
    runs = found["runs"]
    first, last = runs[0]["curve"]["validation"][0][1], runs[0]["curve"]["validation"][-1][1]
    return [
        Claim("validation loss falls to the end", f"{first:.3f} at the first, {last:.3f} at the last", last < first),
        Claim(
            "train and validation loss stay together",
            f"{statistics.mean(column(runs, 'train_loss')):.3f} and {statistics.mean(column(runs, 'val_loss')):.3f}",
            abs(statistics.mean(column(runs, "train_loss")) - statistics.mean(column(runs, "val_loss"))) < 0.3,
        ),
        within(found),
    ]


def gpt_table(found: Found) -> list[str]:
    runs = found["runs"]
    said = f"Validation loss {spread(column(runs, 'val_loss'))}, {spread(column(runs, 'val_bits_per_byte'))} bits per byte, "
    said += f"{seeds(runs)}. "
    if all(r.get("accepted") is not None for r in runs):
        said += f"Of 24 texts that it writes at the end `ast.parse` accepts {statistics.mean(column(runs, 'accepted')):.0%}. "
    return [said + "After `def ` it writes:", "", "```text", *found["sample"].rstrip().splitlines(), "```"]


# -- 10 to 15 --------------------------------------------------------------------------------------------------------------------


def ends(run: Found) -> tuple[float, float]:
    """Mean exact match of the four shortest and of the four longest lengths."""
    return statistics.mean(run["by_length"][:4]), statistics.mean(run["by_length"][-4:])


def recurrent(found: Found) -> list[Claim]:
    without, cured = (list(map(ends, found["runs"][n])) for n in ("without attention", "with attention"))
    falls, error = difference([long for _, long in without], [short for short, _ in without])
    shortest, longest = (statistics.mean(v) for v in zip(*without))
    short, long = (statistics.mean(v) for v in zip(*cured))
    return [
        Claim(
            "without attention exact match falls with length",
            f"{shortest:.3f} at 3 to 6 digits, {longest:.3f} at 13 to 16",
            longest < shortest - 0.2 and (len(without) < 2 or falls > 2 * error),
        ),
        Claim("with it, it does not", f"{short:.3f} and {long:.3f}", long > short - 0.05 and long > 0.9),
        below(
            "long numbers: fewer go wrong with attention",
            [1 - long for _, long in cured],
            [1 - long for _, long in without],
        ),
        within(found),
    ]


def recurrent_table(found: Found) -> list[str]:
    lengths = found["lengths"]
    rows = [
        [name, *(f"{statistics.mean(r['by_length'][i] for r in runs):.2f}" for i in range(len(lengths)))]
        for name, runs in found["runs"].items()
    ]
    said = f"Exact match by digits, {found['each']} new numbers of each length and seed:"
    return [said, "", *table(["", *map(str, lengths)], rows)]


def translation(found: Found) -> list[Claim]:
    claims = []
    for target, name in (("fr", "French"), ("zh", "Chinese")):
        values = [r["scores"]["greedy"]["exact_match"] for r in found["runs"][target]]
        said = ", ".join(f"{v:.1%}" for v in values)
        claims.append(Claim(f"English dates in {name}: at least 95 % of held-out ones exact", said, min(values) >= 0.95))
    return [*claims, within(found)]


def translation_table(found: Found) -> list[str]:
    rows = [
        [
            f"`data.target={target}`",
            f"`decoding={decoding}`",
            *(spread([r["scores"][decoding][n] for r in runs], ".4f") for n in ("exact_match", "bleu", "chrf")),
        ]
        for target, runs in found["runs"].items()
        for decoding in ("greedy", "beam")
    ]
    says = [f"`{q}` → `{a}`" for runs in found["runs"].values() for q, a in runs[0]["says"].items()]
    head = ["500 held-out dates", "decoding", "exact match", "BLEU", "chrF"]
    return [*table(head, rows), "", "Seed 0 says: " + ", ".join(says) + "."]


def variants(found: Found) -> list[Claim]:
    losses = {n: column(r, "val_loss") for n, r in found["runs"].items()}
    claims = [
        Claim(
            "each swap trains: every run's loss is finite and below its first validation's",
            ", ".join(f"{n} {max(v):.3f}" for n, v in losses.items()),
            all(
                r["curve"]["validation"][-1][1] < r["curve"]["validation"][0][1]
                for some in found["runs"].values()
                for r in some
            ),
        )
    ]
    return [*claims, within(found)]


def variants_table(found: Found) -> list[str]:
    from ladder_rungs import VARIANTS

    base, rows = column(found["runs"]["ladder/09_gpt"], "val_loss"), []
    for name, runs in found["runs"].items():
        own = column(runs, "val_loss")
        d, error = difference(own, base)
        enough = min(len(own), len(base)) >= SEEDS
        if name == "ladder/09_gpt":
            said = ""
        elif not enough:
            said = f"{d:+.3f} (one seed says nothing)" if len(own) == 1 else f"{d:+.3f} ± {error:.3f} (too few seeds)"
        else:
            said = f"{d:+.3f} ± {error:.3f}: {'lower' if d > 2 * error else 'higher' if d < -2 * error else 'no difference'}"
        words = " ".join(f"`{w}`" for w in VARIANTS.get(name, ())) or "the recipe"
        bits, seconds = spread(column(runs, "val_bits_per_byte")), f"{statistics.mean(column(runs, 'seconds')):.0f}"
        rows.append([name, words, f"{runs[0]['parameters']:,}", spread(own), said, bits, seconds])
    head = ["", "words", "parameters", "validation loss", "lower than 09 by", "bits per byte", "seconds"]
    return table(head, rows)


def above(what: str, high: list[float], low: list[float]) -> Claim:
    """That ``high`` is higher, likewise."""
    d, error = difference(low, high)
    said = f"{statistics.mean(high):.3f} against {statistics.mean(low):.3f}: higher by {d:.3f}{beside(error)}, {seeds(high)}"
    return Claim(what, said, min(len(low), len(high)) >= SEEDS and d > 2 * error, SEEDS)


def classify(found: Found) -> list[Claim]:
    tuned, scratch = (column(found["runs"][n], "val_accuracy") for n in ("pretrained", "from scratch"))
    return [above("higher accuracy on unseen texts than from scratch", tuned, scratch), within(found)]


def instruct(found: Found) -> list[Claim]:
    tuned, scratch = (column(found["runs"][n], "val_loss") for n in ("pretrained", "from scratch"))
    return [below("lower loss of held-out answers than from scratch", tuned, scratch), within(found)]


def tuned_table(found: Found) -> list[str]:
    runs = {n: r for n, r in found["runs"].items() if n != "pretraining"}
    measure = "val_accuracy" if "val_accuracy" in runs["pretrained"][0] else "val_token_accuracy"
    rows = [
        [n, *(spread(column(r, c)) for c in ("val_loss", measure)), f"{r[0]['parameters']:,}", f"{r[0]['learned']:,}"]
        for n, r in runs.items()
    ]
    said = f"One pretraining ({found['runs']['pretraining'][0]['seconds']:.0f} s), {seeds(runs['pretrained'])} of each:"
    lines = [said, "", *table(["", "validation loss", measure[4:].replace("_", " "), "parameters", "that learn"], rows)]
    if "answer" in found:
        lines += [
            "",
            f'Asked "{found["asked"]}" the first answers:',
            "",
            "```text",
            *found["answer"].strip().splitlines(),
            "```",
        ]
    return lines


def patches(found: Found) -> list[Claim]:
    values = column(found["runs"], "val_accuracy")
    said = ", ".join(f"{v:.1%}" for v in values)
    return [Claim("at least 95 % of digits that it has never seen are right", said, min(values) >= 0.95), within(found)]


def fitting(found: Found) -> list[Claim]:
    runs = found["runs"]
    last = {n: (r["curve"]["train"][-1][1], r["curve"]["validation"][-1][1]) for n, r in runs.items()}
    best = min(v for _, v in runs["too long"]["curve"]["validation"])
    steps = {n: r["step"] for n, r in runs.items()}
    small, fits, long = last["too small"], last["fits"], last["too long"]
    return [
        Claim(
            "too small: both losses stay high",
            f"train {small[0]:.2f}, validation {small[1]:.2f}; of the one that fits {fits[0]:.2f} and {fits[1]:.2f}",
            small[0] > 2 * fits[0] and small[1] > fits[1],
        ),
        Claim(
            "too long: training loss goes on to a tenth of what validation had at best, which turns up",
            f"train {long[0]:.4f}, validation {best:.3f} at best and {long[1]:.3f} at the end",
            long[0] < 0.1 * best and long[1] > 1.1 * best,
        ),
        Claim(
            "early stopping ends that run before it is over",
            f"after {steps['stopped early']} of {steps['too long']} steps, {runs['stopped early']['best_val_loss']:.3f} at best",
            steps["stopped early"] < steps["too long"] and runs["stopped early"]["best_val_loss"] <= 1.05 * best,
        ),
        within(found),
    ]


def fitting_table(found: Found) -> list[str]:
    from ladder_rungs import FIT, FIT_WORDS

    rows = []
    for name, run in found["runs"].items():
        (train, held), best = (run["curve"][s][-1][1] for s in ("train", "validation")), run["best_val_loss"]
        said = {w.partition("=")[0]: w for w in (*FIT_WORDS, *FIT[name])}  # each value once, as the last one has it
        words = f"`components train recipe=ladder/15_patches {' '.join(quoted(w) for w in said.values())}`"
        rows.append([name, words, str(run["step"]), f"{train:.4f}", f"{held:.3f}", f"{best:.3f}"])
    return table(["", "command", "steps", "training loss", "validation loss", "at best"], rows)


def quoted(word: str) -> str:
    return f'"{word}"' if "{" in word else word


def no_table(found: Found) -> list[str]:  # noqa: ARG001  some rungs have a picture alone
    return []


CLAIMS: dict[str, About] = {
    "01": About(leaf_flower, no_table, ("01_network",)),
    "02": About(perceptron, perceptron_table, ("02_units",)),
    "03": About(next_character, no_table, ("03_steps",)),
    "04": About(embedding, no_table, ("04_loss", "04_table")),
    "05": About(subwords, subwords_table, ("05_bits",)),
    "06": About(self_attention, self_attention_table, ("06_attention",)),
    "07": About(multi_head, no_table, ("07_heads",)),
    "08": About(deep_residual, deep_residual_table, ("08_gradients", "08_loss")),
    "09": About(gpt, gpt_table, ("09_loss",)),
    "10": About(recurrent, recurrent_table, ("10_length",)),
    "11": About(translation, translation_table, ("11_source",)),
    "12": About(variants, variants_table, ("12_loss",)),
    "13": About(classify, tuned_table, ("13_curves",)),
    "14": About(instruct, tuned_table, ("14_curves",)),
    "15": About(patches, no_table, ("15_digits",)),
    "fit": About(fitting, fitting_table, ("fitting",)),
}

# further commands of a section, and what stands before the commands of the last one
LINES: dict[str, list[str]] = {
    "01": ["components explain RUN --prompt 32,107,56,11.2 --out page.html"],
    "02": ["components train recipe=ladder/02_perceptron model.head.activation=step"],
    "03": ['components generate RUN --prompt "humpty dumpt"'],
    "05": ["components train recipe=ladder/05_subwords tokenizer=char"],
    "06": ['components explain RUN --prompt "The cat drank the milk because it was hungry" --out page.html'],
    "08": ["components train recipe=ladder/08_deep_residual model/residual=none"],
    "10": ["components train recipe=ladder/10_recurrent model/cross=gqa"],
    "11": [
        "components train recipe=ladder/11_translation data.target=zh",
        "components evaluate RUN decoding=beam task.scored=500",
    ],
    "12": [
        "components train recipe=ladder/09_gpt model/position=rope",
        "components train recipe=ladder/09_gpt model/attention=linear",
        "components train recipe=ladder/09_gpt model.attention.gate=elementwise",
    ],
    "13": [
        "components train recipe=ladder/13_classify init_from=RUN",
        "components train recipe=ladder/13_classify tokenizer.run=RUN optimizer.lr=0.002",
        *(f"components train recipe=ladder/13_classify init_from=RUN {' '.join(words)}" for words in TUNED.values()),
    ],
    "14": [
        "components train recipe=ladder/14_instruct init_from=RUN",
        "components train recipe=ladder/14_instruct tokenizer.run=RUN",
    ],
    "fit": ["Rung 15 once more, with a tenth of the digits to learn from and nine tenths to be measured on."],
}
# what is trained first, where it is not the recipe alone
FIRST = {
    "13": "components train recipe=ladder/09_gpt data=texts_of data.source=language_id tokenizer.vocab_size=2048 task.judged_samples=0",
    "14": "components train recipe=gpt_python",
}
OVER = {
    "01": "01_leaf_flower",
    "12": "09_gpt",
    "13": "09_gpt",
}  # the recipe that one is a swap of, where it is not the one before
