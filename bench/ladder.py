"""The ladder walked: trains every rung and what it is compared with; keeps the figures in docs/ladder.json, draws docs/ladder/*.png, writes docs/ladder.md.

``python bench/ladder.py [--only 10 11] [--seeds 3] [--write]``; ``--write`` keeps what was measured, rung by rung, beside what is there already;
``--render`` draws and writes again from what was kept, without training. What the page claims is decided by the figures (ladder_claims.py).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

# read when torch is loaded: threads that spin while they wait cost much where another program wants the core, as in components.cli
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import yaml
from ladder_claims import CLAIMS, FIRST, LINES, OVER, Claim
from ladder_rungs import MEASURES, RECIPES, ROOT, Lab, every_run, seconds_of

DOCS = ROOT / "docs"
FIGURES, PAGE, PICTURES = DOCS / "ladder.json", DOCS / "ladder.md", DOCS / "ladder"


def rungs() -> list[str]:
    """Names of the recipes, in order."""
    return sorted(f.stem for f in RECIPES.glob("*.yaml"))


def read(rung: str) -> tuple[list[str], dict[str, Any]]:
    """(the lines of comment that a recipe begins with, its values)."""
    text = (RECIPES / f"{rung}.yaml").read_text(encoding="utf8")
    comments = [line.removeprefix("# ") for line in text.split("defaults:")[0].splitlines() if line]
    lines = [line for line in comments if not line.startswith("  ")]  # indented: commands, which the page has anyway
    return lines, yaml.safe_load(text)


def fingerprint(rung: str) -> str:
    """Of the values that a recipe ends up with, whichever recipe below it they come from; what is said about them does not count."""
    return hashlib.blake2b(json.dumps(merged(rung), sort_keys=True).encode(), digest_size=8).hexdigest()


def merged(rung: str) -> dict[str, Any]:
    """{path: value} of a recipe, over those of the recipes that it begins with."""
    values = read(rung)[1]
    found: dict[str, Any] = {}
    for line in values.pop("defaults"):
        if isinstance(line, dict):
            found |= line
        elif line.startswith("ladder/"):
            found |= merged(line.removeprefix("ladder/"))

    def walk(path: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(f"{path}.{name}", inner)
        else:
            found[path] = value

    walk("", values)
    return found


def rung_of(number: str) -> str:
    """The recipe that a section is about; ``fit`` looks at rung 15 again."""
    return next(r for r in rungs() if r.startswith("15" if number == "fit" else number))


# -- the page ------------------------------------------------------------------------------------------------------------------


def swapped(rung: str, over: str) -> list[str]:
    """The parts in which a recipe differs from another, and how many values besides."""
    from components.compose import compose
    from components.compose.difference import difference
    from components.core import registry

    lines = [
        line
        for line in difference(compose(f"ladder/{over}").config, compose(f"ladder/{rung}").config)
        if not line.startswith("recipe:")
    ]
    kinds = {*registry.kinds(), "cross"}
    parts = [line for line in lines if line.split(":")[0].split(".")[-1] in kinds]
    said = ["; ".join(f"`{line}`" for line in parts) or "no part"]
    if rest := [line for line in lines if line not in parts]:
        said += ["", f"<details><summary>and {len(rest)} value{'s' * (len(rest) > 1)}</summary>", ""]
        said += [*(f"- `{line}`" for line in rest), "", "</details>"]
    return said


def verdicts(claims: list[Claim]) -> list[str]:
    lines = ["| what it should show | measured | holds |", "|---|---|---|"]
    return [*lines, *(f"| {c.what} | {c.measured} | {'yes' if c.holds else '**no**'} |" for c in claims)]


def section(number: str, stored: dict[str, Any]) -> list[str]:
    rung = rung_of(number)
    found, before = stored["rungs"].get(number), rungs()[max(0, rungs().index(rung) - 1)]
    title = "Under- and over-fitting" if number == "fit" else f"{int(number)}. {rung[3:].replace('_', ' ')}"
    lines = ["", f"## {title}", ""]
    if number == "fit":
        lines += [LINES["fit"][0], ""]
    else:
        said = re.sub(r" [\w ]*ommands, RUN being what the first one prints:", "", " ".join(read(rung)[0])).split(" Look for: ")
        lines += [said[0], "", f"Look for: {said[1]}", ""]
        over = OVER.get(number, before)
        if over != rung:
            first, *rest = swapped(rung, over)
            lines += [f"Swapped against `ladder/{over}`: {first}", *rest, ""]
        first = FIRST.get(number, f"components train recipe=ladder/{rung}")
        lines += ["```", first, *LINES.get(number, []), "```", ""]
    if found is None:
        return [*lines, "Not measured yet."]
    lines += verdicts(CLAIMS[number].claims(found))
    lines += ["", *CLAIMS[number].tables(found)]
    lines += [line for name in CLAIMS[number].pictures for line in ("", f"![{title}: {name}](ladder/{name}.png)")]
    seconds, cpu = seconds_of(found), max(r["cpu_seconds"] for r in every_run(found))
    said = f"{len(seconds)} run{'s' * (len(seconds) != 1)}, {min(seconds):.0f} to {max(seconds):.0f} s of training each, "
    said += f"at most {cpu:.0f} s of processor time with the preparation of data; "
    lines += ["", said + f"threads: {found['threads']}, load of the machine: {found['load']:.1f}, torch {found['torch']}."]
    return lines


def page(stored: dict[str, Any]) -> str:
    """docs/ladder.md, from what docs/ladder.json holds and the recipes say."""
    lines = [
        "# The ladder",
        "",
        "Fifteen systems, from four numbers in and two out up to a Transformer for pictures; each is a recipe, and differs from the one before it by",
        "the parts that it swaps. This page is made by `python bench/ladder.py --write`, which trains them all; do not edit it. Raw figures are in",
        '[ladder.json](ladder.json). Whether something holds is decided by the figures: "lower" and "beats" mean that the means of at least three',
        "seeds differ by more than two standard errors of the difference, which stand beside it as ±.",
        "",
        *summary(stored),
    ]
    for number in (*sorted(r[:2] for r in rungs()), "fit"):
        lines += section(number, stored)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) + "\n"


def summary(stored: dict[str, Any]) -> list[str]:
    """All rungs in one table."""
    lines = ["| rung | shows what it should | longest training |", "|---|---|--:|"]
    for number in (*sorted(r[:2] for r in rungs()), "fit"):
        found = stored["rungs"].get(number)
        name = "under- and over-fitting" if number == "fit" else f"`ladder/{rung_of(number)}`"
        if found is None:
            lines.append(f"| {name} | not measured yet | |")
            continue
        claims = CLAIMS[number].claims(found)
        good = sum(c.holds for c in claims)
        lines.append(f"| {name} | {good} of {len(claims)} | {max(seconds_of(found)):.0f} s |")
    return lines


# -- figures and pictures ------------------------------------------------------------------------------------------------------


def load() -> dict[str, Any]:
    return json.loads(FIGURES.read_text(encoding="utf8")) if FIGURES.exists() else {"rungs": {}}


def save(stored: dict[str, Any]) -> None:
    """One line for each list of numbers, so that a change can be read."""
    stored["rungs"] = dict(sorted(stored["rungs"].items()))
    text = json.dumps(stored, indent=1, ensure_ascii=False)
    text = re.sub(
        r"\[\s+((?:[^\[\]{}\"]|\"(?:[^\"\\]|\\.)*\")*?)\s+\]", lambda m: "[" + re.sub(r"\n\s*", " ", m[1]) + "]", text
    )
    FIGURES.write_text(text + "\n", encoding="utf8")


def draw(stored: dict[str, Any], numbers: list[str]) -> None:
    from ladder_pictures import PICTURES_OF, saved

    PICTURES.mkdir(exist_ok=True)
    for number in numbers:
        if number in stored["rungs"]:
            for name, figure in PICTURES_OF[number](stored["rungs"][number]).items():
                saved(figure, PICTURES / f"{name}.png")


def write(stored: dict[str, Any], numbers: list[str]) -> None:
    draw(stored, numbers)
    PAGE.write_text(page(stored), encoding="utf8")


def current(stored: dict[str, Any]) -> dict[str, Any]:
    """Figures of recipes that are still what they were."""
    return {n: found for n, found in stored["rungs"].items() if found["recipe"] == fingerprint(rung_of(n))}


def measured(number: str, lab: Lab) -> dict[str, Any]:
    """A rung's figures, with what is to be known of how they came about."""
    import torch

    found = MEASURES[number](lab)
    return {
        "recipe": fingerprint(rung_of(number)),
        "torch": torch.__version__.split("+")[0],
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[1], 1),
        **found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", metavar="NN", help=f"of {' '.join(MEASURES)}")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="keep the figures, and draw and write the page")
    parser.add_argument("--render", action="store_true", help="draw and write the page from what was kept")
    parser.add_argument(
        "--folder",
        type=Path,
        help="where runs are left, and finished ones of the same config are taken from; else they are thrown away",
    )
    args = parser.parse_args()
    numbers = args.only or list(MEASURES)
    if unknown := set(numbers) - set(MEASURES):
        parser.error(f"--only: no such rung: {' '.join(sorted(unknown))}; there are {' '.join(MEASURES)}")
    if args.render:
        write(load(), numbers)
        return
    with tempfile.TemporaryDirectory() as thrown:
        for number in numbers:
            stored = load()
            lab = Lab(args.folder or Path(thrown), tuple(range(args.seeds)), known=current(stored))
            found = measured(number, lab)
            if args.write:
                stored = {"rungs": {**load()["rungs"], number: found}}  # another process may have written since
                save(stored)
            for claim in CLAIMS[number].claims(found):
                print(f"  {'yes' if claim.holds else 'NO '}  {claim.what}: {claim.measured}", flush=True)
    if args.write:  # at the end: a picture that fails loses no figures
        write(load(), numbers)


if __name__ == "__main__":
    main()
