"""Exit codes, one line for a user's mistake, a traceback for ours."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time

import pytest

from components import cli
from components.cli import list as list_command
from components.cli import main
from components.cli.verbs import verbs


def said(capsys, *words: str) -> str:
    """The one line on stderr of a command that fails with 2."""
    assert main(list(words)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_overview_names_every_command(capsys):
    assert main([]) == 0
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in verbs())


@pytest.mark.parametrize("name", verbs())
def test_every_command_has_help(name, capsys):
    assert main([name, "--help"]) == 0
    assert f"components {name}" in capsys.readouterr().out


def test_unknown_command_names_the_nearest(capsys):
    assert "did you mean 'train'?" in said(capsys, "trian")


def test_unknown_flag_and_wrong_argument_are_one_line(capsys):
    assert "--nope" in said(capsys, "list", "--nope")
    assert "tcsh" in said(capsys, "completion", "tcsh")


def test_bad_override_beside_help_is_said(capsys):
    assert "model.nope" in said(capsys, "train", "model.nope=1", "--help")
    assert "did you mean" in said(capsys, "train", "model/atention=gqa", "--help")


def test_good_override_beside_help_prints_help(capsys):
    assert main(["train", "model.n_layers=3", "--help"]) == 0
    assert "usage: components train" in capsys.readouterr().out


def test_user_error_stays_one_line(capsys, monkeypatch):
    def run(_):
        raise cli.UserError("here", "two\nlines", "do\nthat")

    monkeypatch.setattr(list_command, "run", run)
    assert said(capsys, "list") == "error: here: two lines; do that\n"


def test_our_own_faults_keep_their_traceback(monkeypatch):
    def run(_):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(list_command, "run", run)
    with pytest.raises(ZeroDivisionError):
        main(["list"])


def test_interrupt_is_one_line_and_130(capsys, monkeypatch):
    def run(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(list_command, "run", run)
    assert main(["list"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_reader_that_has_seen_enough():
    done = subprocess.run(
        f"{sys.executable} -m components list --json | head -1", shell=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "{\n"
    assert done.stderr == ""


def test_twice_in_one_process(capsys):
    assert main(["list", "norm"]) == 0
    first = capsys.readouterr().out
    assert main(["list", "norm"]) == 0
    assert capsys.readouterr().out == first


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_in_a_real_process():
    code = (
        "import components.cli.list as l, time, sys\n"
        "l.run = lambda a: (print('up', flush=True), time.sleep(30))\n"
        "from components.cli import main\n"
        "sys.exit(main(['list']))"
    )
    # a shell that starts the tests with & has the signal ignored, in all that they start
    listening = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", code], **pipes, preexec_fn=listening)
    assert process.stdout.readline() == "up\n"
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "interrupted\n")
