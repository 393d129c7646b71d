"""Exported files, opened again."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastsketch.errors import DataError, one_line
from fastsketch.inference.description import KEY, Description
from fastsketch.optional import import_optional

_PLAIN = ("weight_", "tensor_")
"""How names of files begin, in a `.pt2`, that hold nothing but numbers."""


def describe(path: Path) -> Description:
    """What an exported file says of itself.

    Raises:
        BackendMissing: It is ONNX, and onnxruntime is not installed.
        DataError: It is damaged, or not ours.
    """
    return _pt2_description(path) if path.suffix == ".pt2" else open_onnx(path)[1]


class Exported(nn.Module):
    """An exported file as a model that is shown stored pixels: uint8 [B, 1, S, S] → log-probabilities, float32 [B, C].

    Their softmax are the probabilities again, so that it may stand wherever a model does whose input is the pixels.

    Raises:
        BackendMissing: onnxruntime is not installed.
        DataError: The file is damaged, or not ours.
    """

    _ask: Callable[[Tensor], Tensor]

    def __init__(self, path: Path) -> None:
        super().__init__()
        if path.suffix == ".onnx":
            session, self.description = open_onnx(path)
            self._ask = partial(_run, session)
        else:
            self._ask, self.description = _open_pt2(path)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        return self._ask(images.cpu()).clamp_min(torch.finfo(torch.float32).tiny).log().to(images.device)


def _run(session: Any, images: Tensor) -> Tensor:
    [found] = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    return torch.from_numpy(found)


def open_onnx(path: Path) -> tuple[Any, Description]:
    """A session of onnxruntime on the CPU, and what the file says of itself."""
    runtime = require_onnxruntime()
    try:
        session = runtime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    except OSError:
        raise
    except Exception as error:  # onnxruntime has classes of its own for everything
        raise DataError(f"{path} is no usable ONNX file: {one_line(str(error).splitlines()[0], 200)}") from error
    return session, Description.parse(session.get_modelmeta().custom_metadata_map.get(KEY), path)


def require_onnxruntime() -> Any:
    """The onnxruntime package.

    Raises:
        BackendMissing: It is not installed.
    """
    onnxruntime = import_optional("onnxruntime", "onnxruntime", "onnx")
    onnxruntime.set_default_logger_severity(3)
    return onnxruntime


def _pt2_description(path: Path) -> Description:
    try:
        with zipfile.ZipFile(path) as archive:
            name = next((name for name in archive.namelist() if name.endswith(f"/extra/{KEY}")), None)
            text = archive.read(name).decode() if name else None
    except (zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no usable .pt2 file: {error}") from error
    return Description.parse(text, path)


def _open_pt2(path: Path) -> tuple[Callable[[Tensor], Tensor], Description]:
    description = _pt2_description(path)
    _check_unpickled(path)
    try:
        program = torch.export.load(path)
        return program.module().__call__, description  # as a part of a module, it refuses to be put into its mode
    except Exception as error:  # whatever its readers raise
        raise DataError(f"{path} is no usable .pt2 file: {one_line(str(error).splitlines()[0], 200)}") from error


def _check_unpickled(path: Path) -> None:
    """Make sure that opening the file runs none of what is in it: torch unpickles what it is told to.

    Raises:
        DataError: Something would be unpickled.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith("_config.json"):
                    entries = json.loads(archive.read(name))["config"].values()
                    if any(entry["use_pickle"] or not entry["path_name"].startswith(_PLAIN) for entry in entries):
                        raise ValueError(f"{name} asks for a pickle")
                elif "/sample_inputs/" in name:
                    torch.load(io.BytesIO(archive.read(name)), weights_only=True)
    except Exception as error:
        raise DataError(
            f"{path} holds more than numbers, and is not opened: {one_line(str(error).splitlines()[0], 160)}",
            hint="export it anew: fastsketch export RUN --to torch",
        ) from error
