"""Where a training may end, what it leaves there, and what is compared of a run."""

from __future__ import annotations

import csv
import gc
import json
import os
import shutil
import signal
import socket
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import torchmetrics
from packs import write_formats_at_hand, write_pack

from fastsketch.config import Recipe
from fastsketch.errors import FastSketchError
from fastsketch.recipes import load_recipe
from fastsketch.training import trainer
from fastsketch.training.fit import fit
from fastsketch.training.run import record
from fastsketch.training.run.directory import Run
from fastsketch.training.run.stop import StopController

TIMINGS = ("seconds", "images_per_second")
LIMIT = 60  # seconds until a process that hangs is ended

Point = Callable[[str], None]
"""Called with a name for each place where a training may end."""


def write_data(folder: Path, *, all_formats: bool = False) -> Path:
    """Two steps of 16 an epoch, and two of 16 and 4 to validate."""
    (write_formats_at_hand if all_formats else write_pack)(folder, {"train": 40, "val": 20}, 32)
    return folder


def recipe(data: Path, *overrides: str) -> Recipe:
    """Everything that has a state: moments, averages, dropout, mixing."""
    rich = ("model.name=test_resnet", "optimizer.lr=5e-2", "training.ema=0.9")
    random = ("model.dropout=0.3", "augment.mixup=1", "data.batch_size=16", "data.eval_batch_size=16")
    config = ("training.device=cpu", "training.epochs=2", "training.save_minutes=0", "training.compile=eager")
    return load_recipe(None, [*rich, *random, *config, *overrides], data__path=str(data))


@contextmanager
def points(point: Point) -> Iterator[None]:
    """Call `point` after every rename of a file, and before, in the midst of and after every validation."""
    replace, validate, update = os.replace, trainer.validate, torchmetrics.MetricCollection.update

    def replaced(source: Any, target: Any) -> None:
        replace(source, target)
        point(
            f"{Path(target).parent.name}/{Path(target).name}"
            if Path(target).parent.name in ("last", "best")
            else Path(target).name
        )

    def updated(*arguments: Any, **named: Any) -> None:
        update(*arguments, **named)
        point("in validation")

    def validated(*arguments: Any, **named: Any) -> Any:
        point("before validation")
        scores = validate(*arguments, **named)
        point("after validation")
        return scores

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record, "environment", dict)  # asks git, which takes longer than training
        patch.setattr(record, "git_commit", lambda _: None)
        patch.setattr(os, "replace", replaced)
        patch.setattr(trainer, "validate", validated)
        patch.setattr(torchmetrics.MetricCollection, "update", updated)
        yield


def train(config: Recipe, root: Path, point: Point = lambda name: None) -> int:
    """`fit`, as the same command called again does it; the number of steps that were done."""
    done: list[tuple[int, int]] = []

    def on_step(epoch: int, step: int, steps: int) -> None:
        done.append((epoch, step))
        point(f"after step {step}")

    run = Run(root)
    with points(point):
        fit(config, run, resume=run.begun, on_step=on_step)
    return len(done)


def ends(config: Recipe, root: Path, *, saves: bool = True) -> list[tuple[str, Path]]:
    """Train in `root`, and keep of every point what a `kill -9` there leaves: the folder as it is; all in order."""
    found: list[tuple[str, Path]] = []

    def keep(name: str) -> None:
        found.append((name, shutil.copytree(root, root.with_name(f"{root.name}-{len(found)}"))))

    with saving_seldom(not saves):
        train(config, root, keep)
    return found


@contextmanager
def saving_seldom(whether: bool = True) -> Iterator[None]:
    """Write `resume.pt` after the first epoch, as it is always, and at the end."""
    dues = iter(["save"])
    with pytest.MonkeyPatch.context() as patch:
        if whether:
            patch.setattr(StopController, "due", lambda *_, **__: None)
            patch.setattr(StopController, "due_after_epoch", lambda _: next(dues, None))
        yield


def killed_at(name: str) -> Point:
    """A point that ends the process, as `kill -9` does, at the first of that name."""

    def point(at: str) -> None:
        if at == name:
            os.kill(os.getpid(), signal.SIGKILL)

    return point


def fork(function: Callable[[], object], report: Path | None = None, **environment: str) -> int:
    """Begin `function` in a process of its own; its number.

    It ends with 0, or, of a FastSketchError, with 1 and its words in `report`, or with 70 and a traceback.
    """
    if child := os.fork():
        return child
    # What this process left in cycles is not the child's to end: DALI's pipelines want the threads that stayed behind.
    gc.freeze()
    code = 70
    try:
        signal.alarm(LIMIT)
        torch.set_num_threads(1)
        os.environ.update(environment)
        function()
        code = 0
    except FastSketchError as error:
        code = 1
        if report is not None:
            report.write_text(str(error))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def wait(child: int) -> int:
    """Its exit code, or −9 if it was killed."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fork_world(functions: list[Callable[[], object]], report: Path) -> list[int]:
    """Exit codes of processes that train together, one a function."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(len(functions))}
    children = [
        fork(function, report.with_suffix(f".{rank}"), RANK=str(rank), LOCAL_RANK=str(rank), **shared)
        for rank, function in enumerate(functions)
    ]
    return [wait(child) for child in children]


def contents(root: Path) -> dict[str, object]:
    """What two runs of the same recipe must have in common, by file: everything but times."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_dir() or name == "resume.previous.pt":
            continue
        if name == "metrics.jsonl":
            found[name] = [_timeless(json.loads(line)) for line in path.read_text().splitlines()]
        elif name == "metrics.csv":
            with path.open(newline="") as table:
                found[name] = [_timeless(row) for row in csv.DictReader(table)]
        elif name == "resume.pt":
            state = torch.load(path, weights_only=True)
            found[name] = [state[key] for key in ("epoch", "steps", "loss_sum", "best_top1", "best_epoch")]
            found[f"{name}: weights"] = {key: tensor.tolist() for key, tensor in state["model"].items()}
        elif name == "run.json":
            found[name] = None
        else:
            found[name] = path.read_bytes()
    return found


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in TIMINGS}
