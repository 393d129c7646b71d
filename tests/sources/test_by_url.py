"""Sources at a URL: the same rules, the same bytes; and nothing is skipped because the network was gone."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pytest
from converting import content
from PIL import Image
from remote import Unsteady, always, once, put, store

from fastsketch import urls
from fastsketch.config import ConvertConfig
from fastsketch.conversion import convert_dataset
from fastsketch.errors import BackendMissing, ConfigError, DataError, FastSketchError
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.sources import Source, open_source

__all__ = ["store"]

CONFIG = ConvertConfig(size=24, workers=1)


def image(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 7), dtype=np.uint8)
    Image.fromarray(pixels).save(path, path.suffix[1:].lower().replace("jpg", "jpeg"))


def classes(root: Path) -> None:
    for seed, name in enumerate(
        ("ant/1.png", "ant/2.JPG", "ant/deep/er/3.png", "bee/a b.png", "bee/2.png", "bee/é#?%20.png", "cat/1.bmp")
    ):
        image(root / name, seed)
    for name in ("cat/.hidden.png", "__MACOSX/1.png", ".DS_Store", "cat/notes.txt", "bee/1.svg"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"none")
    (root / "cat/damaged.png").write_bytes((root / "ant/1.png").read_bytes()[:-30])


def divided(root: Path) -> None:
    for seed in range(12):
        image(root / f"{('train', 'val', 'test')[seed % 3]}/{'ab'[seed // 3 % 2]}/{seed}.png", seed)


def listed(root: Path) -> None:
    classes(root)
    (root / "filelist.txt").write_text("ant/1.png\nbee/2.png\nant/2.JPG\nbee/é#?%20.png\n", encoding="utf-8")


def drawings(root: Path, suffix: str = ".ndjson", pack: Callable[[bytes], bytes] = bytes) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(("full_simplified_owl", "the moon")):
        lines = [json.dumps({"key_id": str(90 - n), "drawing": [[[0, n, seed], [1, 2, 9]]]}) for n in range(20)]
        (root / f"{name}{suffix}").write_bytes(pack("\n".join([*lines, "{", ""]).encode()))


def packed(root: Path) -> None:
    drawings(root, ".ndjson.gz", lambda lines: gzip.compress(lines, mtime=0))


KINDS = [classes, divided, listed, drawings, packed]


def converted(source: str | Path, destination: Path, config: ConvertConfig = CONFIG) -> dict[str, bytes]:
    convert_dataset(open_source(source), destination, config)
    return content(destination)


@pytest.mark.parametrize("fill", KINDS)
@pytest.mark.parametrize("protocol", ["memory://sketches/raw", "file://{}/remote", "unsteady://b"])
def test_a_url_gives_the_bytes_of_a_copy(tmp_path: Path, fill: Callable[[Path], None], protocol: str) -> None:
    fill(tmp_path / "raw")
    url = protocol.format(tmp_path)
    put(tmp_path / "raw", url)
    local, there = open_source(tmp_path / "raw"), open_source(url)
    assert (there.kind, there.class_names, there.splits) == (local.kind, local.class_names, local.splits)
    for label in range(len(local.class_names)):
        ours, theirs = local.samples(label), there.samples(label)
        assert [(each.id, each.split) for each in ours] == [(each.id, each.split) for each in theirs]
    assert local.unread() == there.unread()
    assert converted(url, tmp_path / "theirs") == converted(tmp_path / "raw", tmp_path / "ours")


@pytest.mark.parametrize("workers", [2])
def test_workers_read_by_url(tmp_path: Path, workers: int) -> None:
    classes(tmp_path / "raw")
    config = CONFIG.model_copy(update={"workers": workers})
    ours = converted(tmp_path / "raw", tmp_path / "ours", config)
    assert converted(f"file://{tmp_path}/raw", tmp_path / "theirs", config) == ours


def test_a_large_image_is_not_fetched_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastsketch.conversion import fetch, gray

    classes(tmp_path / "raw")
    (tmp_path / "raw/bee/large.png").write_bytes(bytes(10_000))
    put(tmp_path / "raw", "unsteady://b")
    monkeypatch.setattr(fetch, "AHEAD", 1_000)  # some of the others neither
    monkeypatch.setattr(gray, "LARGEST_FILE", 9_999)
    ours = converted(tmp_path / "raw", tmp_path / "ours")
    assert converted("unsteady://b", tmp_path / "theirs") == ours
    assert any("too large" in each.reason for each in DatasetMetadata.load(tmp_path / "ours").skipped)
    asked = [name for call, name in Unsteady.calls if call == "cat_file"]
    assert len(asked) == len(set(asked)), "an image was fetched twice"
    assert "large.png" not in asked


def one_class(root: Path) -> None:
    image(root / "ant/1.png")


def all_deeper(root: Path) -> None:
    for name in ("a/x/1.png", "b/x/1.png"):
        image(root / name)


def without_image(root: Path) -> None:
    classes(root)
    (root / "dog").mkdir()
    (root / "dog/1.svg").write_bytes(b"none")


def loose(root: Path) -> None:
    image(root / "1.png")


def no_train(root: Path) -> None:
    image(root / "val/a/1.png")
    image(root / "test/a/1.png")


def only_in_val(root: Path) -> None:
    divided(root)
    image(root / "val/c/1.png")


def two_val(root: Path) -> None:
    divided(root)
    image(root / "valid/a/1.png")


def twice(root: Path) -> None:
    drawings(root)
    packed(root)


def no_drawing(root: Path) -> None:
    drawings(root)
    (root / "zero.ndjson").write_bytes(b"\n\n")


def cut_off(root: Path) -> None:
    packed(root)
    path = root / "the moon.ndjson.gz"
    path.write_bytes(path.read_bytes()[:-20])


def not_listed(root: Path) -> None:
    listed(root)
    (root / "filelist.txt").write_bytes(b"../a/1.png")


@pytest.mark.parametrize(
    "fill",
    [
        one_class,
        all_deeper,
        without_image,
        loose,
        no_train,
        only_in_val,
        two_val,
        twice,
        no_drawing,
        cut_off,
        not_listed,
    ],
)
def test_a_url_is_refused_as_a_copy_is(tmp_path: Path, fill: Callable[[Path], None]) -> None:
    fill(tmp_path / "raw")
    put(tmp_path / "raw", "memory://raw")
    said = []
    for source in (str(tmp_path / "raw"), "memory://raw"):
        with pytest.raises(FastSketchError) as error:
            converted(source, tmp_path / "data")
        said.append((type(error.value), str(error.value).replace(source, "SOURCE")))
    assert said[0] == said[1]
    assert "SOURCE" in said[0][1]


@pytest.mark.parametrize("fill", KINDS)
@pytest.mark.parametrize("change", ["touch", "grow", "remove"])
def test_a_state_tells_a_changed_object(tmp_path: Path, fill: Callable[[Path], None], change: str) -> None:
    fill(tmp_path / "raw")
    put(tmp_path / "raw", "unsteady://raw")
    source: Source = open_source("unsteady://raw")
    before = [source.state(label) for label in range(2)]
    assert [source.state(label) for label in range(2)] == before
    first = source.samples(0)[0]
    name = first.id if source.kind != "quickdraw" else "full_simplified_owl.ndjson" + ".gz" * (fill is packed)
    files = fsspec.filesystem("unsteady")
    old = files.cat_file(f"/raw/{name}")
    if change == "remove":
        files.rm_file(f"/raw/{name}")
    else:
        files.pipe_file(f"/raw/{name}", old + b"\n" * (change == "grow"))
    assert source.state(0) != before[0]
    assert source.state(1) == before[1]


def test_an_object_that_is_called_as_its_folder_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Object stores make a folder by one."""
    classes(tmp_path / "raw")
    put(tmp_path / "raw", "unsteady://raw")
    ls = Unsteady.ls

    def with_marker(self: Unsteady, path: str, detail: bool = True, **kwargs: object) -> object:
        marker = {"name": path.rstrip("/") + "/", "size": 0, "type": "file"}
        return [marker, *ls(self, path, detail, **kwargs)]

    ours = converted(tmp_path / "raw", tmp_path / "ours")
    monkeypatch.setattr(Unsteady, "ls", with_marker)
    assert converted("unsteady://raw", tmp_path / "theirs") == ours


def count_calls(source: str, destination: Path) -> int:
    Unsteady.calls.clear()
    converted(source, destination)
    count = len(Unsteady.calls)
    shutil.rmtree(destination)
    return count


@pytest.mark.parametrize("fill", [classes, packed])
def test_a_call_that_fails_once_is_made_again(tmp_path: Path, fill: Callable[[Path], None]) -> None:
    fill(tmp_path / "raw")
    put(tmp_path / "raw", "unsteady://raw")
    ours = converted(tmp_path / "raw", tmp_path / "ours")
    for number in range(1, count_calls("unsteady://raw", tmp_path / "theirs") + 1):
        Unsteady.calls.clear()
        Unsteady.failure = once(lambda: TimeoutError("slow"), number)
        assert converted("unsteady://raw", tmp_path / "theirs") == ours
        shutil.rmtree(tmp_path / "theirs")


@pytest.mark.parametrize("fill", [classes, packed])
@pytest.mark.parametrize(
    "error",
    [
        lambda: OSError(101, "Network is unreachable"),
        lambda: PermissionError("Forbidden"),
        FileNotFoundError,
        ValueError,
    ],
)
def test_what_fails_for_good_ends_in_one_line(
    tmp_path: Path, fill: Callable[[Path], None], error: Callable[[], Exception]
) -> None:
    """Whichever call is the first to fail, nothing is skipped: with the network back, the same command ends right."""
    fill(tmp_path / "raw")
    put(tmp_path / "raw", "unsteady://raw")
    ours = converted(tmp_path / "raw", tmp_path / "ours")
    for number in range(1, count_calls("unsteady://raw", tmp_path / "theirs") + 1):
        Unsteady.calls.clear()
        Unsteady.failure = always(error, number)
        with pytest.raises(FastSketchError) as told:
            converted("unsteady://raw", tmp_path / "theirs")
        assert "\n" not in told.value.message
        assert "unsteady://raw" in told.value.message
        assert not (tmp_path / "theirs").exists()
        Unsteady.failure = staticmethod(lambda number: None)
        assert converted("unsteady://raw", tmp_path / "theirs") == ours
        shutil.rmtree(tmp_path / "theirs")


def test_a_bucket_that_refuses_or_is_not_there() -> None:
    with pytest.raises(ConfigError, match="unsteady://nowhere: no such file or folder"):
        open_source("unsteady://nowhere")
    Unsteady.failure = always(lambda: PermissionError("Forbidden"))
    with pytest.raises(DataError, match=r"unsteady://nowhere: refused \(Forbidden\)"):
        open_source("unsteady://nowhere")


def test_an_answer_that_is_cut_off_is_no_damaged_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes(tmp_path / "raw")
    put(tmp_path / "raw", "unsteady://raw")
    cat_file = Unsteady.cat_file
    monkeypatch.setattr(Unsteady, "cat_file", lambda *args, **kwargs: cat_file(*args, **kwargs)[:-1])
    with pytest.raises(FastSketchError, match="bytes came of"):
        converted("unsteady://raw", tmp_path / "data")


def test_a_file_of_drawings_that_is_changed_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawings(tmp_path / "raw")
    put(tmp_path / "raw", "unsteady://raw")
    monkeypatch.setattr(urls, "BLOCK", 100)
    source, cat_file = open_source("unsteady://raw"), Unsteady.cat_file

    def cat(self: Unsteady, path: str, start: int | None = None, end: int | None = None) -> bytes:
        content: bytes = cat_file(self, path, start, end)
        if start:
            Unsteady.store[path].modified = Unsteady.store[path].created = 1
        return content

    monkeypatch.setattr(Unsteady, "cat_file", cat)
    with pytest.raises(DataError, match="was changed while it was read"):
        source.samples(0)


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec import core

    def missing(*args: object, **kwargs: object) -> None:
        raise ImportError("Install it")

    monkeypatch.setattr(core, "url_to_fs", missing)
    with pytest.raises(BackendMissing, match=r"s3fs cannot be imported \(Install it\)\npip install '\.\[s3\]'"):
        open_source("s3://bucket/raw")
    with pytest.raises(BackendMissing, match=r"gcsfs cannot be imported .*\npip install gcsfs"):
        open_source("gs://bucket/raw")
    monkeypatch.setitem(__import__("sys").modules, "fsspec.core", None)
    with pytest.raises(BackendMissing, match=r"fsspec cannot be imported .*\npip install '\.\[urls\]'"):
        open_source("s3://bucket/raw")


def test_an_unknown_protocol() -> None:
    with pytest.raises(ConfigError, match="nonsense://x/y: Protocol not known"):
        open_source("nonsense://x/y")


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        (Path("s3://bucket/a/b"), "s3://bucket/a/b"),
        (Path("s3://bucket") / "a" / "b", "s3://bucket/a/b"),
        (Path("file:///tmp/x"), "file:///tmp/x"),
        ("hf://datasets/user/name@v1/raw", "hf://datasets/user/name@v1/raw"),
        (Path("C:/data"), None),
        (Path("/data/s3:/x"), None),
        ("data", None),
        ("raw: old/x", None),
    ],
)
def test_what_is_a_url(path: str | Path, url: str | None) -> None:
    assert urls.url_of(path) == url
    assert urls.written(path) == (url or str(path))
