"""The page in a real browser: what is drawn there is what `predict` is shown."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import browser, draw, lay_out, node_module, opened, saved, settled, wait
from PIL import Image
from serving import Serving, serving
from trained import picture

from fastsketch import Classifier
from fastsketch.training.run.directory import Run

CROSS = [[[50, 200], [50, 200]], [[200, 50], [50, 200]]]
HOUSE = [[[60, 60, 190, 190, 60], [240, 120, 120, 240, 240]], [[60, 125, 190], [120, 60, 120]]]

PUT = """([bytes, type, event]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([new Uint8Array(bytes)], 'picture', { type }));
  const init = { bubbles: true, cancelable: true };
  const made = event === 'paste'
    ? new ClipboardEvent('paste', { ...init, clipboardData: transfer })
    : new DragEvent('drop', { ...init, dataTransfer: transfer });
  document.body.dispatchEvent(made);
}"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as found:
        yield found


@pytest.fixture
def page(chromium: Any, server: Serving) -> Iterator[Any]:
    with opened(chromium, server.address) as found:
        yield found


@pytest.fixture(scope="module")
def classifier(run: Run) -> Classifier:
    return Classifier.load(run, device="cpu")


def first(classifier: Classifier, strokes: list[list[list[int]]]) -> str:
    return classifier.predict({"drawing": strokes}).labels[0]


def quickdraw(folder: Path, count: int) -> list[list[list[list[int]]]]:
    """A real drawing of each of so many classes, coordinates 0 to 255."""
    files = sorted((folder / "data/quickdraw-strokes").glob("*.ndjson.gz"))[:count]
    found = []
    for number, path in enumerate(files):
        with gzip.open(path) as file:
            found.append(json.loads([*file][number])["drawing"])
    return found


def test_real_drawings_of_twenty_classes(page: Any, classifier: Classifier, shared_data: Path) -> None:
    at = lay_out(page)
    seen = set()
    for strokes in quickdraw(shared_data, 20):
        draw(page, strokes, at)
        labels = settled(page)
        record = json.loads(saved(page, "#strokes"))
        assert len(record["drawing"]) == len(strokes)
        assert labels[0] == first(classifier, strokes) == first(classifier, record["drawing"])
        seen.add(labels[0])
        page.click("#clear")
    assert len(seen) > 2


def test_undo_clear_and_next(page: Any, classifier: Classifier) -> None:
    at = lay_out(page)
    assert page.locator("#undo").is_disabled()
    draw(page, HOUSE, at)
    assert settled(page)[0] == first(classifier, HOUSE)
    page.click("#undo")
    assert settled(page)[0] == first(classifier, HOUSE[:1])
    page.click("#undo")
    assert page.locator("#answer li").count() == 0
    assert page.locator("#clear").is_disabled()
    draw(page, CROSS, at)
    settled(page)
    page.click("#clear")
    assert page.locator("#answer li").count() == 0
    wished = page.inner_text("#wished")
    draw(page, CROSS, at)
    page.click("#next")
    assert page.inner_text("#wished") != wished
    assert page.locator("#answer li").count() == 0


def test_keyboard_alone(page: Any, classifier: Classifier) -> None:
    at = lay_out(page)
    draw(page, HOUSE, at)
    settled(page)
    page.locator("#sheet").focus()
    page.keyboard.press("z")
    assert settled(page)[0] == first(classifier, HOUSE[:1])
    with page.expect_request("**/api/predict*"):
        page.keyboard.press("Enter")
    assert settled(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "undo"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "ask"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    assert page.locator("#answer li").count() == 0


@pytest.mark.parametrize("way", ["paste", "drop", "open"])
def test_a_picture(page: Any, classifier: Classifier, tmp_path: Path, way: str) -> None:
    path = tmp_path / "picture.png"
    picture(1).save(path)
    if way == "open":
        page.set_input_files("#open", path)
    else:
        page.evaluate(PUT, [[*path.read_bytes()], "image/png", way])
    wait(page, "!document.getElementById('clear').disabled")
    assert settled(page) == list(classifier.predict(path).labels)
    assert page.locator("#strokes").is_disabled(), "a picture has none"
    page.evaluate(PUT, [[1, 2, 3], "image/png", "drop"])
    wait(page, "document.getElementById('problem').textContent")
    assert "no image" in page.inner_text("#problem")


def test_what_ends_a_line_in_the_making(page: Any, classifier: Classifier) -> None:
    """Z and Delete while the pen is down; what it goes on to draw belongs to nothing."""
    left, top = lay_out(page)
    draw(page, HOUSE, (left, top))
    for key, strokes in (("z", HOUSE), ("Delete", [])):
        page.locator("#sheet").focus()
        page.mouse.move(left + 10, top + 10)
        page.mouse.down()
        page.mouse.move(left + 90, top + 10)
        page.keyboard.press(key)
        page.mouse.move(left + 90, top + 90)
        page.mouse.up()
        if strokes:
            assert settled(page)[0] == first(classifier, strokes)
        assert page.locator("#clear").is_disabled() == (not strokes)


def test_a_line_that_leaves_the_sheet_ends_at_its_edge(page: Any) -> None:
    left, top = lay_out(page)
    draw(page, [[[100, 700], [100, 100]]], (left, top))
    settled(page)
    [[xs, ys]] = json.loads(saved(page, "#strokes"))["drawing"]
    assert (xs, ys) == ([200, 1000], [200, 200])


def test_a_busy_server_is_asked_again(page: Any) -> None:
    at = lay_out(page)
    busy = {"status": 503, "headers": {"Retry-After": "1"}, "json": {"error": "too many wait already"}}
    page.route("**/api/predict*", lambda route: route.fulfill(**busy), times=1)
    draw(page, CROSS[:1], at)
    wait(page, "document.getElementById('problem').textContent === 'too many wait already'")
    wait(page, "document.querySelectorAll('#answer li').length === 5")
    assert page.inner_text("#problem") == ""


def test_what_is_saved_and_what_the_model_sees(page: Any, classifier: Classifier) -> None:
    at = lay_out(page)
    draw(page, CROSS, at)
    settled(page)
    image = np.asarray(Image.open(io.BytesIO(saved(page, "#png"))).convert("RGB"))
    assert image[0, 0].tolist() == [255, 255, 255]
    middle = image[round(len(image) / 4), round(len(image) / 4)]
    assert middle.tolist() == [0, 0, 0]
    record = json.loads(saved(page, "#strokes"))
    assert record["word"]
    assert record["key_id"]
    size = classifier.members[0].preprocess.size  # type: ignore[attr-defined]
    wait(page, f"document.getElementById('sight').width === {size}")


def test_the_newest_wins_and_a_line_is_answered_while_it_is_drawn(page: Any, classifier: Classifier) -> None:
    left, top = lay_out(page)
    page.mouse.move(left + 50, top + 50)
    page.mouse.down()
    for step in range(40):
        page.mouse.move(left + 50 + 5 * step, top + 50 + step)
        page.wait_for_timeout(10)
    wait(page, "document.querySelectorAll('#answer li').length === 5")
    page.mouse.up()
    assert settled(page)[0] == first(classifier, json.loads(saved(page, "#strokes"))["drawing"])


def test_a_finger_on_a_narrow_screen(chromium: Any, server: Serving, classifier: Classifier) -> None:
    phone = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True, "device_scale_factor": 3}
    with opened(chromium, server.address, **phone) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        box = page.locator("#sheet").bounding_box()
        assert box["width"] > 300
        touch = page.context.new_cdp_session(page)

        def send(kind: str, *points: tuple[float, float]) -> None:
            where = [{"x": box["x"] + x, "y": box["y"] + y, "id": number} for number, (x, y) in enumerate(points)]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": where})

        send("touchStart", (50, 50))
        for step in range(1, 20):
            send("touchMove", (50 + 10 * step, 50 + 8 * step))
        send("touchEnd")
        labels = settled(page)
        drawn = json.loads(saved(page, "#strokes"))["drawing"]
        assert len(drawn) == 1, "the page did not scroll instead"
        assert len(drawn[0][0]) > 15
        assert labels[0] == first(classifier, drawn)
        for name in ("undo", "clear", "next", "png"):
            assert page.locator(f"#{name}").bounding_box()["height"] >= 24


def test_in_the_dark_paper_stays_white(chromium: Any, server: Serving) -> None:
    backs = {}
    for scheme in ("light", "dark"):
        with opened(chromium, server.address, color_scheme=scheme) as page:
            draw(page, CROSS, lay_out(page))
            settled(page)
            backs[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
            image = np.asarray(Image.open(io.BytesIO(saved(page, "#png"))).convert("L"))
            assert image[0, 0] == 255
    assert backs == {"light": "rgb(246, 245, 242)", "dark": "rgb(23, 24, 26)"}


def test_training_sketches_are_shown(page: Any) -> None:
    draw(page, CROSS, lay_out(page))
    labels = settled(page)
    wait(page, "document.querySelectorAll('#neighbours figure').length === 15")
    shown = page.locator("#neighbours figcaption").all_inner_texts()
    assert shown[::3] == labels


def test_a_server_with_a_token_and_one_that_is_gone(chromium: Any, run: Run) -> None:
    with serving(run.root, "--token", "abc123") as server, opened(chromium, server.address) as page:
        draw(page, CROSS, lay_out(page))
        assert settled(page)
    with serving(run.root) as server:
        context = chromium.new_context()
        page = context.new_page()
        page.goto(server.address)
        at = lay_out(page)
        server.end()
        draw(page, CROSS, at)
        wait(page, "document.getElementById('problem').textContent")
        context.close()


@pytest.mark.parametrize("path", ["", "api.html"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(chromium: Any, server: Serving, path: str, scheme: str) -> None:
    axe = (node_module("axe-core") / "axe.min.js").read_text(encoding="utf-8")
    context = chromium.new_context(color_scheme=scheme)
    page = context.new_page()
    page.goto(server.address + path)
    page.wait_for_load_state("networkidle")
    if not path:
        draw(page, CROSS, lay_out(page))
        settled(page)
        wait(page, "document.querySelector('#neighbours figure') !== null")
    page.evaluate(axe)
    found = page.evaluate("axe.run()")["violations"]
    assert [(each["id"], each["impact"], [node["html"] for node in each["nodes"]]) for each in found] == []
    context.close()
