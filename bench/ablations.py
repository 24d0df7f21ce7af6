"""Published claims tried with `components ablate` and `components scale`: writes docs/ablations.md, with the reports beside it in docs/ablations/.

``python bench/ablations.py --study a b c --write`` trains what these studies lack, keeps their results and writes the page; a study that was stopped
goes on, its runs lie in ``--folder``. ``--write`` alone writes the page from what is kept. Study d compares optimizers at equal time, and so wants a
machine that does nothing else. What is claimed, and what decides it, stands in ablation_claims.py.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

# before torch is loaded: one thread, as the runs are small
os.environ.setdefault("OMP_NUM_THREADS", "1")

from ablation_claims import FAILED, HELD, MARGIN, STUDIES, UNTOLD, Comparison, Ladder

from components.core.files import make_folder, read_json, write_text
from components.studies.answer import Answer, Row, answer, figure, reported
from components.studies.report.tables import difference
from components.studies.sentences import amount
from components.studies.sizes.prediction import Prediction
from components.studies.sizes.working import LAW
from components.studies.study import REPORTED, SPEEDS, STUDY, Study, Variant, read_speeds, read_study

ROOT = Path(__file__).parent.parent
PAGE, KEPT = ROOT / "docs" / "ablations.md", ROOT / "docs" / "ablations"
REPORT = "report.html"
FILES = (STUDY, SPEEDS, REPORT, LAW)


# -- running ---------------------------------------------------------------------------------------------------------------------


def run(name: str, folder: Path, *, dry: bool) -> Path:
    """Train what a study lacks, below ``folder``. Returns the study's folder."""
    import components

    os.chdir(make_folder(folder))
    asked: dict[str, Any] = dict(STUDIES[name].asked)
    if isinstance(STUDIES[name], Ladder):
        found: Any = components.scale(None, STUDIES[name].words, dry=dry, **asked)
    else:
        found = components.ablate(None, STUDIES[name].words, dry=dry, **asked)
    print(found, flush=True)
    return found.folder


def keep(name: str, folder: Path) -> None:
    """Copy what the page is made from, and the report."""
    into = make_folder(KEPT / name)
    for file in FILES:
        if (folder / file).exists():
            shutil.copyfile(folder / file, into / file)


# -- the page --------------------------------------------------------------------------------------------------------------------


def kept() -> list[str]:
    return [name for name in STUDIES if (KEPT / name / STUDY).exists()]


def page() -> str:
    there = kept()
    lines = [
        "# Published claims, tried here",
        "",
        "Each claim was written down before its study ran. A study here is small: it says what holds at its own scale, and nothing of larger models.",
        "How the differences are found, and how sure they are: [Ablations](ablate.md). Lower and higher are as the study's own test says. As good as another",
        f"is one whose whole 95 % interval lies within {MARGIN:.0%} of the other's loss, and no higher one whose interval ends below that.",
        "",
        *(summary(there) if there else ["No study has been run."]),
    ]
    for name in there:
        lines += ["", f"## {STUDIES[name].title}", "", *section(name)]
    lines += [
        "",
        "## Run them again",
        "",
        "```text",
        f"python bench/ablations.py --study {' '.join(STUDIES)} --write",
        "```",
        "",
        "It needs no download: the text is the standard library of the running Python, so that another version of Python gives somewhat other losses.",
        "A study that was stopped goes on. Study d compares times, and wants a machine that does nothing else.",
    ]
    if left := [f"{n} ({STUDIES[n].title[0].lower()}{STUDIES[n].title[1:]})" for n in STUDIES if n not in there]:
        lines += ["", f"Not run yet: {'; '.join(left)}."]
    return "\n".join(lines) + "\n"


def summary(there: list[str]) -> list[str]:
    lines = ["| study | claim | here |", "|---|---|---|"]
    for name in there:
        lines += [f"| {name} | {text} | {verdict} |" for text, verdict, _ in verdicts(name)]
    return lines


def verdicts(name: str) -> list[tuple[str, str, str]]:
    """(claim, whether it held, what was found) of each claim of a study."""
    asked = STUDIES[name]
    if isinstance(asked, Comparison):
        study = read_study(KEPT / name)
        return [(claim.text, *claim.of(study)) for claim in asked.claims]
    made = foretold(name)
    text = f"the loss of {asked.asked['next']} is foretold to {asked.margin:.0%}"
    if made.off is None or made.found is None:
        return [(text, UNTOLD, made.sentence)]
    return [(text, HELD if abs(made.off) <= asked.margin * made.found else FAILED, made.sentence)]


def foretold(name: str) -> Prediction:
    held = read_json(KEPT / name / LAW)["prediction"]
    known = {k: v for k, v in held.items() if k not in ("off", "within")}
    return Prediction(**{**known, "interval": None if known["interval"] is None else tuple(known["interval"])})


def section(name: str) -> list[str]:
    asked, study = STUDIES[name], read_study(KEPT / name)
    found, speeds = verdicts(name), read_speeds(KEPT / name)
    lines = [f"{asked.source}. {asked.told}", "", "```text", command(name), "```", ""]
    lines += [f"{scale_of(study)} [The report](ablations/{name}/{REPORT}) has the curves.", ""]
    lines += ["| claim | found | here |", "|---|---|---|"]
    lines += [f"| {text} | {sentence} | **{verdict}** |" for text, verdict, sentence in found]
    lines += ["", conclusion([verdict for _, verdict, _ in found]), ""]
    if isinstance(asked, Ladder):
        return [*lines, *ladder_table(name, study)]
    return [*lines, *table(study, answer(study, speeds))]


def command(name: str) -> str:
    verb = "scale" if isinstance(STUDIES[name], Ladder) else "ablate"
    words = (*STUDIES[name].words, *(f"{k}={v}" for k, v in STUDIES[name].asked.items()))
    return f"components {verb} {' '.join(map(shlex.quote, words))}"


def scale_of(study: Study) -> str:
    tokens = sorted(n for run in study.runs if run.role == REPORTED and (n := run.figures.get("tokens")) is not None)
    said = [
        f"{_between([amount(n) for n in sorted(v.parameters for v in study.variants)])} parameters",
        f"{_between([str(n) for n in sorted(v.steps for v in study.variants)])} steps",
        *([f"{_between([amount(n) for n in tokens])} tokens"] if tokens else []),
        f"{len(study.seeds)} seeds",
    ]
    return f"{', '.join(said)}, one thread."


def _between(said: list[str]) -> str:
    return said[0] if said[0] == said[-1] else f"{said[0]} to {said[-1]}"


def conclusion(found: list[str]) -> str:
    """Of all claims of a study, in a sentence."""
    counts = {verdict: found.count(verdict) for verdict in (HELD, FAILED, UNTOLD) if verdict in found}
    if len(counts) == 1:
        return f"At this scale {'the claim' if len(found) == 1 else 'each claim'} {found[0]}."
    return f"At this scale, of {len(found)} claims: {', '.join(f'{n} {verdict}' for verdict, n in counts.items())}."


def table(study: Study, found: Answer) -> list[str]:
    """The study's answer, with the columns that say something: what was tuned, and seconds where they were made equal."""
    columns: dict[str, Callable[[Row], str]] = {
        "variant": lambda row: f"`{row.variant}`",
        "parameters": lambda row: amount(row.parameters),
        "FLOPs/token": lambda row: amount(row.flops_per_token),
        "steps": lambda row: str(row.steps),
    }
    if (study.match or {}).get("budget") == "time":
        columns["seconds"] = lambda row: "unknown" if row.seconds is None else f"{row.seconds:.1f}"
    if study.tune is not None:
        columns["tuned"] = lambda row: tuned(study.variant(row.variant))
    columns[study.metric] = level
    columns["difference"] = lambda row: "" if row.effect is None else difference(row.effect)
    columns["beside the recipe"] = lambda row: "the recipe" if row.effect is None else row.effect.sentence
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return [*lines, *(f"| {' | '.join(cell(row) for cell in columns.values())} |" for row in found.rows)]


def level(row: Row) -> str:
    return "none" if row.mean is None else f"{row.mean:.3f}" + (f" ± {row.sd:.3f}" if row.sd is not None else "")


def ladder_table(name: str, study: Study) -> list[str]:
    """Each size with its loss, the next one last, the law with its intervals, and what the ladder says of its own dearest size."""
    kept = read_json(KEPT / name / LAW)
    law = kept["law"]
    lines = ["| size | parameters | FLOPs/token | steps | tuned | val_loss of each seed |", f"|{'---|' * 6}"]
    for v in study.variants:
        losses = [figure(run, study.metric) for run in reported(study, v.name)]
        found = ", ".join("none" if x is None else f"{x:.3f}" for x in losses)
        lines.append(
            f"| {' | '.join([v.name, amount(v.parameters), amount(v.flops_per_token), str(v.steps), tuned(v), found])} |"
        )
    said = []
    for constant, value in law["constants"].items():
        interval = law["intervals"].get(constant)
        said.append(f"{constant} = {value:.3g}" + ("" if interval is None else f" ({interval[0]:.3g} to {interval[1]:.3g})"))
    return [
        *lines,
        "",
        f"The law is `{law['form']}` with {', '.join(said)}; F is FLOPs of the whole training, in brackets 95 % by bootstrap.",
        "",
        kept["backtest"]["sentence"],
    ]


def tuned(variant: Variant) -> str:
    """What tuning chose."""
    return ", ".join(f"{path} {value:g}" for path, value in (variant.tuned or {}).items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--study", nargs="+", choices=list(STUDIES), default=[], help="which to run; none: only the page is written"
    )
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / "ablations", help="where runs lie, and go on"
    )
    parser.add_argument("--dry", action="store_true", help="print the plan and its hours")
    parser.add_argument("--write", action="store_true", help="keep what was found, and write the page")
    asked = parser.parse_args()
    for name in asked.study:
        folder = run(name, asked.folder.absolute(), dry=asked.dry)
        if asked.write and not asked.dry:
            keep(name, folder)
            write_text(PAGE, page())
    if asked.write and not asked.study:
        write_text(PAGE, page())


if __name__ == "__main__":
    main()
