"""Makes a Python that a test starts the window of one that has imported everything already: half a second of a core, and not six.

Python imports this while it starts, where a test has put this folder on PYTHONPATH (`warm_server.environment`). The command, its variables and its streams go to
the server, which forks; this process waits, hands on signals and ends as the forked one does. Whatever might differ from a cold start (an option of Python, a
variable that is read while something is imported, another copy of the library, a process that is given open files) starts cold.
"""

import os
import sys


def _command():
    """What is asked of Python, as (kind, what, arguments); None where it is more than the server does."""
    words = sys.orig_argv[1:]
    if words[:1] == ["-u"]:
        words = words[1:]
    if len(words) > 1 and words[0] in ("-m", "-c"):
        kind, what, rest = words[0], words[1], words[2:]
    elif words and not words[0].startswith("-"):
        kind, what, rest = "file", words[0], words[1:]
    else:
        return None
    of_their_own = ("multiprocessing", "joblib", "loky", "pytest", "pip", "venv", "ipykernel")
    return None if any(name in what for name in of_their_own) else (kind, what, rest)


def _window(address, command):
    import array
    import contextlib
    import json
    import signal
    import socket

    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    asked = {"command": command, "folder": os.getcwd(), "env": dict(os.environ), "window": os.getpid()}
    asked |= {"path": sys.path, "prefix": sys.prefix, "executable": sys.executable, "unbuffered": "-u" in sys.orig_argv[1:2]}
    text = json.dumps(asked).encode()
    streams = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))]
    connection.sendmsg([len(text).to_bytes(8, "little")], streams)
    connection.sendall(text)
    answers = connection.makefile()
    if not (pid := int(answers.readline())):
        return  # the server has other variables or another copy of the library

    def hands_on(number, _):
        with contextlib.suppress(ProcessLookupError):  # it has ended already, and its exit code is on its way
            os.kill(pid, number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT):
        signal.signal(number, hands_on)
    code = int(answers.readline() or -signal.SIGKILL)
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if (_address := os.environ.get("COMPONENTS_TESTS_WARM")) and (_asked := _command()):
    try:
        for _stream in (0, 1, 2):
            os.fstat(_stream)
        _window(_address, _asked)
    except OSError:
        pass  # no server, or a stream that is closed: a cold start does as well
