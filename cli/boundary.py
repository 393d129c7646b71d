"""The one place where errors become words: a line or two on stderr, and the exit code that goes with them."""

from __future__ import annotations

import errno
import logging
import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from . import process

LINE = 1000
"""Letters of a line of an error; of longer ones, such as a hostile file name, the middle is left out."""

_LESS_MEMORY = "use a smaller batch (data.batch_size, training.micro_batch), smaller images or a smaller model"

_REMEDIES = {
    errno.EACCES: "check who owns it and what its permissions are",
    errno.EDQUOT: "your quota is used up: free some space",
    errno.EIO: "the disk could not read or write: check it, and where possible copy the data elsewhere",
    errno.EMFILE: "raise the limit of open files (ulimit -n), or use fewer workers",
    errno.ENOMEM: _LESS_MEMORY,
    errno.ENOSPC: "free some space; nothing half-written is left",
    errno.EPERM: "check who owns it and what its permissions are",
    errno.EROFS: "choose a folder on another file system",
}


class _Notes(logging.Handler):
    """What the library has to say (which loader it chose, where it continues), a line each."""

    def emit(self, record: logging.LogRecord) -> None:
        from .console import errors

        if process.leads():
            errors.print(record.getMessage(), style="dim", markup=False, soft_wrap=True)


_notes = _Notes()


@contextmanager
def error_boundary() -> Iterator[None]:
    """Tell what went wrong, in one clear line where the user can mend it, and exit with its code.

    It may be entered within itself. The exceptions by which typer ends a command or refuses its options pass.

    Raises:
        SystemExit: Instead of any other exception.
    """
    logger = logging.getLogger("fastsketch")
    outermost = _notes not in logger.handlers
    logger.addHandler(_notes)
    logger.setLevel(logging.INFO)
    try:
        yield
    except (SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        if type(error).__module__.partition(".")[0] in ("typer", "click") and process.ending(error) is None:
            raise
        if process.DEBUG in os.environ:
            sys.excepthook(type(error), error, error.__traceback__)
        raise SystemExit(_answer(error)) from error
    finally:
        if outermost:
            logger.removeHandler(_notes)


def _answer(error: BaseException) -> int:
    """Tell `error`; return the exit code."""
    from fastsketch.errors import FastSketchError

    if isinstance(error, BrokenPipeError) and process.settle_streams():
        return 141  # 128 + SIGPIPE, as of any command whose reader has seen enough
    process.settle_streams()
    if end := process.ending(error):
        word, code = end
        _write([word])
        return code
    if isinstance(error, FastSketchError):
        _tell(error.message, _remedy(error.__cause__), error.hint)
        return error.exit_code
    if known := _known(error):
        _tell(*known)
    else:
        _tell_unexpected(error)
    return 1


def _known(error: BaseException) -> tuple[str, str | None] | None:
    """Message and hint for what the machine refuses: files, space, memory. None for what must be a bug."""
    if isinstance(error, OSError):
        return _told_by_the_system(error)
    if code := re.search(r"\(os error (\d+)\)", str(error)):  # how Rust's libraries say it: safetensors, tokenizers
        return _told_by_the_system(OSError(int(code[1]), os.strerror(int(code[1]))))
    if type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in str(error):
        return f"memory does not suffice, in: {_command()}", _LESS_MEMORY
    if isinstance(error, MemoryError):
        return f"memory does not suffice, in: {_command()}", "use fewer workers, smaller images or a smaller batch"
    if isinstance(error, RecursionError):
        return f"something that was read is nested too deeply, in: {_command()}", "no file of fastsketch's is"
    return None


def _told_by_the_system(error: OSError) -> tuple[str, str | None]:
    reason = error.strerror or str(error) or type(error).__name__
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    return (f"{' -> '.join(names)}: {reason}" if names else f"{reason}, in: {_command()}"), _remedy(error)


def _remedy(error: BaseException | None) -> str | None:
    """What helps against what the system refused, also where the library has put that into words of its own."""
    return _REMEDIES.get(error.errno or 0) if isinstance(error, OSError) else None


def _tell_unexpected(error: BaseException) -> None:
    """A bug of ours: what was being done, what happened, and where the whole of it is."""
    said = (str(error).strip().splitlines() or [""])[0]
    where = _written_down(error)
    whole = f"whole story in {where}" if where else f"set {process.DEBUG}=1 to see where"
    _tell(
        f"a bug in fastsketch ended: {_command()}",
        f"{type(error).__name__}{': ' * bool(said)}{said}",
        f"please report it ({whole})",
    )


def _written_down(error: BaseException) -> str | None:
    """The file that the full traceback is in, None if none could be written."""
    import platform
    import tempfile
    import traceback

    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", errors="backslashreplace", prefix="fastsketch-bug-", suffix=".txt", delete=False
        ) as file:
            file.write(f"{shlex.join(sys.argv)}\nPython {platform.python_version()}, {platform.platform()}\n\n")
            file.writelines(traceback.format_exception(error))
        return file.name
    except Exception:
        return None


def _command() -> str:
    """The command line, short enough for an error."""
    from fastsketch.errors import one_line

    return one_line(shlex.join(["fastsketch", *sys.argv[1:]]), 200)


def _tell(message: str, *hints: str | None) -> None:
    from fastsketch.errors import one_line

    color = "NO_COLOR" not in os.environ and sys.stderr.isatty()
    head = "\x1b[1;31merror:\x1b[0m" if color else "error:"
    first, *items = re.split(r"\n(?=  )", message)  # a list is indented; any other line break is part of a name
    lines = [f"{head} {one_line(first, LINE)}", *(one_line(item, LINE) for item in items)]
    _write(lines + [f"       {one_line(hint, LINE)}" for hint in hints if hint])


def _write(lines: list[str]) -> None:
    """Write to stderr. If nobody can take it, the exit code has to do."""
    try:
        sys.stderr.write("".join(f"{line}\n" for line in lines))
        sys.stderr.flush()
    except (OSError, ValueError):
        process.settle_streams()
