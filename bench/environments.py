"""An environment for each library that the bench measures: their requirements exclude each other. ``python bench/peers.py install`` makes them.

Each is a venv that also sees what this project itself requires, from the Python that makes it, behind its own packages: torch is not downloaded a second time,
and the version is the same on both sides. What a library pins otherwise (litgpt an older hub than transformers 5) is in its own environment alone. More is not
seen: torchmetrics would find a transformers that does not go with litgpt's hub.
"""

from __future__ import annotations

import json
import subprocess
import venv
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

HERE = Path(__file__).parent
INTO = HERE.parent / ".venv-bench"  # one folder in it for each library
WANTED = {
    "transformers": ["transformers>=5.2,<6"],
    "litgpt": ["litgpt"],
    "x-transformers": ["x-transformers"],
}


def python_of(name: str, into: Path = INTO) -> Path | None:
    """The Python of a library's environment; None where there is none."""
    python = into / name / "bin" / "python"
    return python if python.exists() else None


def make(name: str, into: Path = INTO, wanted: Sequence[str] | None = None) -> Path:
    """A new environment with ``wanted`` (what WANTED says of ``name``); returns its Python."""
    folder = into / name
    venv.create(folder, with_pip=True, clear=True)
    python = folder / "bin" / "python"
    own = Path(_said(python, "import sysconfig; print(sysconfig.get_path('purelib'))"))
    shared = folder / "shared"
    shared.mkdir()
    for entry in required("lightning-components"):
        (shared / entry.name).symlink_to(entry)
    # a path in a .pth file comes behind the environment's own, so that what is installed there wins
    (own / "shared.pth").write_text(f"{shared}\n", encoding="utf8")
    packages = WANTED[name] if wanted is None else wanted
    if packages:
        subprocess.run([python, "-m", "pip", "install", "--disable-pip-version-check", "-q", *packages], check=True)
    return python


def required(root: str) -> set[Path]:
    """Files and folders in site-packages of all that ``root`` requires, itself excepted, and of all that these require."""
    waiting, seen, found = [root], {root}, set()
    while waiting:
        try:
            one = distribution(waiting.pop())
        except PackageNotFoundError:  # for another system or Python
            continue
        for line in one.requires or ():
            wanted = Requirement(line)
            if wanted.name not in seen and (wanted.marker is None or wanted.marker.evaluate({"extra": ""})):
                seen.add(wanted.name)
                waiting.append(wanted.name)
        if one.metadata["Name"] != root:
            at = Path(str(one.locate_file("")))
            found |= {at / f.parts[0] for f in one.files or () if f.parts[0] not in ("..", "__pycache__")}
    return found


def versions(python: Path, names: Sequence[str]) -> dict[str, str]:
    """{package: version} of those that this Python sees."""
    code = "import json, sys\nfrom importlib.metadata import PackageNotFoundError, version\nfound = {}\n"
    code += "for name in sys.argv[1:]:\n    try: found[name] = version(name)\n    except PackageNotFoundError: pass\nprint(json.dumps(found))"
    return json.loads(_said(python, code, *names))


def install(into: Path = INTO, only: Sequence[str] = ()) -> None:
    """Makes the environments of all libraries, or of some, and says what is in them."""
    for name in only or WANTED:
        print(f"{name}: an environment in {into / name} ...", flush=True)
        python = make(name, into)
        print(
            "  " + ", ".join(f"{n} {v}" for n, v in versions(python, ("torch", name, "huggingface-hub", "numpy")).items()),
            flush=True,
        )


def _said(python: Path, code: str, *arguments: str) -> str:
    return subprocess.run([python, "-c", code, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
