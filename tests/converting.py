"""What the tests of conversion share."""

from __future__ import annotations

import os
from pathlib import Path

from fastsketch.config import ConvertConfig

SIZE = 24
CONFIG = ConvertConfig(size=SIZE, split="12/4/2", workers=1)

KILLED_AFTER_A_CHUNK = """
import multiprocessing, os, signal, sys
from fastsketch.conversion import convert as convert
from fastsketch.conversion.journal import Journal
from fastsketch_cli.app import main

def save(journal, partial, save=Journal.save):
    save(journal, partial)
    if journal.done:
        print(os.getpid(), *(child.pid for child in multiprocessing.active_children()), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

Journal.save = save
convert.JOURNAL_SECONDS = 0
sys.argv = ["fastsketch", *sys.argv[1:]]
main()
"""
"""The same command, killed when its first chunk is written; it tells its own id before, and its workers'."""


def changed(**changes: object) -> ConvertConfig:
    """CONFIG with other values."""
    return CONFIG.model_copy(update=changes)


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def die(*_: object, **__: object) -> None:
    """End the process at once. It lies here, where a worker process can import it."""
    os._exit(9)
