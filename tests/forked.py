"""The command in a process of its own, forked from one that has imported everything: torch takes seconds, a fork none.

`Forked` is a `subprocess.Popen` whose process is forked by the one that this file becomes when it is run, which a
process of tests starts when it first needs it. What a fresh interpreter imports, and when, only a fresh one can show.
"""

from __future__ import annotations

import array
import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from functools import cache
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

HEAVY = (
    *("fastsketch_cli.app", "fastsketch_cli.commands", "fastsketch.conversion", "fastsketch.evaluation"),
    *("fastsketch.figures.augmentation", "fastsketch.figures.confusion", "fastsketch.figures.contact_sheet"),
    *("fastsketch.figures.curves", "fastsketch.figures.mistakes", "fastsketch.figures.tokens"),
    *("fastsketch.formats.inspection", "fastsketch.training.fit", "fastsketch.training.token_preview"),
    *("fastsketch.augment.kornia_pipeline", "fastsketch.demo.dataset", "fastsketch.inference"),
    *(
        "fastsketch.serve.serve",
        "matplotlib.backends.backend_agg",
        "rich.progress",
        "timm.models._hub",
        "torch._dynamo",
    ),
    *("typer.rich_utils", "imagecodecs", "uvicorn.protocols.http.h11_impl", "uvicorn.lifespan.on"),
)
"""What commands import. Whatever starts threads, which a fork does not take along, is left to them."""


# --------------------------------------------------------------------------------------------------- who asks


class Forked(subprocess.Popen[str]):
    """`python -m fastsketch ARGUMENTS...`, forked.

    Args:
        *arguments: Of the command.
        **options: As `Popen`'s; `cwd`, `env`, `start_new_session` and the streams are heard. Streams are text.
    """

    def __init__(self, *arguments: object, **options: Any) -> None:
        super().__init__(list(map(str, arguments)), text=True, **options)

    def _execute_child(
        self, args: Any, executable: Any, preexec: Any, close: Any, keep: Any, cwd: Any, env: Any, *rest: Any
    ) -> None:
        pipes, session = rest[3:9], rest[14]
        stdin, stdout, stderr = pipes[0], pipes[3], pipes[5]
        ended, tell = os.pipe()
        asked = {
            "arguments": args,
            "cwd": os.fspath(cwd or os.getcwd()),
            "env": dict(os.environ if env is None else env),
            "session": session,
        }
        streams = [own if given == -1 else given for own, given in enumerate((stdin, stdout, stderr))]
        length = len(message := json.dumps(asked).encode())
        asking = _zygote()
        socket.send_fds(asking, [length.to_bytes(4, "big")], [*streams, tell])
        asking.sendall(message)
        os.close(tell)
        self._close_pipe_fds(*pipes)
        self._child_created = True
        self._told = os.fdopen(ended, "rb")
        self.pid = int(self._told.readline())

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        if self.returncode is None and wait([self._told], 0):
            self._end()
        return self.returncode

    def _wait(self, timeout: float | None) -> int:
        if self.returncode is None:
            if not wait([self._told], timeout):
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self._end()
        return self.returncode

    def _end(self) -> None:
        self.returncode = int(self._told.readline())
        self._told.close()


def run(*arguments: object, timeout: float = 300, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; what it printed is kept."""
    with Forked(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options) as process:
        try:
            out, errors = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, errors)


@cache
def _zygote() -> socket.socket:
    """The line to the process that forks; it ends when this one does."""
    ours, theirs = socket.socketpair()
    with theirs:
        subprocess.Popen([sys.executable, __file__], stdin=theirs, stdout=subprocess.DEVNULL)
    return ours


# ----------------------------------------------------------------------------------------------- who is asked


def main() -> None:
    """Fork for everyone who asks, until nobody can."""
    asked = socket.socket(fileno=0)
    for name in HEAVY:
        with suppress(ImportError):  # what is not installed is not needed
            importlib.import_module(name)
    os.fsync = lambda descriptor: None  # as in the tests' own process
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        room = array.array("i")
        head, ancillary, *_ = asked.recvmsg(4, socket.CMSG_LEN(4 * room.itemsize))
        if not head:
            os._exit(0)
        room.frombytes(ancillary[0][2])
        message = asked.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
        if os.fork() == 0:
            _watch(json.loads(message), *room)
        for descriptor in room:
            os.close(descriptor)


def _watch(asked: dict[str, Any], stdin: int, stdout: int, stderr: int, tell: int) -> None:
    """Be the command's parent, and tell its process id and then how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if (child := os.fork()) == 0:
        os.close(tell)
        _become(asked, [stdin, stdout, stderr])
    for descriptor in {0, 1, 2, stdin, stdout, stderr}:
        os.close(descriptor)
    os.write(tell, b"%d\n" % child)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.write(tell, b"%d\n" % code)
    os._exit(0)


def _become(asked: dict[str, Any], streams: list[int]) -> None:
    """Run the command as `python -m fastsketch` does, and end as an interpreter does."""
    code = 1
    try:
        for number, descriptor in enumerate(streams):
            os.dup2(descriptor, number)
            os.close(descriptor)
        if asked["session"]:
            os.setsid()
        os.chdir(asked["cwd"])
        os.environ.clear()
        os.environ.update(asked["env"])
        tempfile.tempdir = None
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)
        sys.argv = ["fastsketch", *asked["arguments"]]
        try:
            runpy.run_module("fastsketch", run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    sys.path.remove(str(Path(__file__).parent))  # the tests' modules are none of a command's
    main()
