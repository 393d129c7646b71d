"""The command `fastsketch`: first what answers Ctrl-C and every error, then the commands themselves."""

from __future__ import annotations

import sys
from typing import Any

from . import process


def main() -> None:
    """Entry point of the installed script.

    Raises:
        SystemExit: Always, with the exit code.
    """
    process.prepare()
    from .boundary import error_boundary

    with error_boundary():
        from .commands import app

        try:
            app()
        finally:
            sys.stdout.flush()  # where an error can still be told; at the interpreter's end it could not


def __getattr__(name: str) -> Any:
    if name == "app":  # the commands without what `main` does to the process, for tests and other programs
        from .commands import app

        return app
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
