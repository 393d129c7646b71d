"""The graph as a file: ONNX, or torch's own `.pt2`."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from fastsketch import atomic
from fastsketch.exporting.graph import ExportedGraph
from fastsketch.inference.description import KEY, Description
from fastsketch.optional import import_optional


def exported_program(graph: ExportedGraph, size: int) -> Any:
    """The graph as `torch.export` has it, for batches of any size."""
    example = torch.full((2, 1, size, size), 255, dtype=torch.uint8)
    batch = torch.export.Dim("batch")
    with _quiet(), torch.no_grad():
        return torch.export.export(graph.eval(), (example,), dynamic_shapes={"images": {0: batch}}, strict=False)


def write_pt2(program: Any, path: Path, description: Description) -> None:
    """Write `path` atomically; `torch.export.load` opens it."""
    with atomic.replacing(path) as temporary, _quiet():
        torch.export.save(program, temporary, extra_files={KEY: description.model_dump_json()})


def onnx_model(program: Any) -> Any:
    """An exported program as ONNX: input `images`, output `probabilities`.

    Raises:
        BackendMissing: onnx and onnxscript are not installed.
    """
    require_onnx()
    with _quiet():
        made = torch.onnx.export(program, dynamo=True, verbose=False, output_names=["probabilities"])
    assert made is not None
    return made.model_proto


def save_onnx(proto: Any, path: Path, description: Description) -> None:
    """Write an ONNX model with its description in the metadata, atomically."""
    onnx = require_onnx()
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, {KEY: description.model_dump_json()})
    proto.producer_name = "fastsketch"
    size = description.reading.size
    proto.graph.doc_string = (
        f"images: uint8 [batch, 1, {size}, {size}], a sketch in gray, paper = 255, ink = 0. "
        f"probabilities: float32 [batch, {len(description.classes)}], in the order of the classes in the metadata."
    )
    with atomic.replacing(path) as temporary:
        onnx.save(proto, temporary)


def require_onnx() -> Any:
    """The onnx package, and what torch's exporter needs.

    Raises:
        BackendMissing: They are not installed.
    """
    import_optional("onnxscript", "onnx", "onnx")
    return import_optional("onnx", "onnx", "onnx")


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters think aloud."""
    names = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
