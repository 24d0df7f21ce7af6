"""A process that works for another: calls come in as pickles, and what comes of them goes out.

It is started as a program of its own and not by ``multiprocessing``, which would run the script of its parent once more, or copy a process in which
other threads hold locks. It imports what its work needs, and no torch.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback

from components.core.errors import UserError

START = "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); from components.corpus.worker import main; main()"


def main() -> None:
    """Answer calls until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal: the parent ends this one
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no reply

    def reply(kind: str, value: object) -> None:
        pickle.dump((kind, value), replies)
        replies.flush()

    try:
        while True:
            try:
                function, arguments = pickle.load(sys.stdin.buffer)
                reply("done", function(lambda n: reply("more", n), *arguments))
            except EOFError:
                return
            except BrokenPipeError:
                raise
            except UserError as e:
                reply("mistake", (e.where, e.what, e.instead))
            except BaseException as e:
                reply("fault", (f"{type(e).__name__}: {e}", traceback.format_exc()))
    except BrokenPipeError:  # the parent is gone; what was finished lies in the cache
        os._exit(1)
