"""Files for `--weights`: damaged, of another model, no weights at all, and pickles that would execute something."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import load_file

from fuzz.case import Case
from fuzz.kinds.runs import header_changed
from fuzz.mutate import damaged, odd
from fuzz.templates import TINY, Templates

TOUCH = "touch ../canary/executed"


class _Executes:
    """Unpickled without care, it leaves a file beside the canary."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self._reduced = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[object, ...]]:
        return self._reduced


def case(rng: Random, folder: Path, templates: Templates) -> Case:
    """A training from a file of weights."""
    templates.put("ds", folder)
    saved = templates.put("run", folder) / "best" / "model.safetensors"
    name = _write(rng, folder, saved)
    command = ["train", "ds", *TINY, "--max-minutes", "0.02", "--out", "out", "--weights", name]
    if rng.random() < 0.1:
        command += ["--set", "model.name=test_vit"]
    return Case([command])


def _write(rng: Random, folder: Path, saved: Path) -> str:
    way = rng.randrange(10)
    data = saved.read_bytes()
    suffix = rng.choice((".pth", ".pt", ".bin", ".pth.tar"))
    if way <= 1:
        (folder / "w.safetensors").write_bytes(header_changed(rng, data))
        return "w.safetensors"
    if way == 2:
        (folder / "w.safetensors").write_bytes(damaged(rng, data))
        return "w.safetensors"
    if way == 3:
        name = rng.choice(("w.safetensors", f"w{suffix}", "w", "w.npz", "w.yaml", "w.png"))
        (folder / name).write_bytes(
            rng.choice(
                (
                    b"",
                    b"x",
                    b"\0" * 99,
                    b"[" * 999,
                    data,
                    b"PK\x03\x04",
                    b"\x80\x02.",
                    b"{}",
                    b"\x93NUMPY\x01\0",
                    bytes(8),
                )
            )
        )
        return name
    if way == 4:
        return rng.choice(
            (
                "/etc/passwd",
                ".",
                "ds",
                "ds/dataset.json",
                "run",
                "run/best",
                "nowhere",
                "",
                "/dev/null",
                "run/best/config.json",
                "ds/train.images.u8",
                "x" * 300,
            )
        )
    state = load_file(saved)
    if way == 5:
        (folder / f"w{suffix}").write_bytes(executing(rng, state))
        return f"w{suffix}"
    stream = io.BytesIO()
    torch.save(_other(rng, state), stream, _use_new_zipfile_serialization=rng.random() < 0.8)
    packed = stream.getvalue()
    (folder / f"w{suffix}").write_bytes(damaged(rng, packed) if way == 9 else packed)
    return f"w{suffix}"


def _other(rng: Random, state: dict[str, torch.Tensor]) -> Any:
    """What else people, or attackers, save as weights."""
    way = rng.randrange(10)
    names = sorted(state)
    if way == 0:
        return rng.choice(
            ([], {}, None, 1, "x", [1, 2], torch.zeros(3), list(state.values()), {"epoch": 3}, {1: 2}, [state])
        )
    if way == 1:
        return {rng.choice(("state_dict", "model", "model_ema", "state_dict_ema")): rng.choice((state, odd(rng), {}))}
    if way == 2:
        return {f"module.{name}": value for name, value in state.items()}
    name = rng.choice(names)
    value = state[name]
    if way == 3:
        state[name] = value.flatten()[:-1]
    elif way == 4:
        del state[name]
    elif way == 5:
        state[rng.choice(("x", "fc.weight", "", "head.fc.weight"))] = value
    elif way == 6:
        state[name] = value.to(rng.choice((torch.complex64, torch.int8, torch.float64, torch.bool, torch.float16)))
    elif way == 7:
        state[name] = torch.full_like(value.float(), rng.choice((float("nan"), float("inf"), 1e38)))
    elif way == 8:
        return {**state, name: rng.choice((1, None, "x", [1.0], {}))}
    else:
        state[name] = value.to_sparse() if value.ndim == 2 else value.to(torch.bfloat16)
    return state


def executing(rng: Random, state: dict[str, torch.Tensor]) -> bytes:
    """A pickle, plain or as torch packs it, that executes something when it is unpickled."""
    statement = f"import os; os.system({TOUCH!r})"
    evil = rng.choice(
        (
            _Executes(os.system, TOUCH),
            _Executes(exec, statement),
            _Executes(eval, f"__import__('os').system({TOUCH!r})"),
        )
    )
    value = rng.choice((evil, {"state_dict": evil}, {**state, "x": evil}))
    if rng.random() < 0.3:
        return pickle.dumps(value if value is evil else {"x": evil}, rng.choice((0, 2, 4)))
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=rng.random() < 0.7)
    if rng.random() < 0.2:  # TorchScript's layout, which executes by another way
        with zipfile.ZipFile(stream, "a") as archive:
            archive.writestr("archive/constants.pkl", pickle.dumps(evil, 2))
            archive.writestr("archive/code/x.py", json.dumps(statement))
    return stream.getvalue()
