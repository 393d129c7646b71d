"""Data sets that go to a URL: never half there, never put there twice, nobody else's written over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import platformdirs
import pytest
from converting import changed, content
from numpy.random import default_rng
from remote import Unsteady, always, held, once, store
from shapes import CLASSES, draw_shape

from fastsketch.conversion import convert_dataset
from fastsketch.conversion import upload as uploading
from fastsketch.errors import ConfigError, FastSketchError
from fastsketch.formats import names
from fastsketch.sources import open_source

__all__ = ["store"]

CONFIG = changed(split="3/1")
URL = "unsteady://bucket/data"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *args, **kwargs: tmp_path / "cache")
    return tmp_path / "cache/staging"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    for seed in range(8):
        path = tmp_path / f"raw/{'ab'[seed % 2]}/{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_shape(CLASSES[seed % 2], default_rng(seed)).save(path)
    (tmp_path / "raw/b/damaged.png").write_bytes(b"none")
    return tmp_path / "raw"


@pytest.fixture
def several_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "IMAGE_FILE_BYTES", 2 * 24 * 24)


@pytest.fixture
def expected(raw: Path, tmp_path: Path) -> dict[str, bytes]:
    convert_dataset(open_source(raw), tmp_path / "local", CONFIG)
    return content(tmp_path / "local")


def convert(raw: Path, **changes: object) -> None:
    convert_dataset(open_source(raw), URL, CONFIG.model_copy(update=changes))


def steps(raw: Path) -> Iterator[int]:
    """The numbers of all calls of a conversion."""
    convert(raw)
    count = len(Unsteady.calls)
    for number in range(1, count + 1):
        Unsteady.store.clear()
        Unsteady.calls.clear()
        yield number


def left(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir()) if cache.exists() else []


def put_there() -> list[str]:
    return [name for call, name in Unsteady.calls if call == "put_file"]


@pytest.mark.parametrize("url", [URL, "file://{}/remote/data"])
def test_what_comes_there_is_what_is_written_here(
    several_files: None, raw: Path, expected: dict[str, bytes], cache: Path, tmp_path: Path, url: str
) -> None:
    url = url.format(tmp_path)
    assert "train.images-00001.u8" in expected
    metadata = convert_dataset(open_source(raw), url, CONFIG)
    assert held(url) == expected
    assert left(cache) == []
    Unsteady.calls.clear()
    assert convert_dataset(open_source(raw), url, CONFIG) == metadata, "the same command has nothing to do"
    assert put_there() == []
    assert held(url) == expected


def test_dataset_json_comes_last(raw: Path, expected: dict[str, bytes], cache: Path) -> None:
    convert(raw)
    assert sorted(put_there()) == sorted(expected), "each once"
    assert put_there()[-1] == "dataset.json"


@pytest.mark.parametrize(
    "error", [lambda: OSError(101, "Network is unreachable"), lambda: PermissionError("Forbidden")]
)
def test_an_upload_that_fails_goes_on(
    raw: Path, expected: dict[str, bytes], cache: Path, error: Callable[[], Exception]
) -> None:
    for number in steps(raw):
        Unsteady.failure = always(error, number)
        with pytest.raises(FastSketchError) as told:
            convert(raw)
        assert "\n" not in told.value.message
        assert "dataset.json" not in held_now() or held_now() == expected
        before = put_there()
        Unsteady.failure = staticmethod(lambda number: None)
        convert(raw)
        assert held(URL) == expected
        assert left(cache) == []
        finished = {name for name in before if name != before[-1]}
        assert not finished & {*put_there()[len(before) :]}, "what was there was put there again"


def held_now() -> dict[str, bytes]:
    Unsteady.failure = staticmethod(lambda number: None)
    calls = len(Unsteady.calls)
    there = held(URL) if any(name.startswith("/bucket/data/") for name in Unsteady.store) else {}
    del Unsteady.calls[calls:]
    return there


def test_an_upload_that_is_killed_goes_on(raw: Path, expected: dict[str, bytes], cache: Path) -> None:
    """At any call, before it is made; what the process would do on its way out is not done."""
    for number in steps(raw):
        Unsteady.failure = once(KeyboardInterrupt, number)
        with pytest.raises(KeyboardInterrupt):
            convert(raw)
        assert "dataset.json" not in held_now() or held_now() == expected
        convert(raw)
        assert held(URL) == expected
        assert left(cache) == []


@pytest.mark.parametrize("step", ["replace", "unlink", "rmtree"])
def test_clearing_up_that_is_killed_is_finished(
    raw: Path, expected: dict[str, bytes], cache: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    where = {"replace": uploading.os, "unlink": Path, "rmtree": uploading.shutil}[step]
    real = getattr(where, step)

    def killed(path: object, *args: object, **kwargs: object) -> object:
        if str(path).endswith((".partial", ".done", ".uploaded.json")) and not kwargs.get("ignore_errors"):
            raise KeyboardInterrupt
        return real(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(where, step, killed)
        with pytest.raises(KeyboardInterrupt):
            convert(raw)
    assert held(URL) == expected
    Unsteady.calls.clear()
    convert(raw)
    assert put_there() == []
    assert [name for name in left(cache) if not name.endswith(".uploaded.json")] == []


def test_another_data_set_is_replaced_only_when_told(raw: Path, expected: dict[str, bytes], cache: Path) -> None:
    convert(raw, size=32, split="2/1/1")
    earlier = held(URL)
    with pytest.raises(ConfigError, match="unsteady://bucket/data exists"):
        convert(raw)
    assert held(URL) == earlier
    Unsteady.calls.clear()
    convert(raw, overwrite=True)
    assert held(URL) == expected
    assert earlier.keys() > expected.keys(), "there were files that the new one does not have"
    changes = [(call, name) for call, name in Unsteady.calls if call in ("put_file", "rm_file")]
    assert changes[0] == ("rm_file", "dataset.json")
    assert changes[-1] == ("put_file", "dataset.json")


@pytest.mark.slow
def test_a_replacement_that_fails_goes_on(raw: Path, expected: dict[str, bytes], cache: Path) -> None:
    convert(raw, size=32)
    earlier = {**Unsteady.store}
    Unsteady.calls.clear()
    convert(raw, overwrite=True)
    for number in range(1, len(Unsteady.calls) + 1):
        Unsteady.store.clear()
        Unsteady.store.update(earlier)
        Unsteady.calls.clear()
        Unsteady.failure = always(lambda: OSError(101, "Network is unreachable"), number)
        with pytest.raises(FastSketchError):
            convert(raw, overwrite=True)
        now = held_now()
        names = {name.removeprefix("/bucket/data/"): file.getvalue() for name, file in earlier.items()}
        assert "dataset.json" not in now or now in (names, expected)
        convert(raw, overwrite=True)
        assert held(URL) == expected


@pytest.mark.parametrize(
    "name", ["notes.txt", "train/1.png", "train.images.u8/1", "train.beton", "train-000000.tar", "val.ids.jsonl"]
)
@pytest.mark.parametrize("there", [False, True])
def test_what_is_somebody_elses_is_left(raw: Path, cache: Path, name: str, there: bool) -> None:
    if there:
        convert(raw, size=32)
        if name in held(URL):
            pytest.skip("it is the data set's own")
        if name.startswith("train.images"):
            fsspec.filesystem("unsteady").rm_file("/bucket/data/train.images.u8")
    fsspec.filesystem("unsteady").pipe_file(f"/bucket/data/{name}", b"mine")
    before = held(URL)
    with pytest.raises(ConfigError, match="which no conversion wrote and none will delete"):
        convert(raw, overwrite=True)
    assert held(URL) == before


def test_a_damaged_description_is_not_replaced(raw: Path, cache: Path) -> None:
    fsspec.filesystem("unsteady").pipe_file("/bucket/data/dataset.json", b"{")
    with pytest.raises(ConfigError, match="is damaged: --overwrite cannot tell"):
        convert(raw, overwrite=True)


def test_what_arrives_short_is_put_there_again(
    raw: Path, expected: dict[str, bytes], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_file, cut = Unsteady.put_file, []

    def put(self: Unsteady, lpath: str, rpath: str, *args: object, **kwargs: object) -> None:
        put_file(self, lpath, rpath, *args, **kwargs)
        if rpath not in cut:
            cut.append(rpath)
            self.store[rpath] = type(self.store[rpath])(self, rpath, self.store[rpath].getvalue()[:-1])

    monkeypatch.setattr(Unsteady, "put_file", put)
    convert(raw)
    assert held(URL) == expected
    assert len(cut) == len(expected)


def test_what_was_changed_there_meanwhile_is_put_there_again(
    raw: Path, expected: dict[str, bytes], cache: Path
) -> None:
    convert(raw)
    last = len(Unsteady.calls) - Unsteady.calls[::-1].index(("put_file", "dataset.json"))
    Unsteady.store.clear()
    Unsteady.calls.clear()
    Unsteady.failure = always(OSError, last)
    with pytest.raises(FastSketchError):
        convert(raw)
    Unsteady.failure = staticmethod(lambda number: None)
    files = fsspec.filesystem("unsteady")
    files.pipe_file("/bucket/data/train.labels.i64", b"cut")
    files.rm_file("/bucket/data/val.ids.jsonl")
    Unsteady.calls.clear()
    convert(raw)
    assert put_there() == ["train.labels.i64", "val.ids.jsonl", "dataset.json"]
    assert held(URL) == expected


def test_a_source_that_was_changed_before_the_end_is_converted_anew(raw: Path, cache: Path, tmp_path: Path) -> None:
    Unsteady.failure = staticmethod(lambda number: OSError() if put_there() else None)
    with pytest.raises(FastSketchError):
        convert(raw)
    Unsteady.failure = staticmethod(lambda number: None)
    (raw / "a/0.png").write_bytes((raw / "a/2.png").read_bytes())
    convert(raw)
    convert_dataset(open_source(raw), tmp_path / "anew", CONFIG)
    assert held(URL) == content(tmp_path / "anew")


@pytest.mark.parametrize(
    ("source", "destination"),
    [("file://{}/raw", "file://{}/raw/data"), ("{}/raw", "file://{}/raw/data"), ("file://{}/raw", "{}/raw/data")],
)
def test_neither_lies_in_the_other(raw: Path, tmp_path: Path, cache: Path, source: str, destination: str) -> None:
    with pytest.raises(ConfigError, match="lie"):
        convert_dataset(open_source(source.format(tmp_path)), destination.format(tmp_path), CONFIG)


def test_parts_at_urls(raw: Path, cache: Path, tmp_path: Path, expected: dict[str, bytes]) -> None:
    for number in (1, 2):
        convert_dataset(
            open_source(raw), f"unsteady://parts/{number}", CONFIG.model_copy(update={"part": f"{number}/2"})
        )
        assert "dataset.json" in held(f"unsteady://parts/{number}")
    assert left(cache) == []


def test_what_somebody_else_has_put_there_in_between_is_put_there_again(
    raw: Path, expected: dict[str, bytes], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the same name and in the same length, as with other settings: it is not what was noted."""
    upload, put = uploading.upload, []

    def broken_off(path: Path, url: Path) -> None:
        if len(put) == 2:
            raise FastSketchError("the network is gone")
        upload(path, url)
        put.append(url.name)

    with monkeypatch.context() as patch:
        patch.setattr(uploading, "upload", broken_off)
        with pytest.raises(FastSketchError):
            convert(raw)
    files = fsspec.filesystem("unsteady")
    files.pipe_file(f"/bucket/data/{put[0]}", bytes(len(expected[put[0]])))
    convert(raw)
    assert held(URL) == expected
