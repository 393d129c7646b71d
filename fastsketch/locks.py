"""One process a folder: the second is refused in one line, not mixed into the first one's work."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastsketch.errors import FastSketchError

log = logging.getLogger(__name__)


@contextmanager
def exclusive(
    folder: Path, *, hint: str = "wait until it is done, or choose another destination", patience: float = 0.0
) -> Iterator[None]:
    """Hold `folder` (made if missing) against other processes that write it, for as long as this one lives.

    The lock is the folder's own: it goes with the folder when that is renamed, and with the process when it is
    killed. File systems that know no locks (some network drives) are trusted.

    Args:
        folder: What is written.
        hint: How to mend it when another process holds it.
        patience: Seconds to wait for it then.

    Raises:
        FastSketchError: Another process holds it.
    """
    try:
        import fcntl  # noqa: F401
    except ImportError:  # Windows
        folder.mkdir(parents=True, exist_ok=True)
        yield
        return
    until = time.monotonic() + patience
    while (descriptor := _locked(folder)) is None:
        if time.monotonic() >= until:
            raise FastSketchError(f"another process is writing {folder}", hint=hint)
        time.sleep(0.2)
    try:
        yield
    finally:
        os.close(descriptor)


def _locked(folder: Path) -> int | None:
    """A descriptor that holds the folder; None if another process does."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    # Between opening and locking, whoever held it may have finished and renamed it.
    if (
        _take(descriptor, folder, wait=False)
        and folder.exists()
        and os.path.samestat(os.fstat(descriptor), folder.stat())
    ):
        return descriptor
    os.close(descriptor)
    return None


def _take(descriptor: int, path: Path, *, wait: bool) -> bool:
    """Lock what is open, as soon as it is free or only if it is; whether it is ours then."""
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        log.debug("%s cannot be locked: %s", path, error)
    return True


@contextmanager
def held(path: Path, *, wait: bool) -> Iterator[bool]:
    """Take turns: hold a folder or a file (made if missing) against whoever else asks for it, in any process or thread.

    Args:
        path: What is held.
        wait: Until it is free; otherwise it may not be held within.

    Yields:
        Whether it is held. File systems that know no locks are trusted.
    """
    try:
        import fcntl  # noqa: F401
    except ImportError:  # Windows
        yield True
        return
    descriptor = os.open(path, os.O_RDONLY) if path.is_dir() else os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        yield _take(descriptor, path, wait=wait)
    finally:
        os.close(descriptor)
