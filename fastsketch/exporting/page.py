"""A run → a folder that is a page: what is drawn on it is recognised in the browser, by the exported model."""

from __future__ import annotations

import tarfile
import zlib
from pathlib import Path

from fastsketch import atomic
from fastsketch.errors import ConfigError, DataError, FastSketchError, one_line
from fastsketch.exporting.card import CARD
from fastsketch.exporting.export import ExportedFile, export_run
from fastsketch.serve import page_files
from fastsketch.training.run.directory import Run

PACKAGE = "onnxruntime-web"

RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
"""The files of onnxruntime-web that the page needs."""

INSTALLED = Path("node_modules", PACKAGE)
"""Where npm puts it, below the folder that it is called in."""

POLICY = (
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'self' "
    "'wasm-unsafe-eval'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; base-uri 'none'; "
    "form-action 'none'\">"
)
"""What the page may load, where no server says it."""

CHARSET = '<meta charset="utf-8">'

ABOUT = "model.json"
"""What the page reads of the model, and what people do."""

LINK = '<a id="api" href="api.html">For programs</a>'


def export_page(
    run: Run | str | Path,
    out: str | Path | None = None,
    *,
    runtime: Path | None = None,
    checkpoint: str = "best",
    data: Path | None = None,
    overwrite: bool = False,
) -> ExportedFile:
    """Write the page, with the model as ONNX and what runs it in a browser, into a folder that any server may serve.

    Args:
        run: The run, or its folder.
        out: The folder; by default `page` in the run's.
        runtime: onnxruntime-web: the package's folder, its `dist`, or what `npm pack` fetched. By default it is looked
            for in `node_modules`.
        checkpoint: `best` or `last`.
        data: The run's data set, if it has moved.
        overwrite: Replace what an earlier export left.

    Raises:
        ConfigError: onnxruntime-web is not there, and all that `export_run` raises.
        FastSketchError: A file cannot be written.
    """
    opened = Run.open(Run.of(run).root)
    files = {**_runtime(runtime), **_page()}
    folder = Path(out) if out is not None else opened.root / "page"
    there = [folder / name for name in (*files, ABOUT, CARD) if (folder / name).exists()]
    if there and not overwrite:
        raise ConfigError(f"{there[0]} is there already", hint="choose another --out, or replace it with --overwrite")
    exported = export_run(opened, "onnx", folder, checkpoint=checkpoint, data=data, overwrite=overwrite)[0]
    described = exported.description
    about = {
        "model": described.model,
        "classes": described.classes,
        "size": described.reading.size,
        "resize": described.reading.resize,
        "pictures": described.reading.invert == "no" and not described.reading.clean_photo,
        "gallery": False,
        "version": described.fastsketch,
    }
    try:
        for name, content in files.items():
            atomic.write_bytes(folder / name, content)
        atomic.write_json(folder / ABOUT, about)
    except OSError as error:
        raise FastSketchError(f"{error.filename or folder}: {error.strerror or error}") from error
    return exported


def _page() -> dict[str, bytes]:
    page = page_files.exported()
    index = _swapped(page["index.html"].decode(), LINK, "")
    return page | {"index.html": _swapped(index, CHARSET, f"{CHARSET}\n  {POLICY}").encode()}


def _swapped(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, f"the page has no {old}"
    return text.replace(old, new)


def _runtime(path: Path | None) -> dict[str, bytes]:
    """What runs a model in a browser.

    Raises:
        ConfigError: It is not there.
        DataError: It cannot be read.
    """
    place = path or INSTALLED
    try:
        found = _packed(place) if place.is_file() else _installed(place)
    except (OSError, tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{place} cannot be read: {one_line(error, 200)}", hint=f"npm pack {PACKAGE}") from error
    if missing := [name for name in RUNTIME if name not in found]:
        raise ConfigError(
            f"{place} has no {missing[0]}: a page needs {PACKAGE}",
            hint=f"npm pack {PACKAGE}, then --runtime with the file that it fetched",
        )
    return found


def _installed(folder: Path) -> dict[str, bytes]:
    places = {name: [folder / name, folder / "dist" / name] for name in RUNTIME}
    return {name: each.read_bytes() for name, paths in places.items() for each in paths if each.is_file()}


def _packed(archive: Path) -> dict[str, bytes]:
    found = {}
    with tarfile.open(archive) as package:
        for member in package:
            name = member.name.removeprefix("package/dist/")
            if name in RUNTIME and member.isreg() and (content := package.extractfile(member)):
                found[name] = content.read()
    return found
