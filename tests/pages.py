"""The pages for people, and what stands in them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"\bfastsketch (?=[a-z])")


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return [text for found, text in _FENCE.findall(page.read_text(encoding="utf-8")) if found == language]


def commands(page: Path) -> list[str]:
    """Every `fastsketch …` of a page, in blocks of `sh` and between backticks, without comments."""
    prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    lines += [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
    return [line[found.start() :] for line in lines if (found := _COMMAND.search(line))]


def headings(page: Path) -> list[str]:
    """The anchors that GitHub gives the headings of a page."""
    titles = re.findall(r"^#+ (.*)$", _FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


def links(page: Path) -> list[str]:
    """Where the links and pictures of a page lead, those to other sites left out."""
    prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return [to for to in re.findall(r"\]\(([^)\s]+)\)", prose) if not re.match(r"[a-z]+:", to)]
