"""Every `fastsketch …` that a page tells its reader to type is one: command, options, recipes, keys and values."""

from __future__ import annotations

import pkgutil
import re
import shlex
from pathlib import Path
from typing import Any

import fastsketch_benchmarks
import pytest
import typer
from fastsketch_cli.commands import app
from pages import PAGES, commands

from fastsketch.config.reference import section_names
from fastsketch.recipes import load_recipe, recipe_names

COMMANDS = [(page, command) for page in PAGES for command in commands(page)]
GROUP: Any = typer.main.get_command(app)

_ASSIGNMENT = re.compile(rf"[`'](?:--set '?)?((?:{'|'.join(section_names())})\.\w+=[^`'…\s]+)'?`")


def parsed(command: str) -> tuple[str, dict[str, Any]]:
    """The command's name, and what it would be called with; nothing where it is named alone."""
    words = shlex.split(command.partition(">")[0], comments=True)[1:]
    name, arguments = words[0], [word for word in words[1:] if word != "..."]
    found = GROUP.commands[name]
    return name, found.make_context(name, arguments).params if arguments else {}


def test_the_pages_have_commands() -> None:
    assert len(COMMANDS) > 30


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=[f"{page.stem}: {command}" for page, command in COMMANDS])
def test_it_can_be_typed(page: Path, command: str) -> None:
    name, params = parsed(command)
    if params.get("keys"):
        assert params["name"] in (None, *section_names())
    elif (recipe := params.get("name" if name == "recipes" else "recipe")) and not recipe.isupper():
        assert recipe in recipe_names() or recipe.endswith(".yaml")
    load_recipe(None, params.get("set_") or ())
    if name == "bench" and params and params["name"] not in ("NAME", "list"):
        assert params["name"] in {found.name for found in pkgutil.iter_modules(fastsketch_benchmarks.__path__)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_keys_that_stand_without_a_command_exist(page: Path) -> None:
    """The tables name them between backticks: `--set optimizer.lr=3e-4`, `augment.cutmix=1`."""
    for assignment in _ASSIGNMENT.findall(page.read_text(encoding="utf-8")):
        load_recipe(None, [assignment])
