"""A process that has imported everything and forks a child for every command that is to be disturbed.

Started by `harness.Zygote` with the modules to import, and with `faults.c` preloaded where there is a compiler: a line
of JSON in, a line out.
"""

from __future__ import annotations

import builtins
import ctypes
import gc
import importlib
import io
import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

TIMEOUT = 120
"""Seconds after which a command hangs."""


def main() -> None:
    """Answer requests until standard input ends."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whoever prints while it is imported disturbs no reply
    _warm(sys.argv[1:])
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _child(request)
        replies.write(json.dumps(_wait(pid)) + "\n")
        replies.flush()
    os._exit(0)


def _warm(modules: list[str]) -> None:
    """Import what the commands need, so that no child has to. The less it is, the faster a process forks."""
    from matplotlib.figure import Figure

    Figure.draw = lambda figure, renderer: None  # takes longer than a training; what is in a picture is no matter here
    Figure().savefig(io.BytesIO())
    for name in modules:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def _wait(pid: int) -> dict[str, int]:
    """The exit code of a child, negative for the signal that ended it."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return {"code": os.waitstatus_to_exitcode(status)}
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return {"code": TIMEOUT}
        time.sleep(0.002)


def _child(request: dict[str, Any]) -> None:
    """Run the command as the installed script would, disturbed as the request says."""
    code = 70
    try:
        os.chdir(request["folder"])
        for descriptor, name in ((0, os.devnull), (1, request["stdout"]), (2, request["stderr"])):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | (descriptor and os.O_TRUNC)), descriptor)
        sys.stdout, sys.stderr = (os.fdopen(descriptor, "w", encoding="utf-8") for descriptor in (1, 2))
        sys.argv = ["fastsketch", *request["arguments"]]
        sys.orig_argv = sys.argv
        for name, value in request["settings"].items():
            module, _, attribute = name.rpartition(".")
            setattr(importlib.import_module(module), attribute, value)
        {"events": _count_events, "calls": _count_calls}[request["instrument"]](request)
        from fastsketch_cli.app import main as command

        try:
            command()
            code = 0
        except SystemExit as exit:
            code = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


# ------------------------------------------------------------------------------------------ Python's audit events


def _count_events(request: dict[str, Any]) -> None:
    """Log every event that changes something under the folder, and die before the n-th takes effect.

    Or, if the request names a folder for copies, live on and put one there before every event: what a kill would leave.
    """
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    root, aim, copies = os.path.realpath(request["folder"]), request["at"], request["copies"]
    count, busy = 0, False

    def point(event: str, *paths: str) -> None:
        nonlocal count, busy
        inside = [path[len(root) + 1 :] for path in paths if path.startswith(root + "/")]
        if not inside or busy:
            return
        count += 1
        os.write(log, f"{event} {' '.join(inside)}\n".encode())
        if count == aim:
            os.kill(os.getpid(), signal.SIGKILL)
        if copies:
            busy = True
            shutil.copytree(root, os.path.join(copies, str(count)))
            busy = False

    sys.addaudithook(lambda event, arguments: None if busy else point(event, *_paths(event, arguments)))

    def around(module: Any, name: str, path_of: Callable[..., Any], *, before: bool = True, after: bool = True) -> None:
        """Events before and after a function that raises none, or not both."""
        real = getattr(module, name)

        def wrapped(*arguments: Any, **named: Any) -> Any:
            path = _absolute(path_of(*arguments, **named))
            if before:
                point(f"before {name}", path)
            result = real(*arguments, **named)
            if after:
                point(f"after {name}", path)
            return result

        setattr(module, name, wrapped)

    for module in (builtins, io):  # the file is there, and empty
        around(module, "open", lambda path, mode="r", *_, **__: path if set(mode) & set("wax+") else None, before=False)
    around(os, "fsync", lambda descriptor: descriptor, after=False)
    if "torch" in sys.modules:  # writes without Python's files
        around(sys.modules["torch"], "save", lambda value, path, *_, **__: path)


def _paths(event: str, arguments: tuple[Any, ...]) -> list[str]:
    """The paths that an event is about to change; none if it changes nothing."""
    if event == "open":
        path, mode, flags = arguments
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        if isinstance(path, int) or not (writes or set(mode or "") & set("wax+")):
            return []
        return [_absolute(path)]
    if event in ("os.rename", "os.link"):
        return [_absolute(arguments[0], arguments[2]), _absolute(arguments[1], arguments[3])]
    if event in ("os.remove", "os.rmdir", "os.mkdir"):
        return [_absolute(arguments[0], arguments[-1])]
    if event == "os.symlink":
        return [_absolute(arguments[1], arguments[2])]
    if event == "os.truncate":
        return [_absolute(arguments[0])]
    if event.startswith("shutil."):
        return [_absolute(each) for each in arguments[:2] if isinstance(each, str | os.PathLike)]
    return []


def _absolute(path: Any, folder: int = -1) -> str:
    """What a path, or a descriptor, relative to a folder's descriptor, means."""
    if isinstance(path, int):
        return os.readlink(f"/proc/self/fd/{path}")
    if not isinstance(path, str | bytes | os.PathLike):
        return ""
    base = os.readlink(f"/proc/self/fd/{folder}") if isinstance(folder, int) and folder >= 0 else os.getcwd()
    return os.path.normpath(os.path.join(base, os.fsdecode(path)))


# --------------------------------------------------------------------------------------------- the C library's calls


def _count_calls(request: dict[str, Any]) -> None:
    """Let `faults.c` log every call that changes something under the folder, and disturb the n-th."""
    ctypes.CDLL(None).faults_arm(
        os.path.realpath(request["folder"]).encode(),
        request["log"].encode(),
        ctypes.c_long(request["at"]),
        request["errno"],
    )


if __name__ == "__main__":
    main()
