"""Runs the corpus: one process that has imported everything, a fork of it for each case, with bounds of memory and time.

``python run_cases.py FOLDER RESULTS [PATTERN]`` writes one line of JSON a case: how it ended, and what is wrong with that. Without a
pattern a share of them all; ``.`` is all.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from corpus import CKPT, RECIPE, RUN, Case, cases, thinned

SECONDS, MEMORY, AT_ONCE = 20, 3 * 2**30, 2
SHARE, OF_VALUES = 6, 24
SOUND, OUTSIDE = "sound", "outside"
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def make_sound(root: Path) -> None:
    """A trained run, a second one, its checkpoint, a recipe, its text, an exported folder and a GGUF file."""
    from components.cli import main

    folder = root / SOUND
    folder.mkdir()
    os.chdir(folder)
    Path("r.yaml").write_text(RECIPE)
    (folder / "recipes").mkdir()
    Path("text.txt").write_text("\n\n".join(f"the {w} number {i} is here" for i in range(30) for w in ("tree", "stone")))
    assert main(["train", "recipe=./r.yaml", "model.context_length=16"]) == 0
    (made,) = Path("runs/r").iterdir()
    Path("runs/tiny").mkdir()
    made.rename(RUN)
    Path("runs/r").rmdir()
    shutil.copytree(RUN, "runs/tiny/s")
    shutil.copy(CKPT, "x.ckpt")
    make_shards(Path("s.ckpt"))
    assert main(["export", "x.ckpt", "--to", "hf"]) == 0
    assert main(["export", "x.ckpt", "--to", "x.gguf"]) == 0
    assert main(["import", "hf", "--to", "imported"]) == 0  # warms up what the cases need
    shutil.rmtree("imported")
    warm_up(Path("x.gguf"))
    assert main(["generate", "x.ckpt", "--max-new-tokens", "2"]) == 0
    assert main(["generate", "s.ckpt", "--max-new-tokens", "2"]) == 0
    assert main(["evaluate", "x.ckpt"]) == 0
    assert main(["runs", RUN, "runs/tiny/s"]) == 0


def warm_up(file: Path) -> None:
    """Reads a GGUF file with a sound tokenizer inside, so that transformers is there."""
    from hostile_gguf import tokenizer, vocabulary

    from components.cli import main

    held = file.read_bytes()
    vocabulary(**tokenizer())(file.parent)
    assert main(["import", str(file), "--to", "imported"]) == 0
    shutil.rmtree("imported")
    file.write_bytes(held)


def make_shards(to: Path) -> None:
    """A checkpoint in the shards of two ranks: the same run, in processes of its own, since this one forks later."""
    layout = ["trainer.strategy={name: fsdp2, checkpoint: sharded}", "trainer.devices=2", "paths.runs=shards"]
    words = [sys.executable, "-m", "components", "train", "recipe=./r.yaml", "model.context_length=16", *layout]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (made,) = Path("shards/r").iterdir()
    shutil.move(made / "checkpoints" / "last.ckpt", to)
    shutil.rmtree("shards")


def start(case: Case, root: Path) -> tuple[int, Path]:
    """(process, its folder) of a case that has begun."""
    home = Path(tempfile.mkdtemp(dir=root))
    folder = home / "here"
    shutil.copytree(root / SOUND, folder)
    (home / OUTSIDE).mkdir()
    case.make(folder)
    (home / "before").write_text(state(home / OUTSIDE))
    pid = os.fork()
    if pid == 0:
        child(case, home)
    return pid, home


def child(case: Case, home: Path) -> None:
    """Never returns: the exit code is the command's, 1 with a traceback on stderr."""
    code = 1
    try:
        os.chdir(home / "here")
        os.environ["COMPONENTS_CACHE"], tempfile.tempdir = str(home / "cache"), str(home / "tmp")
        for folder in ("cache", "tmp"):
            (home / folder).mkdir()
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(home / name, os.O_WRONLY | os.O_CREAT), number)
        (home / "in").write_text("hi\n")
        os.dup2(os.open(home / "in", os.O_RDONLY), 0)
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(i, m, encoding="utf8") for i, m in ((0, "r"), (1, "w"), (2, "w")))
        watch(home)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
        from components.cli import main

        code = main(list(case.words))
    except SystemExit as e:
        code = e.code if isinstance(e.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def watch(home: Path) -> None:
    """Say so where anything outside of the case's folder is opened for writing, or a process is started."""
    own = (str(home), "/dev/")
    here = os.path.realpath(home)

    def hook(event: str, arguments: tuple) -> None:
        if event in ("os.system", "os.exec", "os.posix_spawn"):
            os.write(2, b"RAN CODE\n")
        elif event == "open" and isinstance(arguments[0], str) and isinstance(arguments[2], int) and arguments[2] & WRITES:
            path = os.path.abspath(arguments[0])
            through = os.path.realpath(path)
            if not path.startswith(own) or (through.startswith(os.path.join(here, OUTSIDE))):
                os.write(2, f"WROTE {path}\n".encode())

    sys.addaudithook(hook)


def state(folder: Path) -> str:
    """Names and contents below a folder."""
    held = {
        str(f.relative_to(folder)): hashlib.sha1(f.read_bytes()).hexdigest() for f in sorted(folder.rglob("*")) if f.is_file()
    }
    return json.dumps(held)


def judged(case: Case, home: Path, status: int) -> str:
    """What is wrong with how it ended; nothing if all is right."""
    err = (home / "err").read_text(errors="replace") if (home / "err").exists() else ""
    if state(home / OUTSIDE) != (home / "before").read_text():
        return f"wrote outside of its folder: {state(home / OUTSIDE)}"
    if found := re.search(r"(RAN CODE|WROTE .*)\n", err):
        return found[1]
    if os.WIFSIGNALED(status):
        return f"ended by signal {os.WTERMSIG(status)}"
    code, lines = os.WEXITSTATUS(status), [line for line in err.splitlines() if line.startswith("error: ")]
    if code not in (0, 2):
        return f"exit {code}: {(err.strip().splitlines() or [''])[-1][:200]}"
    if code == 0:
        return "" if case.fine else "was believed"
    if len(lines) != 1 or "Traceback" in err:
        return f"{len(lines)} error lines"
    if len(lines[0]) > 300 or not lines[0].isprintable():
        return f"a line of {len(lines[0])} characters"
    if case.says and not any(word in lines[0] for word in case.says):
        return f"names none of {case.says}: {lines[0]}"
    return ""


def main() -> None:
    root, results, pattern = Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute(), (*sys.argv[3:], "")[0]
    os.environ.update(
        OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1", COMPONENTS_CACHE=str(root / "cache")
    )
    make_sound(root)
    running: dict[int, tuple[Case, Path, float]] = {}
    left = [c for c in cases() if re.search(pattern, c.name)]
    if not pattern:
        left = thinned(left, SHARE, OF_VALUES)
    with results.open("w") as f:
        while left or running:
            while left and len(running) < AT_ONCE:
                case = left.pop(0)
                pid, home = start(case, root)
                running[pid] = (case, home, time.time())
            pid, status = os.wait()
            case, home, began = running.pop(pid)
            line = {"name": case.name, "wrong": judged(case, home, status), "seconds": round(time.time() - began, 2)}
            f.write(json.dumps(line) + "\n")
            f.flush()
            shutil.rmtree(home)


if __name__ == "__main__":
    main()
