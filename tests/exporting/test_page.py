"""The page without a server, in a real browser: it says what the exported model says of what ours draws."""

from __future__ import annotations

import base64
import gzip
import json
import tarfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from browsing import browser, draw, lay_out, node_module, opened, settled, wait
from fastsketch_cli.app import app
from trained import picture
from typer.testing import CliRunner

from fastsketch import Classifier
from fastsketch.conversion.decode import draw_strokes
from fastsketch.errors import ConfigError
from fastsketch.exporting.page import PACKAGE, RUNTIME, export_page
from fastsketch.training.run.directory import Run

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package)

HOUSE = [[[60, 60, 190, 190, 60], [240, 120, 120, 240, 240]], [[60, 125, 190], [120, 60, 120]]]
DRAWINGS = 500

RASTERISE = """async ([drawings, size]) => {
  const { drawing } = await import('./rasterise.js');
  const all = new Uint8Array(drawings.length * size * size);
  drawings.forEach((strokes, place) => all.set(drawing(strokes, size), place * size * size));
  let text = '';
  const step = 8192;
  for (let at = 0; at < all.length; at += step) text += String.fromCharCode(...all.subarray(at, at + step));
  return btoa(text);
}"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def folder(run: Run) -> Path:
    runtime = node_module(PACKAGE)
    return export_page(run, run.root.parent / "site", runtime=runtime).path.parent


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[Any]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        with browser() as chromium, opened(chromium, f"http://127.0.0.1:{server.server_port}/") as found:
            yield found
    finally:
        server.shutdown()


def test_it_says_what_the_model_says(page: Any, folder: Path) -> None:
    classifier = Classifier.load(folder / "model.onnx")
    draw(page, HOUSE, lay_out(page))
    labels = settled(page)
    expected = classifier.predict({"drawing": HOUSE})
    assert labels == list(expected.labels)
    shares = page.locator("#answer li span:last-child").all_inner_texts()
    assert [float(share.removesuffix("%")) for share in shares] == pytest.approx(
        [100 * each for each in expected.probabilities], abs=0.6
    )
    assert page.locator("#sight").get_attribute("width") == str(classifier.readings[0].size)
    page.click("#clear")


@pytest.mark.parametrize("seed", range(3))
def test_a_picture(page: Any, folder: Path, tmp_path: Path, seed: int) -> None:
    path = tmp_path / "picture.png"
    picture(seed).save(path)
    page.set_input_files("#open", path)
    wait(page, "!document.getElementById('clear').disabled")
    assert settled(page)[0] == Classifier.load(folder / "model.onnx").predict(path).labels[0]
    page.click("#clear")


@pytest.mark.parametrize("size", [28, 224])
def test_the_rasteriser_gives_our_pixels(page: Any, shared_data: Path, size: int) -> None:
    """500 real drawings, bit by bit: Quick, Draw! asks for 28 px, a vision transformer for 224."""
    files = sorted((shared_data / "data/quickdraw-strokes").glob("*.ndjson.gz"))
    records = []
    for number in range(DRAWINGS):
        with gzip.open(files[number % len(files)]) as file:
            lines = file.readlines()
        records.append(lines[number * 7 % len(lines)])
    for start in range(0, DRAWINGS, 50):
        chunk = records[start : start + 50]
        drawn = page.evaluate(RASTERISE, [[json.loads(line)["drawing"] for line in chunk], size])
        found = np.frombuffer(base64.b64decode(drawn), np.uint8).reshape(-1, size, size)
        np.testing.assert_array_equal(found, [draw_strokes(line, size) for line in chunk])


def test_nothing_is_asked_of_elsewhere(page: Any, folder: Path) -> None:
    asked = page.evaluate("performance.getEntriesByType('resource').map((entry) => new URL(entry.name).host)")
    assert set(asked) == {page.evaluate("location.host")}
    wait(page, "document.getElementById('api') === null")
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [
            *("README.md", "ask.js", "icon.svg", "image.js", "index.html", "model.json", "model.onnx", "page.js"),
            *("dom.js", "sheet.js", "rasterise.js", "style.css", *RUNTIME),
        ]
    )


def package(folder: Path) -> Path:
    """What `npm pack` fetches, with other content."""
    archive = folder / "onnxruntime-web-1.0.0.tgz"
    with tarfile.open(archive, "w:gz") as packed:
        for name in RUNTIME:
            (folder / name).write_text(name)
            packed.add(folder / name, f"package/dist/{name}")
    return archive


def test_the_runtime_is_found_in_an_archive_or_a_folder(run: Run, tmp_path: Path) -> None:
    for number, runtime in enumerate((package(tmp_path), tmp_path)):
        out = tmp_path / f"page-{number}"
        export_page(run, out, runtime=runtime)
        assert [(out / name).read_text() for name in RUNTIME] == list(RUNTIME)
    with pytest.raises(ConfigError, match="is there already"):
        export_page(run, out, runtime=tmp_path)
    (tmp_path / "site").mkdir()
    (tmp_path / "site/index.html").write_text("somebody's")
    with pytest.raises(ConfigError, match="is there already"):
        export_page(run, tmp_path / "site", runtime=tmp_path)
    assert (tmp_path / "site/index.html").read_text() == "somebody's"
    export_page(run, out, runtime=tmp_path, overwrite=True)


def test_what_is_wrong_is_told(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusal(*arguments: object) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["export", str(run.root), *map(str, arguments)])
        return done.exit_code, done.stderr

    monkeypatch.chdir(tmp_path)
    code, said = refusal("--to", "page")
    assert code == 2
    assert said.splitlines()[1].split() == f"npm pack {PACKAGE}, then --runtime with the file that it fetched".split()
    (tmp_path / "no.tgz").write_bytes(b"no archive")
    assert refusal("--to", "page", "--runtime", tmp_path / "no.tgz")[0] == 1
    assert refusal("--to", "page", "--int8")[0] == 2
    assert refusal("--runtime", tmp_path)[0] == 2
    assert not (run.root / "page").exists()
