"""Check a part against the contract of its kind, property by property: a built-in part, a plug-in's, or any registered class.

  components check attention/gqa n_kv_heads=2
  components check my_package.module:MyAttention model.n_layers=4

Exit code 0 if all properties hold, 1 if one does not.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from components.core import layout, terminal

VERB = {
    "sentence": "check a part, one of yours too, against the contract of its kind",
    "group": "extend",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="KIND/NAME | PACKAGE.MODULE:CLASS", help="the part")
    parser.add_argument(
        "options", nargs="*", metavar="option=value", help="the part's; model.OPTION=value: of the model around it"
    )
    parser.add_argument("--kind", help="of a class that no decorator registers")
    parser.add_argument("--only", metavar="WORDS", help="only properties whose name has these words in it")
    parser.add_argument("--json", action="store_true", help="as data")


def run(args: argparse.Namespace) -> int:
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as with python -m: modules of this folder can be imported
    from components.check import Host, battery, judged, subject_of
    from components.core.errors import UserError
    from components.training.unchecked import remember

    subject = subject_of(args.what, args.options, kind=args.kind)
    whole = battery(subject)
    if not whole:
        raise UserError(subject.label, "no property applies to it as it stands")
    cases = [c for c in whole if args.only is None or args.only in c.name]
    if not cases:
        raise UserError(subject.label, f"no property has {args.only!r} in its name", "without --only all are checked")
    host = Host.of(subject)
    where = f"{subject.label} {host}" if subject.kind in _on_path() else subject.label
    if args.json:
        verdicts = list(judged(cases))
        if cases == whole and all(v.holds for v in verdicts):
            remember(subject.label, subject.target)
        found = [{"property": v.name, "holds": v.holds, "text": v.text} for v in verdicts]
        terminal.show(json.dumps({"part": subject.label, "kind": subject.kind, "where": where, "properties": found}, indent=1))
        return int(not all(v.holds for v in verdicts))
    terminal.show(where)
    wrong = 0
    for v in judged(cases):
        wrong += not v.holds
        mark = "  holds  " if v.holds else layout.styled("  FAILS  ", "red")
        terminal.show(f"{mark}{v.name}{f': {v.text}' if v.text else ''}", flush=True)
    if cases == whole and not wrong:
        remember(subject.label, subject.target)
    terminal.show(f"{len(cases)} properties, all hold" if not wrong else f"{wrong} of {len(cases)} properties do not hold")
    return int(bool(wrong))


def _on_path() -> tuple[str, ...]:
    from components.check.host import ON_PATH

    return ON_PATH
