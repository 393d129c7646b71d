"""Run directories that `train --resume` and `evaluate` once fell over."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fuzz.case import Case
from fuzz.corpus import entry
from fuzz.templates import Templates

RESUME = ["train", "--resume", "run", "--epochs", "3"]
EVALUATE = ["evaluate", "run"]
NAN = float("nan")


def run_of(folder: Path, templates: Templates) -> Path:
    """A run and its data set."""
    templates.put("ds", folder)
    return templates.put("run", folder)


def _metrics(text: bytes, folder: Path, templates: Templates) -> Case:
    (run_of(folder, templates) / "metrics.jsonl").write_bytes(text)
    return Case([RESUME], writes=("run",))


for title, text in {
    "empty": b"",
    "no JSON": b"{",
    "brackets": b"[" * 100_000,
    "list": b"[]\n[]\n",
    "fields": b'{"epoch": 1}\n{"epoch": 2}\n',
    "types": b'{"epoch": "x", "step": [], "lr": null, "train_loss": {}, "val_loss": "", "val_top1": "x", '
    b'"val_top5": 0, "seconds": 0, "images_per_second": 0}\n' * 2,
    "UTF-8": b"\xff\n",
    "zeros": bytes(1000),
}.items():
    entry(f"{'M4' if not text else 'M3'} {title}")(partial(_metrics, text))


@entry("M4 missing")
def _no_metrics(folder: Path, templates: Templates) -> Case:
    (run_of(folder, templates) / "metrics.jsonl").unlink()
    return Case([RESUME], writes=("run",))


def _saved_config(path: tuple[str, ...], value: object, folder: Path, templates: Templates) -> Case:
    file = run_of(folder, templates) / "best/config.json"
    record = json.loads(file.read_text())
    holder = record
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    file.write_text(json.dumps(record if path != ("",) else value))
    return Case([EVALUATE], writes=("run",))


for number, (path, value) in enumerate(
    [
        *((("",), value) for value in ([], None, 1, "x", {})),
        *((("pretrained_cfg",), value) for value in ([], None, 1, "x")),
        *(
            (("pretrained_cfg", "input_size"), value)
            for value in (None, [], 3, "x", [1, 32, "x"], [1, 32, -1], [1, 1, 10**12], [10**9, 32, 32])
        ),
        *((("pretrained_cfg", "mean"), value) for value in (None, 0.5, ["x"], [NAN], [[1]])),
        *((("pretrained_cfg", "std"), value) for value in (None, [0], [-1], ["x"])),
        *((("architecture",), value) for value in (None, 1, [], "x", "local-dir:/etc", "hf-hub:x/y", "../x")),
        *((("num_classes",), value) for value in (None, -1, 10**9, "x", [])),
        *((("head_hidden",), value) for value in (1, "x", [0], [-1], [10**12], ["x"], {"a": 1})),
        *((("eval_tokens",), value) for value in (0, -1, "x", [], 10**12)),
        *((("model_args",), value) for value in (1, "x", [], {"x": 1}, {"num_classes": -1})),
    ]
):
    entry(f"M6 {number:02d} {'.'.join(path)}")(partial(_saved_config, path, value))


def saved_state(change: Callable[[dict[str, Any]], object], folder: Path, *names: str) -> None:
    """Change what is in `resume.pt`, or in the files named, and save it as torch does."""
    for name in names or ("resume.pt",):
        path = folder / "run" / name
        state = torch.load(path, weights_only=True)
        changed = change(state)
        torch.save(state if changed is None else changed, path)


def _state(change: Callable[[dict[str, Any]], object], both: bool, folder: Path, templates: Templates) -> Case:
    run_of(folder, templates)
    if both:
        saved_state(change, folder, "resume.pt", "resume.previous.pt")
    else:
        saved_state(change, folder)
    return Case([RESUME], writes=("run",), codes=(1,) if both else (0,))


def _counter(name: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda state: state.update({name: value})


def _shorter(state: dict[str, Any]) -> None:
    name = next(iter(state["model"]))
    state["model"][name] = state["model"][name][:1]


STATES: dict[str, Callable[[dict[str, Any]], object]] = {
    "list": lambda state: [1],
    "tensor": lambda state: torch.zeros(3),
    "missing model": lambda state: state.pop("model") and None,
    "missing optimizer": lambda state: state.pop("optimizer") and None,
    "missing epoch": lambda state: state.pop("epoch") and None,
    "shape": _shorter,
    "NaN epoch": _counter("epoch", NAN),
    "epoch of text": _counter("epoch", "x"),
    "epoch -1": _counter("epoch", -1),
    "steps -3": _counter("steps", -3),
    "steps 10**9": _counter("steps", 10**9),
    "seconds NaN": _counter("seconds", NAN),
    "best_top1 of text": _counter("best_top1", "x"),
    "best_epoch -1": _counter("best_epoch", -1),
    "loss_sum None": _counter("loss_sum", None),
    "optimizer list": _counter("optimizer", []),
    "optimizer maximize of 1": lambda state: state["optimizer"]["param_groups"][0].update(maximize=1),
    "optimizer without a momentum": lambda state: state["optimizer"]["state"].pop(4) and None,
    "optimizer with no momentum": lambda state: state["optimizer"]["state"][4].update(momentum_buffer=None),
    "optimizer rate NaN": lambda state: state["optimizer"]["param_groups"][0].update(lr=NAN),
    "optimizer empty": _counter("optimizer", {}),
    "model of numbers": _counter("model", {"x": 1}),
}
for title, changing in STATES.items():
    entry(f"M7 {title}")(partial(_state, changing, False))
    if title in ("list", "missing model", "shape", "NaN epoch", "steps -3", "optimizer empty"):
        entry(f"M7 {title}, both")(partial(_state, changing, True))


@entry("Low: version as a string")
def _version(folder: Path, templates: Templates) -> Case:
    run_of(folder, templates)
    saved_state(_counter("format_version", "1"), folder, "resume.pt", "resume.previous.pt")
    return Case([RESUME], writes=("run",), codes=(0, 1))


@entry("run.json with half a surrogate")
def _record(folder: Path, templates: Templates) -> Case:
    (run_of(folder, templates) / "run.json").write_text('{"sessions": ["\\ud800"]}')
    return Case([RESUME], writes=("run",), codes=(0,))


@entry("Low: plots missing")
def _no_plots(folder: Path, templates: Templates) -> Case:
    shutil.rmtree(run_of(folder, templates) / "plots")
    return Case([RESUME], writes=("run",), codes=(0,))


@entry("Low: config.yaml edited")
def _edited(folder: Path, templates: Templates) -> Case:
    path = run_of(folder, templates) / "config.yaml"
    path.write_text(path.read_text().replace("seed: 0", "seed: 7"))
    return Case([RESUME], writes=("run",), codes=(1, 2))
