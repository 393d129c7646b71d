"""What a process needs before anything else: signals that end it in one line, streams to write to, quiet libraries.

Only small modules of the standard library are imported here, so that Ctrl-C is answered from the first moment.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

DEBUG = "FASTSKETCH_DEBUG"
"""The environment variable that brings back tracebacks, and the warnings of libraries."""

_QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_VERBOSITY": "critical",
    "PYTHONWARNINGS": "ignore",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "TORCH_LOGS": "-all",
}
"""What keeps libraries from talking to our users; it is heard when they are imported, by our worker processes too."""

_ENDINGS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class Terminated(KeyboardInterrupt):
    """SIGTERM: whatever cleans up after Ctrl-C does so after this."""


class _State:
    process: int | None = None
    """The process that `listen` was called in; its forks end by signals as if they knew nothing of us."""
    working = False
    """Whether there is something to clean up, so that a signal has to be an exception."""
    received: int | None = None


def leads() -> bool:
    """Whether this process is the one that reports: under torchrun, the first."""
    return os.environ.get("RANK", "0") == "0"


def prepare() -> None:
    """Make the process ready; to be called before anything else."""
    listen()
    mend_streams()
    if DEBUG not in os.environ:
        hush()


# ---------------------------------------------------------------------------------------------------------- signals


def listen() -> None:
    """Let Ctrl-C and SIGTERM end the process with a word, not a traceback. Signals that are ignored stay ignored."""
    _State.process = os.getpid()
    for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is default:
            signal.signal(number, _on_signal)
    sys.unraisablehook = _on_unraisable


@contextmanager
def working() -> Iterator[None]:
    """Within this, a signal is a KeyboardInterrupt; before and after it the process ends at once."""
    _State.working = True
    try:
        yield
    finally:
        _State.working = False


def ending(error: BaseException) -> tuple[str, int] | None:
    """The word and the exit code for `error` if a signal is behind it, None if not.

    What a library makes of a KeyboardInterrupt in its midst may be any exception.
    """
    if _State.received is None and not isinstance(error, KeyboardInterrupt):
        return None
    number = _State.received or (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)
    return _ENDINGS[signal.Signals(number)], 128 + number


def _on_signal(number: int, frame: FrameType | None) -> None:
    if os.getpid() != _State.process:
        os._exit(128 + number)
    _State.received = number
    if _State.working:
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated
    try:
        os.write(2, f"{_ENDINGS[signal.Signals(number)]}\n".encode())
    finally:
        os._exit(128 + number)


def _on_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """Where Python would drop a KeyboardInterrupt (in a destructor, in a callback of the import), send it once more."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt) and _State.received is not None:
        from threading import Timer

        Timer(0.02, signal.raise_signal, [_State.received]).start()
    elif DEBUG in os.environ:
        sys.__unraisablehook__(unraisable)


# ---------------------------------------------------------------------------------------------------------- streams


def mend_streams() -> None:
    """Put the null device where a standard stream is closed, and write what a stream's encoding lacks as escapes.

    A closed one would be taken by the next file that is opened, into which errors would be written then.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest number that is free
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def settle_streams() -> bool:
    """Write out what is buffered; whether a reader is gone. What nobody can take goes to the null device."""
    gone = _reader_is_gone()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError) as error:
            gone = gone or isinstance(error, BrokenPipeError)
            try:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            except (OSError, ValueError):
                continue
    return gone


def _reader_is_gone() -> bool:
    """Whether stdout or stderr is a pipe that nobody reads any more."""
    if not hasattr(select, "poll"):  # Windows
        return False
    poll = select.poll()
    for number in (1, 2):
        poll.register(number, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


# ------------------------------------------------------------------------------------------------------------ noise


def hush() -> None:
    """Keep the warnings and logs of libraries from the terminal."""
    import logging
    import warnings

    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    # Without any handler, logging writes warnings to stderr by itself.
    logging.getLogger().addHandler(logging.NullHandler())
