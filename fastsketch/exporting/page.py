"""A run → a folder that is a page: what is drawn on it is recognised in the browser, by the exported model."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from pathlib import Path

from fastsketch import atomic
from fastsketch.errors import ConfigError, DataError, FastSketchError
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
    files = _runtime(runtime)
    opened = Run.open(Run.of(run).root)
    folder = Path(out) if out is not None else opened.root / "page"
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
        _write(folder, files)
        _write(folder, _page())
        atomic.write_json(folder / "model.json", about)
    except OSError as error:
        raise FastSketchError(f"{error.filename or folder}: {error.strerror or error}") from error
    return exported


def _page() -> dict[str, bytes]:
    page = page_files.exported()
    index = (
        page["index.html"]
        .decode()
        .replace(LINK, "")
        .replace('<meta charset="utf-8">', f'<meta charset="utf-8">\n  {POLICY}')
    )
    return page | {"index.html": index.encode()}


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        with atomic.replacing(folder / name) as temporary:
            temporary.write_bytes(content)


def _runtime(path: Path | None) -> dict[str, bytes]:
    """What runs a model in a browser.

    Raises:
        ConfigError: It is not there.
        DataError: It cannot be read.
    """
    place = path or INSTALLED
    try:
        found = _packed(place) if place.is_file() else _installed(place)
    except (OSError, tarfile.TarError, EOFError) as error:
        raise DataError(f"{place} cannot be read: {error}", hint=f"npm pack {PACKAGE}") from error
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
