"""Where a write can fail: on a full disk, on one that is read-only, on one that breaks."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from fastsketch.errors import FastSketchError

_FULL = 1 << 20
"""With fewer bytes left a disk is full, whatever the writer says."""


GO_ON = "what was saved before is whole: make room for it, and the same command continues the run"


@contextmanager
def saving(path: Path, hint: str = GO_ON) -> Iterator[None]:
    """Around writing `path`: whatever the writer raises becomes one line that names it.

    Python raises an OSError, which names no file if it was a `write` that failed; safetensors an error of its own;
    torch a RuntimeError that says where in its sources.

    Raises:
        FastSketchError: It could not be written; what was there before is still whole.
    """
    try:
        yield
    except FastSketchError:
        raise
    except (OSError, SafetensorError, RuntimeError) as error:
        raise FastSketchError(
            f"{path} cannot be written: {_reason(error, path)}",
            hint=hint,
        ) from error


def _reason(error: Exception, path: Path) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if shutil.disk_usage(path.parent).free < _FULL:
        return "No space left on device"
    return (str(error) or type(error).__name__).splitlines()[0]
