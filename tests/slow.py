"""``make slow``: the tests that take minutes on purpose; keeps the result, with date and commit, in ``tests/slow_result.txt``."""

from __future__ import annotations

import datetime
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
NOTHING_COLLECTED = 5


def git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()


def main(arguments: list[str]) -> int:
    command = [sys.executable, "-m", "pytest", "-m", "slow", "--timeout=3600", "-rfE", "--durations=0", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = []
    for line in process.stdout or ():
        print(line, end="", flush=True)
        lines.append(line.rstrip())
    code = process.wait()
    if arguments or code == NOTHING_COLLECTED:  # not the whole: nothing to keep
        return code
    state = (
        " (with uncommitted changes)"
        if git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs/results.md")
        else ""
    )
    date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    durations = [
        line
        for line in lines
        if line.endswith(("passed", "failed")) or "s call " in line or line.startswith(("FAILED", "ERROR"))
    ]
    kept = [f"{date}, commit {git('rev-parse', 'HEAD')}{state}, exit code {code}", *durations, *lines[-1:]]
    (ROOT / "tests" / "slow_result.txt").write_text("\n".join(dict.fromkeys(kept)) + "\n", encoding="utf8")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
