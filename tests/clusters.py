"""What the tests of clusters share: decoding that goes wrong, imported by the workers from here, and where it runs."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

from converting import CONFIG

from fastsketch.config import ConvertConfig
from fastsketch.conversion import convert
from fastsketch.conversion.reading import Reading
from fastsketch.errors import BackendMissing
from fastsketch.sources.sample import Sample

DECODE = convert._decode_chunk

KILLED = """
import os, signal, sys
from fastsketch.conversion import convert as convert
from fastsketch.conversion.journal import Journal
from fastsketch_cli.app import main

def save(journal, partial, save=Journal.save):
    save(journal, partial)
    if journal.done >= 20:
        os.kill(os.getpid(), signal.SIGKILL)

Journal.save = save
convert.JOURNAL_SECONDS = 0
convert.CHUNK = 1
sys.argv = ["fastsketch", *sys.argv[1:]]
main()
"""
"""The command, killed in the middle."""

WAITING = """
import sys
from functools import partial
from pathlib import Path
from fastsketch.conversion import convert as convert
from fastsketch_cli.app import main

sys.path.append(sys.argv.pop(1))
import clusters

convert._decode_chunk = partial(clusters.wait_for, Path(sys.argv.pop(1)))
convert.CHUNK = 1
sys.argv = ["fastsketch", *sys.argv[1:]]
main()
"""
"""The command, with workers that wait for a file."""


def on(url: str) -> ConvertConfig:
    """CONFIG, on a cluster."""
    return CONFIG.model_copy(update={"workers": 0, "executor": url})


def die_once(folder: Path, id: str, samples: list[Sample], reading: Reading) -> Any:
    """The worker that first comes by a sample dies of it."""
    if any(sample.id == id for sample in samples):
        try:
            (folder / "died").touch(exist_ok=False)
        except FileExistsError:
            return DECODE(samples, reading)
        os.kill(os.getpid(), signal.SIGKILL)
    return DECODE(samples, reading)


def die(samples: list[Sample], reading: Reading) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for(file: Path, samples: list[Sample], reading: Reading) -> Any:
    """Nothing is decoded before there is a file; that something has begun is said in another."""
    file.with_suffix(".begun").touch()
    while not file.exists():
        time.sleep(0.01)
    return DECODE(samples, reading)


def lack_opencv(samples: list[Sample], reading: Reading) -> Any:
    raise BackendMissing.of("OpenCV", "no module named 'cv2'", "photo")


def lack_a_module(samples: list[Sample], reading: Reading) -> Any:
    importlib.import_module("fastsketch_of_old")


def fail(samples: list[Sample], reading: Reading) -> Any:
    raise ZeroDivisionError("a bug")


def free_port() -> int:
    with socket.socket() as there:
        there.bind(("127.0.0.1", 0))
        return int(there.getsockname()[1])
