"""Runs commands of fastsketch, each in a fork of this process, which has imported everything heavy already.

Starting Python and importing torch takes three seconds, a fork a few milliseconds. DALI and FFCV start threads, which a
fork does not take along: they are imported in children alone.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import io
import os
import resource
import select
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import NoReturn

from fuzz.case import GIB, Outcome

MEMORY = 2 * GIB
"""Bytes of address space that a command may take beyond what the zygote holds."""

LIBRARIES = 8 * GIB
"""What FFCV and DALI map beyond it."""

SECONDS = 20
"""A command that takes more of the processor's time hangs."""

PATIENCE = 60
"""So many seconds by the clock may pass: others may be using the processor."""

LARGEST_FILE = GIB
MOST_OUTPUT = 1 << 20

HEAVY = (
    "fastsketch_cli.app",
    "fastsketch_cli.commands",
    "pydantic.type_adapter",
    "rich.progress",
    "rich._emoji_codes",
    "rich._spinners",
    "torch.utils.serialization.config",
    "fastsketch.conversion",
    "fastsketch.evaluation",
    "fastsketch.figures.confusion",
    "fastsketch.figures.contact_sheet",
    "fastsketch.figures.curves",
    "fastsketch.figures.mistakes",
    "fastsketch.formats.inspection",
    "fastsketch.training.fit",
    "fastsketch.figures.augmentation",
    "fastsketch.augment.kornia_pipeline",
    "fastsketch.figures.tokens",
    "fastsketch.training.token_preview",
    "fastsketch.demo.dataset",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_pdf",
    "matplotlib.backends.backend_svg",
    "rich.table",
    "rich.traceback",
    "timm.models._hub",
    "torch._dynamo",
    "torch.utils.data",
    "typer.rich_utils",
    "PIL.features",
    "imagecodecs",
)

WRITES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink", "shutil.rmtree"}
"""Audit events, besides `open`, of what changes files; their first argument is a path."""


def prepare() -> None:
    """Import what commands import, with one thread, and leave the collector nothing to touch in children."""
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", HF_HUB_OFFLINE="1", COLUMNS="160", MPLBACKEND="agg")
    for name in HEAVY:
        try:
            importlib.import_module(name)
        except ImportError:
            if name.startswith("fastsketch."):
                raise
    import torch
    from PIL import Image

    torch.set_num_threads(1)
    Image.init()
    gc.collect()
    gc.freeze()


def run(command: Sequence[str], folder: Path, libraries: bool = False, cage: Path | None = None) -> Outcome:
    """Run `fastsketch COMMAND...` in `folder`; whatever it changes outside of `cage` is told."""
    log = (cage or folder.parent) / "log"
    log.mkdir(exist_ok=True)
    paths = [log / name for name in ("stdout", "stderr", "trespasses", "held")]
    for path in paths:
        path.write_bytes(b"")
    sys.stdout.flush()
    sys.stderr.flush()
    started = perf_counter()
    child = os.fork()
    if child == 0:
        _command(command, folder, libraries, cage or folder.parent, paths)
    timed_out = not _ends(child, PATIENCE)
    try:  # what it started, and, if it hangs, itself
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        if timed_out:
            os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return Outcome(
        code=code,
        timed_out=timed_out or code == -signal.SIGXCPU,
        stdout=_read(paths[0]),
        stderr=_read(paths[1]),
        peak=max(0, usage.ru_maxrss * 1024 - int(_read(paths[3]) or 0)),
        seconds=perf_counter() - started,
        trespasses=_read(paths[2]).splitlines(),
        report="".join(map(_read, sorted((log.parent / "tmp").glob("fastsketch-bug-*")))),
    )


def _ends(child: int, seconds: float) -> bool:
    """Whether a process ends in time; it is left to be waited for."""
    descriptor = os.pidfd_open(child)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(1000 * seconds))
    finally:
        os.close(descriptor)


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(MOST_OUTPUT).decode("utf-8", "backslashreplace")


def _status(field: str) -> int:
    """Bytes, from this process's status: VmSize, VmRSS."""
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024


def _command(command: Sequence[str], folder: Path, libraries: bool, cage: Path, logs: list[Path]) -> NoReturn:
    """The child's life."""
    code = 70
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no child outlives the zygote
        os.setsid()
        _redirect(logs)
        for name in ("home", "tmp", "cache"):
            (cage / name).mkdir(exist_ok=True)
        os.environ.update(HOME=str(cage / "home"), TMPDIR=str(cage / "tmp"), XDG_CACHE_HOME=str(cage / "cache"))
        os.environ["XDG_STATE_HOME"] = str(cage / "state")
        tempfile.tempdir = None  # the zygote has asked already
        os.chdir(folder)
        logs[3].write_text(str(_status("VmRSS")))  # fewer pages than the zygote holds are mapped in a fork
        _watch(cage, logs[2])
        _limit(MEMORY + libraries * LIBRARIES)
        code = _main(command)
        for thread in threading.enumerate():  # as the interpreter does before it ends
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        os.write(2, traceback.format_exc().encode("utf-8", "backslashreplace"))
    finally:
        os._exit(code)


def _redirect(logs: list[Path]) -> None:
    for number, path in ((1, logs[0]), (2, logs[1])):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(descriptor, number)
        os.close(descriptor)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), encoding="utf-8", line_buffering=False)
    sys.stderr = io.TextIOWrapper(
        os.fdopen(2, "wb", closefd=False), encoding="utf-8", errors="backslashreplace", line_buffering=True
    )


def _limit(memory: int) -> None:
    size = _status("VmSize") + memory
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _watch(cage: Path, log: Path) -> None:
    """Record what this process changes outside of `cage`, devices and what the system tells of processes aside."""
    allowed = (os.path.realpath(cage) + os.sep, "/dev/", "/proc/")
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
                return
        elif event in WRITES:
            path = arguments[1] if event == "os.symlink" else arguments[0]
        else:
            return
        if isinstance(path, str | bytes):
            real = os.path.realpath(os.fsdecode(path))
            if not (real + os.sep).startswith(allowed):
                os.write(descriptor, f"{event} {real}\n".encode("utf-8", "backslashreplace"))

    sys.addaudithook(hook)


def _main(command: Sequence[str]) -> int:
    from fastsketch_cli.app import main

    sys.argv = ["fastsketch", *command]
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0
