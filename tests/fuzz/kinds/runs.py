"""Run directories with damaged files, through `train --resume` and `evaluate`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch
import yaml

from fuzz.case import Case
from fuzz.mutate import damaged, mutated, odd
from fuzz.sealing import sealed
from fuzz.templates import Templates

JSON_FILES = ("run.json", "dataset.json", "best/config.json", "last/config.json")
BYTES_FILES = ("resume.pt", "resume.previous.pt", "best/model.safetensors", "last/model.safetensors", "metrics.csv")


def case(rng: Random, folder: Path, templates: Templates) -> Case:
    """One file or two of a run are changed; then it is resumed or evaluated."""
    templates.put("ds", folder)
    run = templates.put("run", folder)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        rng.choice(
            (_json, _json, _yaml, _metrics, _metrics, _state, _state, _state, _bytes, _bytes, _safetensors, _missing)
        )(rng, run)
    evaluate = [
        "evaluate",
        "run",
        "--split",
        rng.choice(("val", "test", "val", "train+val", "x")),
        "--checkpoint",
        rng.choice(("best", "last")),
    ]
    resume = ["train", "--resume", "run", "--epochs", rng.choice(("2", "3", "3")), "--max-minutes", "0.05"]
    return Case([rng.choice((evaluate, resume, resume))], writes=("run",))


def _rewritten(path: Path, change: Callable[[bytes], bytes]) -> None:
    if path.is_file():
        path.write_bytes(change(path.read_bytes()))


def _json(rng: Random, run: Path) -> None:
    def change(text: bytes) -> bytes:
        if rng.random() < 0.2:
            return rng.choice((damaged(rng, text), b"", b"[]", b"null", b"[" * 100_000))
        try:
            changed = mutated(rng, json.loads(text))
            return (
                sealed(changed) if b'"checksum"' in text and rng.random() < 0.7 else json.dumps(changed).encode("ascii")
            )
        except (ValueError, RecursionError):
            return b"{"

    _rewritten(run / rng.choice(JSON_FILES), change)


def _yaml(rng: Random, run: Path) -> None:
    def change(text: bytes) -> bytes:
        if rng.random() < 0.3:
            return damaged(rng, text)
        try:
            changed = mutated(rng, yaml.safe_load(text))
            if isinstance(changed, dict) and isinstance(changed.get("training"), dict):
                changed["training"].update(compile="eager", loggers=[])
            return yaml.safe_dump(changed).encode("utf-8", "surrogatepass")
        except (yaml.YAMLError, RecursionError, ValueError):
            return b"{"

    _rewritten(run / "config.yaml", change)


def _metrics(rng: Random, run: Path) -> None:
    def change(text: bytes) -> bytes:
        lines = text.splitlines()
        way = rng.randrange(8)
        if way == 0:
            return damaged(rng, text)
        if way == 1:
            return b"\n".join(lines[:1])
        if way == 2:
            return rng.choice((b"", b"\n", b"{}\n", b"[]\n[]\n", b"null\n", b"\xff\n", text * 3, b"[" * 100_000))
        if way == 3:
            return b"\n".join(lines[::-1])
        index = rng.randrange(len(lines)) if lines else 0
        try:
            lines[index : index + 1] = [json.dumps(mutated(rng, json.loads(lines[index]))).encode("ascii")]
        except (ValueError, IndexError, RecursionError):
            return b"x"
        return b"\n".join(lines) + b"\n"

    _rewritten(run / "metrics.jsonl", change)


def _state(rng: Random, run: Path) -> None:
    """A `resume.pt` that torch reads, with other values in it."""
    for name in rng.choice((("resume.pt",), ("resume.previous.pt",), ("resume.pt", "resume.previous.pt"))):
        path = run / name
        try:
            state = torch.load(path, weights_only=True)
        except Exception:
            continue
        if rng.random() < 0.1:
            state = rng.choice(([], 1, None, {}, "x", [state], {"format_version": 1}, torch.zeros(3)))
        elif isinstance(state, dict):
            if rng.random() < 0.5:
                counter = rng.choice(
                    ("epoch", "steps", "seconds", "best_top1", "best_epoch", "compiled", "format_version", "loss_sum")
                )
                state[counter] = _loadable(odd(rng))
            else:
                _change_tensors(rng, state)
        torch.save(state, path)


def _change_tensors(rng: Random, state: dict[str, Any]) -> None:
    """Descend at random and change what is found there."""
    holder: Any = state
    while True:
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        if not keys:
            return
        key = rng.choice(list(keys))
        inner = holder[key]
        if not isinstance(inner, dict | list) or not inner or rng.random() < 0.1:
            break
        holder = inner
    value = holder[key]
    way = rng.randrange(7)
    if way == 0:
        del holder[key]
    elif way == 1 or not isinstance(value, torch.Tensor):
        holder[key] = _loadable(odd(rng))
    elif way == 2:
        holder[key] = value.flatten()[:-1] if value.numel() else value.new_ones(2)
    elif way == 3:
        holder[key] = torch.full_like(value.float(), rng.choice((float("nan"), float("inf"), 1e38)))
    elif way == 4:
        holder[key] = value.to(rng.choice((torch.int8, torch.float64, torch.bool, torch.complex64)))
    elif way == 5:
        holder[key] = value.unsqueeze(0)
    elif isinstance(holder, dict):
        holder[rng.choice(("x", 0, None, "model"))] = holder.pop(key)


def _loadable(value: Any) -> Any:
    """Torch's pickles know no integers of more than eight bytes."""
    return 2**62 if isinstance(value, int) and abs(value) >= 2**62 else value


def _bytes(rng: Random, run: Path) -> None:
    _rewritten(
        run / rng.choice(BYTES_FILES),
        lambda data: rng.choice((damaged(rng, data), data[: len(data) // 2], b"", b"x", damaged(rng, data))),
    )


def _safetensors(rng: Random, run: Path) -> None:
    _rewritten(run / rng.choice(BYTES_FILES[2:4]), lambda data: header_changed(rng, data))


def header_changed(rng: Random, data: bytes) -> bytes:
    """A safetensors file with other names, shapes, types or offsets."""
    length = int.from_bytes(data[:8], "little")
    try:
        header = json.dumps(mutated(rng, json.loads(data[8 : 8 + length]))).encode("ascii")
    except (ValueError, RecursionError):
        return damaged(rng, data)
    claimed = rng.choice((len(header), len(header), len(header), 2**40, 0))
    return claimed.to_bytes(8, "little") + header + data[8 + length :]


def _missing(rng: Random, run: Path) -> None:
    names = ["run.json", "metrics.jsonl", "metrics.csv", "resume.pt", "resume.previous.pt", "plots", "evaluation"]
    names += ["last", "best", "config.yaml", "dataset.json", "last/config.json", "best/model.safetensors"]
    path = run / rng.choice(names)
    was_folder = path.is_dir()
    if was_folder:
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    way = rng.randrange(4)
    if not path.parent.is_dir():
        return
    if way == 0 and not was_folder:
        path.mkdir()
    elif way == 1:
        path.symlink_to("nowhere")
    elif way == 2 and was_folder:
        path.write_bytes(b"x")
