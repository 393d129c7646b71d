"""A real browser, where there is one: Debian's chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("chromium", "chromium-browser", "google-chrome")


def node_module(name: str) -> Path:
    """An npm package that was installed or unpacked for the tests; skips the test where there is none."""
    folder = Path(os.environ.get("FASTSKETCH_NODE_MODULES", ROOT / "node_modules")) / name
    if not folder.is_dir():
        pytest.skip(f"no {folder}: npm install {name}")
    return folder


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium; skips the test where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install --group browser")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield chromium
        finally:
            chromium.close()


@contextmanager
def opened(chromium: Any, address: str, **options: Any) -> Iterator[Any]:
    """A page in a context of its own; whatever it says on the console, but for a busy server, is an error."""
    context = chromium.new_context(**{"viewport": {"width": 1100, "height": 900}, **options})
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if "status of 503" not in message.text else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    try:
        page.goto(address)
        wait(page, "document.getElementById('wished').textContent.startsWith('Draw: ')")
        yield page
        assert said == []
    finally:
        context.close()


def wait(page: Any, expression: str) -> None:
    """Wait until it holds. Playwright's own way evaluates text within the page, which the page's policy forbids."""
    for _ in range(600):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"it never came that {expression}")


def lay_out(page: Any) -> tuple[float, float]:
    """Make the sheet 500 px wide, at whole pixels: a drawing in whole pixels comes out as it went in."""
    page.evaluate(
        "document.body.style.margin = 0; document.body.style.padding = '10px';"
        "document.getElementById('sheet').style.width = '502px'"
    )
    box = page.locator("#sheet").bounding_box()
    assert box["width"] == 502
    assert box["x"] == int(box["x"])
    page.evaluate(f"scrollTo(0, {int(box['y'])})")
    box = page.locator("#sheet").bounding_box()
    page.evaluate(f"document.body.style.paddingTop = '{10 + (int(box['y']) + 1 - box['y'])}px'")
    box = page.locator("#sheet").bounding_box()
    assert box["y"] == int(box["y"]), box
    return box["x"] + 1, box["y"] + 1


def draw(page: Any, strokes: list[list[list[int]]], at: tuple[float, float], scale: int = 1) -> None:
    """Draw with the mouse; a unit is `scale` pixels."""
    left, top = at
    for xs, ys in strokes:
        points = [(left + scale * x, top + scale * y) for x, y in zip(xs, ys, strict=True)]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point)
        page.mouse.up()


def settled(page: Any) -> list[str]:
    """The labels of the answer to what is on the sheet."""
    wait(page, "document.getElementById('answer').ariaBusy === 'false'")
    found: list[str] = page.locator("#answer li span:first-child").all_inner_texts()
    return found


def saved(page: Any, button: str) -> bytes:
    """What a button of the page saves."""
    with page.expect_download() as download:
        page.click(button)
    return Path(download.value.path()).read_bytes()
