"""A run → a folder with files that need no fastsketch, each proven to say what the run says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fastsketch import atomic
from fastsketch.errors import ConfigError, FastSketchError
from fastsketch.evaluation.subject import Subject
from fastsketch.exporting.card import CARD, is_model_card, model_card
from fastsketch.exporting.files import exported_program, onnx_model, require_onnx, save_onnx, write_pt2
from fastsketch.exporting.graph import ExportedGraph
from fastsketch.exporting.parity import compare
from fastsketch.exporting.quantize import CALIBRATION, write_int8
from fastsketch.formats.pack import PackSplit, spread
from fastsketch.inference.classifier import BATCH, Member
from fastsketch.inference.description import Description
from fastsketch.inference.exported import Exported, require_onnxruntime
from fastsketch.inference.saved import SavedModel
from fastsketch.models.ink_tokens import keep_inked, kept_in_evaluation
from fastsketch.models.zoo import to_device
from fastsketch.training.run.checkpoint import load_model
from fastsketch.training.run.directory import Run
from fastsketch.training.run.model_files import SavedReading

TARGETS = {"onnx": "model.onnx", "torch": "model.pt2"}
INT8 = "model.int8.onnx"

SKETCHES = 256
"""Validation sketches on which an exported file is compared with the run."""

TOLERANCE = 1e-4
"""Of a probability in float32; what is further off is an error."""


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """One file, and what it says of itself."""

    path: Path
    description: Description


def export_run(
    run: Run | str | Path,
    to: str = "onnx",
    out: str | Path | None = None,
    *,
    checkpoint: str = "best",
    data: Path | None = None,
    int8: bool = False,
    dense: bool = False,
    overwrite: bool = False,
) -> list[ExportedFile]:
    """Export a run's model, compare the file with it, and write a model card beside it.

    Args:
        run: The run, or its folder.
        to: `onnx` or `torch`.
        out: The folder; by default `export` in the run's.
        checkpoint: `best` or `last`.
        data: The run's data set, if it has moved.
        int8: Besides, quantise to eight bits; of ONNX alone.
        dense: Show a transformer all patches, for runtimes that cannot choose. It may not have learned to see them.
        overwrite: Replace what an earlier export left.

    Raises:
        ConfigError: There is no such run, checkpoint, target or data set, or the files are there already.
        BackendMissing: onnx, onnxscript or onnxruntime is not installed.
        DataError: The model or the data set is damaged.
        FastSketchError: The file says something else than the run, and is not kept.
    """
    run = Run.open(Run.of(run).root)
    if to not in TARGETS:
        raise ConfigError(f"no target '{to}'", hint=f"there are: {', '.join((*TARGETS, 'page'))}")
    if int8 and to != "onnx":
        raise ConfigError("--int8 is of ONNX", hint="leave it out, or take --to onnx")
    if to == "onnx":
        require_onnx()
        require_onnxruntime()
    folder = Path(out) if out is not None else run.root / "export"
    names = [TARGETS[to], *([INT8] if int8 else [])]
    there = [folder / name for name in names if (folder / name).exists()]
    if (folder / CARD).exists() and not is_model_card(folder / CARD):
        there.append(folder / CARD)
    if there and not overwrite:
        raise ConfigError(f"{there[0]} is there already", hint="choose another --out, or replace it with --overwrite")
    validation, training = _sketches(run, checkpoint, data, int8=int8)
    saved = SavedModel.find(run, checkpoint)
    member, graph, description = _load(saved, dense=dense)
    program = exported_program(graph, saved.reading.size)
    write = partial(write_pt2, program) if to == "torch" else partial(save_onnx, onnx_model(program))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = [_write(write, folder / names[0], description, member, validation)]
        if training is not None:
            files.append(_write_int8(files[0], folder / INT8, member, validation, training))
        card = model_card(run, checkpoint, [(each.path.name, each.description) for each in files])
        atomic.write_text(folder / CARD, card)
    except OSError as error:
        raise FastSketchError(f"{error.filename or folder}: {error.strerror or error}") from error
    return files


def _sketches(run: Run, checkpoint: str, data: Path | None, *, int8: bool) -> tuple[PackSplit, PackSplit | None]:
    """The validation sketches, and the training ones where they are needed."""
    subject = Subject.of(run, "val" if "val" in run.dataset().splits else "train", checkpoint, data, None, None)
    split = PackSplit(subject.folder, subject.dataset, subject.split)
    return split, PackSplit(subject.folder, subject.dataset, "train") if int8 else None


def _load(saved: SavedModel, *, dense: bool) -> tuple[Member, ExportedGraph, Description]:
    """The model as a classifier has it on the CPU in float32, as it is exported, and what is to be said of it."""
    model, preprocess = load_model(saved.folder)
    model = to_device(model.eval(), torch.device("cpu"))  # laid out as a classifier's: sums are rounded the same way
    if dense and kept_in_evaluation(model) is not None:
        keep_inked(model, None, preprocess, eval_tokens=None)
    member = Member(model, preprocess, saved.reading, saved.flip, torch.float32, saved.temperature)
    size = saved.reading.size
    graph = ExportedGraph(model, preprocess, size, flip=saved.flip, temperature=saved.temperature)
    description = Description(
        model=saved.architecture,
        classes=saved.classes,
        reading=SavedReading.model_validate(saved.reading._asdict()),
        temperature=saved.temperature,
        flip=saved.flip,
        tokens=kept_in_evaluation(model),
    )
    return member, graph, description


def _write(
    write: Callable[[Path, Description], None],
    path: Path,
    description: Description,
    member: Member,
    validation: PackSplit,
) -> ExportedFile:
    """Write a file, open it again, compare it with the model; it gets its name once it has passed.

    Raises:
        FastSketchError: It says something else.
    """
    with TemporaryDirectory(prefix="fastsketch-export-") as folder:
        trial = Path(folder, path.name)
        write(trial, description)
        parity = compare(member.probabilities, _ask(trial), torch.tensor(_some(validation, SKETCHES)))
    if not parity.largest_difference <= TOLERANCE:
        raise FastSketchError(
            f"{path} is not kept: it differs from the model by {parity.largest_difference:.1e} in a probability",
            hint=f"at most {TOLERANCE:g} is rounding; please report the model, {description.model}",
        )
    described = description.model_copy(update={"parity": parity})
    write(path, described)
    return ExportedFile(path, described)


def _write_int8(
    source: ExportedFile, path: Path, member: Member, validation: PackSplit, training: PackSplit
) -> ExportedFile:
    """Quantise, and say what it costs on all validation sketches."""
    described = source.description.model_copy(update={"precision": "int8", "parity": None})
    with TemporaryDirectory(prefix="fastsketch-export-") as folder:
        trial = Path(folder, path.name)
        write_int8(source.path, trial, described, _some(training, CALIBRATION))
        ask = _ask(trial)
        parity = compare(member.probabilities, ask, torch.tensor(_some(validation, SKETCHES)))
        parts = (validation.images[start : start + BATCH] for start in range(0, len(validation), BATCH))
        found = torch.cat([ask(torch.tensor(part)).argmax(dim=1) for part in parts])
        right = found.numpy() == validation.labels
        described = described.model_copy(update={"parity": parity, "top1": float(right.mean())})
        save_onnx(require_onnx().load(trial), path, described)
    return ExportedFile(path, described)


def _ask(path: Path) -> Callable[[Tensor], Tensor]:
    exported = Exported(path)
    return lambda images: exported(images).exp()


def _some(split: PackSplit, count: int) -> npt.NDArray[np.uint8]:
    """So many sketches, spread evenly: uint8 [N, 1, S, S]."""
    return np.asarray(split.images[spread(len(split), count)])
