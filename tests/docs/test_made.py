"""What `make docs` makes is what is committed."""

from __future__ import annotations

import runpy

import pytest
from pages import DOCS, links

from fastsketch.config.reference import key_reference
from fastsketch.recipes import recipe_names

MADE = runpy.run_path(str(DOCS / "make.py"))


def test_recipes_and_keys_are_current() -> None:
    page = (DOCS / "recipes-and-keys.md").read_text(encoding="utf-8")
    assert page == MADE["reference_page"](), "renew it with: make docs"


def test_every_recipe_and_key_has_its_row() -> None:
    page = MADE["reference_page"]()
    described = [key.name for key in key_reference() if "." in key.name]
    rows = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    assert rows == [*recipe_names(), *described]
    assert all(line.count("|") - line.count(r"\|") == 5 for line in page.splitlines() if line.startswith("| `data."))


@pytest.mark.parametrize("page", ["augmentation.md", "ink-tokens.md"])
def test_every_picture_is_drawn_by_a_command_of_a_page(page: str) -> None:
    drawn = {command[command.index("--out") + 1] for command in MADE["preview_commands"]()}
    assert {link.removeprefix("pictures/") for link in links(DOCS / page) if link.endswith(".png")} <= drawn
