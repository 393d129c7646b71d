"""Recipes in YAML and `--set`, through `train`, `recipes` and `preview`."""

from __future__ import annotations

import functools
from pathlib import Path
from random import Random
from typing import Any

import yaml

from fastsketch.config import Recipe
from fastsketch.recipes import recipe_names, recipe_text
from fuzz.case import Case
from fuzz.mutate import damaged, mutated
from fuzz.templates import TINY, Templates

SCALARS = [
    "!!timestamp x", "!!python/object/apply:os.system ['touch ../canary/executed']", "!!python/name:os.system",
    "!!binary x", "!!int x", "!!float ''", "!!set {a, b}", "!!omap [a: 1]", "!!null x", "2024-99-99",
    "0x" + "f" * 400, "1" * 5000, ".nan", ".inf", "-.inf", "1e400", "*missing", "&a [*a]", "<<: {a: 1}", "[", "]",
    "{", "}", "- -", "? a", "| x", "> x", "%x", "@x", "`x`", "'", '"', '"\\ud800"', "\u2028", "é", "\ud800", "猫",
    "a: b: c", "null", "~", "yes", "1_000", "0o17", "1:30:00", "12:30:45.5", "!!bool maybe", "!x y", "!<x> y",
    "--- a", "...", "[" * 2000, "{a: " * 500, "-1", "0", "1", "true", "10000000000000000000000000", "1e308", "''",
    "[1, 2]", "[2, 1]", "[0.5, 2]", "[[1], [2]]", "{a: 1}", "all", "auto", "same", "adamw", "lamb", "sgd",
    "test_vit", "test_efficientnet", "local-dir:/etc", "hf-hub:x/y", "meta", "cpu:1", "cuda:99", "mps", "xpu",
    "float16", "bfloat16", "exponential", "constant", "kornia", "standard", "pretrained", "resident", "pack", "dali",
    "ffcv", "train+val", "[8]", "[16, 32]", "[32, 16, 8]", "tensorboard", "[tensorboard]", "[wandb]",
    "1000000000000",
]  # fmt: skip
NEVER = ("training.compile", "training.loggers", "model.pretrained")
"""Compiling takes a minute, loggers and weights want the network."""

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join(f'*{a}' for _ in range(9))}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@functools.cache
def keys() -> dict[str, Any]:
    """Every key with its default."""
    return {
        f"{section}.{key}": value
        for section, values in Recipe().model_dump(mode="json").items()
        if isinstance(values, dict)
        for key, value in values.items()
        if f"{section}.{key}" not in NEVER
    }


def case(rng: Random, folder: Path, templates: Templates) -> Case:
    """Half of them files, half of them overrides."""
    templates.put("ds", folder)
    command = ["train", "ds", *TINY, "--max-minutes", "0.02", "--out", "out"]
    if rng.random() < 0.5:
        (folder / "mine.yaml").write_bytes(_file(rng))
        way = rng.randrange(10)
        if way <= 5:
            return Case([[*command, "--recipe", "mine.yaml"]], greedy=True)
        if way == 6:
            return Case([["preview", "ds", "--recipe", "mine.yaml", "--out", "out.png"]], writes=("out.png",))
        return Case([["recipes", "mine.yaml"]])
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        command += ["--set", override(rng)]
    return Case([command], greedy=True)


def override(rng: Random) -> str:
    """`key=value`, most keys right, most values wrong."""
    if rng.random() < 0.1:
        return rng.choice(
            (
                "",
                "=",
                "a",
                "=1",
                ".=1",
                "..a=1",
                "a.=1",
                ".a=1",
                "training=1",
                "a.b.c.d=1",
                "model.name.x=1",
                "\udce9=1",
                "é=2",
            )
        )
    key, default = rng.choice(list(keys().items()))
    if rng.random() < 0.05:
        key += rng.choice(("x", ".", ".x", " ", "\n"))
    value = rng.choice(SCALARS)
    if rng.random() < 0.3:
        value = (
            yaml.safe_dump(mutated(rng, {"v": default}, 1).get("v"), default_flow_style=True).split("\n...")[0].strip()
        )
    return f"{key}={value}"


def _file(rng: Random) -> bytes:
    way = rng.randrange(10)
    if way == 0:
        return rng.choice(
            (
                b"",
                b"\0",
                b"# nothing",
                b"- 1",
                b"x",
                b"\xff",
                b"\xfe\xff\0a",
                BOMB.encode(),
                ("model: " + BOMB).encode(),
            )
        )
    if way == 1:
        lines = recipe_text(rng.choice(recipe_names())).splitlines()
        lines.insert(rng.randrange(len(lines) + 1), f"{rng.choice(('', '  '))}x: {rng.choice(SCALARS)}")
        return "\n".join(lines).encode("utf-8", "surrogatepass")
    if way <= 3:
        return damaged(rng, recipe_text(rng.choice(recipe_names())).encode())
    if way <= 5:
        key = rng.choice(list(keys()))
        stage, _, name = key.partition(".")
        return f"{stage}:\n  {name}: {rng.choice(SCALARS)}\n".encode("utf-8", "surrogatepass")
    recipe = yaml.safe_load(recipe_text(rng.choice(recipe_names())))
    if rng.random() < 0.5:
        recipe = Recipe.model_validate(recipe).model_dump(mode="json")
    changed = mutated(rng, recipe)
    if isinstance(changed, dict) and isinstance(changed.get("training"), dict):
        changed["training"].pop("compile", None)
        changed["training"].pop("loggers", None)
    if isinstance(changed, dict) and isinstance(changed.get("model"), dict):
        changed["model"].pop("pretrained", None)
    return yaml.safe_dump(changed, allow_unicode=rng.random() < 0.5).encode("utf-8", "surrogatepass")
