"""Parts that are not well, each in its own way; a worker process imports them from here."""

from __future__ import annotations

import os
import signal
import time

from fastsketch.errors import BackendMissing


def well() -> str:
    return "1.2"


def missing() -> str:
    raise BackendMissing("spam is not installed", hint="pip install spam")


def broken() -> str:
    raise RuntimeError("no\nluck")


def silent() -> str:
    raise ValueError


def killed() -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


def stuck() -> str:
    time.sleep(600)
    return ""
