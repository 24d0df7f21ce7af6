"""``make browser``: the pages of the glass box in a real Chromium; keeps the result, with date and versions, in ``tests/browser_result.txt``.

Arguments ``RUN=PROMPT``: pages of these runs are made by the command, timed, and opened too. ``--pictures FOLDER`` keeps screenshots.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))

from chromium import MISSING, find  # noqa: E402
from chromium import version as chromium_version  # noqa: E402


def missing() -> str:
    """What has to be installed, in a line; empty where nothing is missing."""
    if find() is None:
        return MISSING
    try:
        version("websocket-client")
    except PackageNotFoundError:
        return "the package websocket-client is missing: pip install websocket-client"
    return ""


def git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", metavar="RUN=PROMPT")
    parser.add_argument("--pictures", metavar="FOLDER")
    args = parser.parse_args(arguments)
    if line := missing():
        print(line, file=sys.stderr)
        return 2
    environment = {**os.environ, "GLASS_BOX_RUNS": os.pathsep.join(args.runs)}
    if args.pictures:
        environment["GLASS_BOX_PICTURES"] = str(Path(args.pictures).resolve())
    command = [sys.executable, "-m", "pytest", str(HERE / "pages.py"), "-vv", "-s", "--timeout=600", "-rfE"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = []
    for line in process.stdout or ():
        print(line, end="", flush=True)
        lines.append(line.rstrip())
    code = process.wait()
    date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    kept = [
        f"make browser: {date}, commit {git('rev-parse', 'HEAD')}, exit code {code}",
        f"{chromium_version()}, Python {platform.python_version()}, torch {version('torch')}, websocket-client {version('websocket-client')}",
        *(line for line in lines if line.startswith("made: ")),
        *(line.split("pages.py::")[-1] for line in lines if "pages.py::" in line and line.endswith(("PASSED", "FAILED"))),
        lines[-1] if lines else "",
    ]
    (ROOT / "tests" / "browser_result.txt").write_text("\n".join(dict.fromkeys(kept)) + "\n", encoding="utf8")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
