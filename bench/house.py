"""``python bench/house.py``: how the house stands, measured from its source: entries, arrows between rooms, circles of files, probes, ``Any``.

``--picture FILE`` draws the rooms and the imports between them as an SVG, as docs/concepts/architecture.md shows them; ``--pyright`` counts its errors too.
Imports inside functions count like all others. tests/test_floors.py holds the order of the rooms and asks this file.
"""

from __future__ import annotations

import argparse
import ast
import json
import math
import subprocess
import sys
from collections import Counter
from functools import cache
from itertools import combinations
from pathlib import Path

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src"
PACKAGE = SRC / "components"
# from the ground up: a room imports itself and what stands before it
ROOMS = (
    *("core", "functional", "corpus", "parts", "compose", "interop", "runs", "generation", "evaluating", "explain"),
    *("training", "studies", "check", "catalogue", "cli"),
)
FACE = ("__init__", "__main__")  # names the public functions by their modules; starts the command line


def sources(package: Path = PACKAGE) -> list[Path]:
    return sorted(package.rglob("*.py"))


def dotted(file: Path) -> str:
    parts = file.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module: str) -> str:
    """The room of ``components.room.file``; of the package itself an empty string."""
    return [*module.split("."), ""][1]


@cache
def graph() -> dict[str, frozenset[str]]:
    """{module: modules of this package that it imports}, wherever in the file the import stands."""
    files = {dotted(f): f for f in sources()}

    def nearest(name: str) -> str:
        while name and name not in files:
            name = name.rpartition(".")[0]
        return name

    found = {}
    for module, file in files.items():
        names: set[str] = set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf8"))):
            if isinstance(node, ast.Import):
                names |= {nearest(a.name) for a in node.names}
            elif isinstance(node, ast.ImportFrom):
                names |= {nearest(f"{node.module}.{a.name}") for a in node.names}
        found[module] = frozenset(names - {"", module, "components"})
    return found


def up() -> list[tuple[str, str]]:
    """Imports of a module in a room that stands above."""
    order = {name: i for i, name in enumerate(ROOMS)}
    pairs = [(a, b) for a, imported in graph().items() for b in imported if room(a) not in ("", *FACE) and room(b)]
    return sorted((a, b) for a, b in pairs if order.get(room(b), -1) > order.get(room(a), len(order)))


def arrows() -> Counter[tuple[str, str]]:
    """How many imports go from a room to another."""
    pairs = [(room(a), room(b)) for a, imported in graph().items() for b in imported]
    return Counter((a, b) for a, b in pairs if a != b and a in ROOMS and b in ROOMS)


def circles() -> list[list[str]]:
    """Sets of files that import one another, directly or around corners (Tarjan's strongly connected components)."""
    links, index, low = graph(), {}, {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in links[module]:
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            circle = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(circle) > 1:
                found.append(sorted(circle))

    for module in links:
        if module not in index:
            visit(module)
    return found


def entries() -> list[str]:
    """What ``ls src/components`` shows."""
    return sorted(p.name for p in PACKAGE.iterdir() if p.name != "__pycache__")


def probes() -> int:
    """``getattr`` and ``hasattr`` of an attribute that is named in the code."""
    calls = [n for f in sources() for n in ast.walk(ast.parse(f.read_text(encoding="utf8"))) if isinstance(n, ast.Call)]
    asked = [c for c in calls if isinstance(c.func, ast.Name) and c.func.id in ("getattr", "hasattr") and len(c.args) > 1]
    return sum(isinstance(c.args[1], ast.Constant) for c in asked)


def functions_with_any() -> int:
    """Functions whose signature says ``Any``."""
    trees = [ast.parse(f.read_text(encoding="utf8")) for f in sources()]
    found = [n for tree in trees for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return sum(any(isinstance(x, ast.Name) and x.id == "Any" for a in annotations(f) for x in ast.walk(a)) for f in found)


def annotations(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.expr]:
    every = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    every += [a for a in (function.args.vararg, function.args.kwarg) if a is not None]
    return [a for a in (*(e.annotation for e in every), function.returns) if a is not None]


def alike() -> int:
    """Pairs of files that share six consecutive lines of code: blank lines, comments, docstrings and imports are left out."""
    held: dict[tuple[str, ...], set[Path]] = {}
    for file in sources():
        text = file.read_text(encoding="utf8")
        tree = ast.parse(text)
        skipped: set[int] = set()
        for node in ast.walk(tree):
            documents = (
                isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
            )
            if documents or isinstance(node, (ast.Import, ast.ImportFrom)):
                skipped |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        numbered = ((i, line.strip()) for i, line in enumerate(text.splitlines(), start=1))
        code = [line for i, line in numbered if line and not line.startswith("#") and i not in skipped]
        for start in range(len(code) - 5):
            held.setdefault(tuple(code[start : start + 6]), set()).add(file)
    return len({pair for files in held.values() for pair in combinations(sorted(files), 2)})


def lines() -> int:
    return sum(len(f.read_text(encoding="utf8").splitlines()) for f in sources())


def pyright_errors() -> int:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("pyright")), "--outputjson", "--project", "/dev/null", str(PACKAGE)],
        capture_output=True,
        text=True,
    )
    return int(json.loads(done.stdout)["summary"]["errorCount"])


def picture() -> str:
    """The rooms, the ground floor at the bottom, and an arc for each pair with imports, as SVG for light and dark pages."""
    counts, files = arrows(), Counter(room(m) for m in graph())
    shown = list(reversed(ROOMS))
    step, top, box, left = 44, 20, 190, 20
    y = {name: top + i * step + 16 for i, name in enumerate(shown)}
    rows = []
    for (above, below), count in sorted(counts.items()):
        apart, edge = shown.index(below) - shown.index(above), left + box
        reach, wide = edge + 18 + 30 * apart, 0.6 + math.log10(count)
        path = f"M{edge} {y[above]} C{reach} {y[above]} {reach} {y[below]} {edge + 6} {y[below]}"
        rows.append(f'<path d="{path}" stroke-width="{wide:.1f}"><title>{above} imports {below}: {count}</title></path>')
        rows.append(f'<path d="M{edge} {y[below]} l8 -4 l0 8 z" class="head"/>')
    for name in shown:
        rows.append(f'<rect x="{left}" y="{y[name] - 16}" width="{box}" height="32" rx="6"/>')
        rows.append(f'<text x="{left + 10}" y="{y[name] + 5}" class="name">{name}</text>')
        what = f"{files[name]} file{'s' if files[name] > 1 else ''}"
        rows.append(f'<text x="{left + box - 10}" y="{y[name] + 5}" text-anchor="end">{what}</text>')
    style = (
        "svg{background:#fff}text{font:13px sans-serif;fill:#333}.name{font-weight:bold}rect{fill:#eaf0f8;stroke:#7a94b8}"
        "path{fill:none;stroke:#7a94b8;opacity:.6}.head{fill:#7a94b8;stroke:none;opacity:1}"
        "@media(prefers-color-scheme:dark){svg{background:#14171c}text{fill:#e4e7ec}rect{fill:#243044;stroke:#6a8ab8}}"
    )
    size = f'width="560" height="{top + len(shown) * step}" viewBox="0 0 560 {top + len(shown) * step}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<style>{style}</style>\n' + "\n".join(rows) + "\n</svg>\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", metavar="FILE", help="write the picture of the rooms")
    parser.add_argument("--pyright", action="store_true", help="count pyright's errors over all of src too: a minute")
    asked = parser.parse_args()
    if asked.picture:
        Path(asked.picture).write_text(picture(), encoding="utf8")
        return
    sys.setrecursionlimit(10_000)
    print(f"{len(entries()):6}  entries in src/components")
    print(f"{len(circles()):6}  circles of files, imports inside functions counted")
    print(f"{len(up()):6}  imports that run up, between {len(ROOMS)} rooms and {len(arrows())} arrows")
    print(f"{lines():6}  lines in {len(sources())} files")
    print(f"{alike():6}  pairs of files that share six consecutive lines of code")
    print(f"{functions_with_any():6}  functions with Any in their signature")
    print(f"{probes():6}  probes by getattr or hasattr of a named attribute")
    if asked.pyright:
        print(f"{pyright_errors():6}  errors of pyright, standard mode, over all of src/components")


if __name__ == "__main__":
    main()
