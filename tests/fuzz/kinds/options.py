"""Every option of every command with values that nobody means."""

from __future__ import annotations

import functools
from pathlib import Path
from random import Random
from typing import Any

from fuzz.case import Case
from fuzz.templates import TINY, Templates

VALUES = [
    "", " ", "0", "1", "-1", "2", "3", "7", "1e3", "0.5", "nan", "inf", "-inf", "1e999",
    "10000000000000000000000000", "4294967296", "x", "é", "\udce9", "\x1b[31m", "a\nb", "-", "--", ".", "..",
    "/dev/null", "/proc/self", "/etc/passwd", "nowhere", "nowhere/deep/x.png", "ds", "ds/dataset.json", "images",
    "run", "run/config.yaml", "file", "file/x", "x" * 300, "x" * 5000, "[bold]", "train", "val", "test", "train+val",
    "train+train", "+", "best", "last", "cpu", "cpu:9", "meta", "cuda", "cuda:99", "mps", "auto", "all", "quick",
    "demo", "None", "true", "out.foo", "out.png", "out.svg", "out.pdf", "out.txt", "pack", "dali", "bilinear",
    "0.5/0.5", "1/1", "0b11", "1_0", "+1", "\u0661",
]  # fmt: skip
GOOD: dict[str, list[str]] = {
    "convert": ["images", "out", "--size", "24", "--workers", "1"],
    "inspect": ["ds"],
    "train": ["ds", *TINY, "--max-minutes", "0.02", "--out", "out"],
    "evaluate": ["run", "--device", "cpu"],
    "preview": ["ds", "--out", "out.png"],
    "recipes": [],
    "tune": ["nowhere"],
    "bench": ["no such"],
    "demo": ["file"],
}
"""What works, or, where that would take minutes, what fails at once."""

NEVER = {"--pretrained", "--tune", "--workers", "--max-minutes", "--version"}


@functools.cache
def options() -> dict[str, list[Any]]:
    """Each command's options, as click knows them."""
    import typer.main
    from fastsketch_cli.app import app

    group: Any = typer.main.get_command(app)
    return {
        name: [
            (max(each.opts, key=len), bool(getattr(each, "is_flag", False)))
            for each in command.params
            if each.param_type_name == "option" and not NEVER & set(each.opts)
        ]
        for name, command in group.commands.items()
    }


def case(rng: Random, folder: Path, templates: Templates) -> Case:
    """A command that works, with options added and arguments changed."""
    for name in ("images", "ds", "run"):
        templates.put(name, folder)
    (folder / "file").write_text("a file")
    name = rng.choice(
        (
            "convert",
            "convert",
            "inspect",
            "train",
            "train",
            "evaluate",
            "preview",
            "recipes",
            "tune",
            "bench",
            "demo",
            "",
            "x",
        )
    )
    command = [name, *GOOD.get(name, [])]
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        if choices := options().get(name):
            option, is_flag = rng.choice(choices)
            command += [option] if is_flag else [option, rng.choice(VALUES)]
    way = rng.randrange(10)
    if name in ("tune", "bench", "demo"):
        pass
    elif way <= 2 and len(command) > 1:
        command[rng.randrange(1, min(3, len(command)))] = rng.choice(VALUES)
    elif way == 3:
        command.insert(rng.randrange(len(command) + 1), rng.choice(VALUES))
    elif way == 4 and len(command) > 1:
        del command[rng.randrange(1, len(command))]
    return Case([command], writes=written_by(command))


def written_by(command: list[str]) -> tuple[str, ...]:
    """What a command line may write: the paths that it names, but neither its source nor what lies beside."""
    named = [
        Path(each).parts[0]
        for each in command[1:]
        if each not in ("", ".", "..", "/") and Path(each).parts and not each.startswith("/")
    ]
    sources = {"images", "file"} | ({"ds"} if command[0] not in ("convert",) else set())
    return (
        *(each for each in named if each not in sources),
        "out",
        "out.png",
        "runs",
        "preview.png",
        "benchmarks",
        "demo",
    )
