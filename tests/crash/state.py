"""What a folder holds: compared with an undisturbed run's, and looked through for anything half-made."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import yaml
from PIL import Image
from safetensors.torch import load

from fastsketch.formats.inspection import verify
from fastsketch.formats.metadata import DatasetMetadata

CLOCK = ("started", "epochs_done", "seconds", "images_per_second")
"""Keys and columns whose values no two runs share."""

TEMPORARY = re.compile(r"(?:^|/)\.[^/]*")
"""What has such a name is not visible under a final name."""

RANDOM = re.compile(r"(-writes-|\.saving-|\.tmp)[^/.]*")
"""The part of a temporary file's name that is another one every time."""

State = dict[str, str]
"""Every path below a folder, hidden ones too: `folder`, or a digest of all but what the clock decides."""


def state_of(root: Path) -> State:
    """The state of everything below `root`."""
    return {
        str(path.relative_to(root)): "folder" if path.is_dir() else _digest(path)
        for path in sorted(root.rglob("*"))
        if not path.is_symlink()
    }


def key_of(state: State) -> str:
    """The same for states that differ only in the names and contents of temporary files."""
    lines = sorted(
        RANDOM.sub(r"\1", path) + "\n" if TEMPORARY.search(path) else f"{path} {content}\n"
        for path, content in state.items()
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def differences(state: State, expected: State) -> list[str]:
    """A line for every path that is missing, too many, or not what it should be."""
    return [
        f"{path}: {'missing' if path not in state else 'left over' if path not in expected else 'differs'}"
        for path in sorted(state.keys() | expected.keys())
        if state.get(path) != expected.get(path)
    ]


def half_made(root: Path) -> list[str]:
    """What is visible under a final name and cannot be read whole, a line each."""
    found = []
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_dir() or TEMPORARY.search(name) or (".partial/" in name and path.suffix != ".json"):
            continue
        try:
            _read(path)
        except Exception as error:
            found.append(f"{name}: {type(error).__name__} {str(error).splitlines()[:1]}")
    return found


def _read(path: Path) -> None:
    """Read a file whole, as who uses it would."""
    if path.name == "dataset.json" and path.parent.name.startswith(
        "data"
    ):  # else it is a run's copy, without the files
        verify(path.parent, DatasetMetadata.load(path.parent))
    elif path.suffix == ".json":
        json.loads(path.read_text("utf-8"))
    elif path.suffix == ".jsonl":
        assert all(json.loads(line) for line in path.read_text("utf-8").splitlines())
    elif path.suffix == ".yaml":
        assert yaml.safe_load(path.read_text("utf-8"))
    elif path.suffix == ".csv":
        rows = list(csv.reader(io.StringIO(path.read_text("utf-8"))))
        assert len({len(row) for row in rows}) == 1
    elif path.suffix == ".safetensors":
        load(path.read_bytes())
    elif path.suffix == ".pt":
        torch.load(path, weights_only=True)
    elif path.suffix == ".png":
        Image.open(path).load()


# ------------------------------------------------------------------------------------------------ without the clock


def _digest(path: Path) -> str:
    content = path.read_bytes()
    if not TEMPORARY.search(path.name):
        with suppress(Exception):  # half-made: then every byte counts
            content = _timeless(path, content)
    return hashlib.sha256(content).hexdigest()


def _timeless(path: Path, content: bytes) -> bytes:
    """A file's content without what the clock decides, and however many sessions a run took."""
    if path.name == "resume.previous.pt":
        return b"whatever was saved before the last"
    if path.name == "curves.png":
        return b"with a mark where each session began"
    if path.name == "run.json":
        sessions = json.loads(content)["sessions"]
        return "".join(sorted({json.dumps(_without_clock(session)) for session in sessions})).encode()
    if path.name == "metrics.jsonl":
        return "".join(json.dumps(_without_clock(json.loads(line))) for line in content.splitlines()).encode()
    if path.name == "metrics.csv":
        rows = csv.DictReader(io.StringIO(content.decode()))
        return "".join(json.dumps(_without_clock(row)) for row in rows).encode()
    if path.suffix == ".pt":
        digest = hashlib.sha256()
        _feed(digest, torch.load(io.BytesIO(content), weights_only=True))
        return digest.digest()
    return content


def _without_clock(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in CLOCK}


def _feed(digest: Any, value: Any) -> None:
    """Add tensors and plain values, however nested."""
    if isinstance(value, dict):
        for key, each in _without_clock(value).items():
            digest.update(repr(key).encode())
            _feed(digest, each)
    elif isinstance(value, list | tuple):
        for each in value:
            _feed(digest, each)
    elif isinstance(value, torch.Tensor):
        digest.update(value.contiguous().numpy().tobytes())
    else:
        digest.update(repr(value).encode())
