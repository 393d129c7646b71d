"""A data set at a URL: the bytes of a local one, whatever is here already, and never any others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from errno import ENOSPC
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from packs import skip_without_library, write_formats_at_hand, write_pack
from remote import Unsteady, always, once, put, store

from fastsketch.errors import ConfigError, DataError, FastSketchError
from fastsketch.formats import cache, names
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit, open_split
from fastsketch.formats.verification import Verifier
from fastsketch.loaders import Sampling, open_loader

__all__ = ["store"]

CPU = torch.device("cpu")
URL = Path("unsteady://bucket/data")
COUNTS = {"train": 40, "val": 9, "test": 5}
SIZE = 24


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The cache folder, with blocks of 7,000 bytes: an image lies in one or two."""
    monkeypatch.setenv(cache.FOLDER, str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "BLOCK", 7_000)
    monkeypatch.setattr(cache, "PATIENCE", 0.01)
    yield tmp_path / "cache"
    forget()


@pytest.fixture(params=[names.IMAGE_FILE_BYTES, 13 * SIZE**2], ids=["one file", "several files"])
def local(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data set on the disk; the same one is at `URL`."""
    monkeypatch.setattr(names, "IMAGE_FILE_BYTES", request.param)
    write_pack(tmp_path / "data", COUNTS, SIZE)
    put(tmp_path / "data", "unsteady://bucket/data")
    return tmp_path / "data"


def forget() -> None:
    """What the process knows: the next one begins."""
    cache._sparse.clear()
    cache._places.clear()


def opened(folder: Path, split: str = "train") -> PackSplit:
    return PackSplit(folder, DatasetMetadata.load(folder), split)


def taken(split: PackSplit, indices: list[int]) -> bytes:
    images = np.zeros((len(indices), 1, SIZE, SIZE), np.uint8)
    split.take(np.array(indices), images, np.zeros(len(indices), np.int64))
    return images.tobytes()


def batches(folder: Path, name: str, split: str = "train", epochs: int = 2) -> list[list[bytes]]:
    sampling = Sampling(6, shuffle=True, seed=3, drop_last=True)
    loader = open_loader(folder, DatasetMetadata.load(folder), split, sampling, CPU, name=name)
    return [[tensor.numpy().tobytes() for tensor in batch] for epoch in range(epochs) for batch in loader.epoch(epoch)]


def asked(call: str = "cat_file") -> list[str]:
    return [name for what, name in Unsteady.calls if what == call]


def test_it_is_read_as_a_local_one(local: Path) -> None:
    assert DatasetMetadata.load(URL) == DatasetMetadata.load(local)
    for name in COUNTS:
        ours, theirs = opened(local, name), opened(URL, name)
        assert (ours.labels.tolist(), ours.ink.tolist(), ours.ids()) == (
            theirs.labels.tolist(),
            theirs.ink.tolist(),
            theirs.ids(),
        )
        for rows in (3, -1, slice(2, 5), slice(None), slice(0, 0), np.array([4, 0, 4])):
            assert np.array_equal(theirs.images[rows], ours.images[rows])
        assert np.array_equal(theirs.images[1, 0], ours.images[1, 0])
        assert np.array_equal(np.asarray(theirs.images), np.asarray(ours.images))
        assert all(map(np.array_equal, theirs.images, ours.images))
        assert theirs.images.shape == ours.images.shape
    joined, ours = (open_split(each, DatasetMetadata.load(each), "train+val") for each in (URL, local))
    assert taken(joined, [45, 0, 39, 40]) == taken(ours, [45, 0, 39, 40])


@pytest.mark.parametrize("name", ["pack", "resident", "auto"])
def test_batches_are_those_of_a_local_one(local: Path, name: str) -> None:
    for split in ("train", "train+val"):
        expected = batches(local, name, split)
        assert batches(URL, name, split) == expected
        forget()
        assert batches(URL, name, split) == expected, "the next run"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ffcv", "dali"])
def test_other_loaders_fetch_their_files_first(tmp_path: Path, name: str) -> None:
    skip_without_library(name)
    write_formats_at_hand(tmp_path / "data", COUNTS, SIZE)
    put(tmp_path / "data", "unsteady://bucket/data")
    assert batches(URL, name) == batches(tmp_path / "data", name)


def test_a_batch_fetches_what_it_needs(local: Path) -> None:
    split = opened(URL)
    Unsteady.calls.clear()
    row = 12 * SIZE**2 // 7_000 * 7_000 // SIZE**2  # an image that begins in one block and ends in the next
    assert taken(split, [row, 0]) == taken(opened(local), [row, 0])
    assert 1 <= len(asked()) <= 3
    taken(split, [row, 0])
    assert len(asked()) <= 3, "it is here now"
    forget()
    again = opened(URL)
    Unsteady.calls.clear()
    taken(again, [0, row])
    assert asked() == [], "in the next process, too"


def test_what_is_here_as_a_whole_needs_no_network(local: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = batches(local, "resident")
    batches(URL, "resident")
    forget()
    Unsteady.calls.clear()
    assert batches(URL, "resident") == expected
    assert asked() == ["dataset.json"]
    forget()
    Unsteady.failure = always(lambda: OSError(101, "Network is unreachable"))
    assert batches(URL, "resident") == expected
    assert "going on with what was fetched before" in caplog.text


def test_the_background_fetches_all_of_a_split(local: Path) -> None:
    metadata = DatasetMetadata.load(URL)
    open_loader(URL, metadata, "train", Sampling(6), CPU, name="pack")
    expected = {file.name for file in metadata.splits["train"].files.values()} | {"dataset.json"}
    for _ in range(1000):
        whole = {
            path.name for path in cache.place(URL).iterdir() if path.suffix not in (".lock", ".partial", ".blocks")
        }
        if whole == expected:
            break
        time.sleep(0.01)
    assert whole == expected
    for name in whole:
        assert (cache.place(URL) / name).read_bytes() == (local / name).read_bytes()


def test_training_fetches_what_it_reads(local: Path) -> None:
    metadata = DatasetMetadata.load(URL)
    with Verifier(URL, [metadata.splits["train"]]) as verifier:
        verifier.conclude()
    assert {name.partition(".")[0] for name in asked()} == {"dataset", "train"}


# ------------------------------------------------------------------------------------------------ what was left


def test_whatever_blocks_are_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every state of a file of four blocks; what is not marked holds anything at all."""
    write_pack(tmp_path / "data", {"train": 12}, SIZE)
    monkeypatch.setattr(cache, "BLOCK", 12 * SIZE**2 // 4)
    put(tmp_path / "data", "unsteady://bucket/data")
    right = (tmp_path / "data/train.images.u8").read_bytes()
    length, rng = len(right) // 4, np.random.default_rng(0)
    for state in product((0, 1), repeat=4):
        opened(URL)
        place = cache.place(URL)
        blocks = [right[n * length : (n + 1) * length] if here else rng.bytes(length) for n, here in enumerate(state)]
        for name in ("train.images.u8", "train.images.u8.lock"):
            (place / name).unlink(missing_ok=True)
        (place / "train.images.u8.partial").write_bytes(b"".join(blocks))
        (place / "train.images.u8.blocks").write_bytes(bytes(state))
        forget()
        split = opened(URL)
        Unsteady.calls.clear()
        assert taken(split, [*range(12)]) == right
        assert len(asked()) == state.count(0)
        assert cache.whole(URL, split._image_files[0]).read_bytes() == right
        forget()
        for name in ("partial", "blocks"):
            assert not (place / f"train.images.u8.{name}").exists()


@pytest.mark.parametrize("name", ["partial", "blocks"])
@pytest.mark.parametrize("change", [Path.unlink, lambda path: os.truncate(path, 1), lambda path: os.truncate(path, 0)])
def test_half_of_what_was_left(local: Path, name: str, change: Callable[[Path], None]) -> None:
    """Somebody cleared up: what is not there is not believed to be."""
    expected = taken(opened(local), [*range(40)])
    taken(opened(URL), [0, 20])
    change(cache.place(URL) / f"train.images.u8.{name}")
    forget()
    assert taken(opened(URL), [*range(40)]) == expected


@pytest.mark.parametrize("error", [KeyboardInterrupt, lambda: OSError(ENOSPC, os.strerror(ENOSPC))])
@pytest.mark.parametrize("step", ["pwrite", "replace", "fdatasync"])
def test_every_step_that_ends_the_process(
    local: Path, monkeypatch: pytest.MonkeyPatch, error: Callable[[], BaseException], step: str
) -> None:
    """Killed, or the disk is full: whichever write is the first to fail, the next process has the right bytes."""
    expected = (local / "train.images.u8").read_bytes()
    number, ended = 0, True
    while ended:
        number, count, ended = number + 1, 0, False
        told: BaseException | None = None
        where = cache.os
        real = getattr(where, step, None)
        if real is None:
            return

        def failing(*args: object, real: Callable[..., object] = real, last: int = number) -> object:
            nonlocal count
            count += 1
            if count >= last:
                raise error()
            return real(*args)

        with monkeypatch.context() as patch:
            patch.setattr(where, step, failing)
            try:
                split = opened(URL)
                taken(split, [0, 5])
                cache.whole(URL, split._image_files[0])
            except (FastSketchError, KeyboardInterrupt) as end:
                told, ended = end, True
        if isinstance(told, FastSketchError):
            assert "No space left on device" in told.message
            assert "\n" not in told.message
            assert cache.FOLDER in str(told.hint)
        forget()
        split = opened(URL)
        assert cache.whole(URL, split._image_files[0]).read_bytes() == expected
        for path in cache.place(URL).iterdir():
            path.unlink()
        forget()


@pytest.mark.parametrize(
    "error", [lambda: OSError(101, "Network is unreachable"), lambda: PermissionError("Forbidden")]
)
@pytest.mark.parametrize("name", ["pack", "resident"])
def test_the_network_is_gone_from_some_call_on(
    local: Path, name: str, error: Callable[[], Exception], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One line, or nothing if all was here; and the next run has the right batches."""
    monkeypatch.setattr(PackSplit, "fetch_behind", lambda self: None)  # or the calls' order is chance
    expected = batches(local, name, epochs=1)
    batches(URL, name, epochs=1)
    total = len(Unsteady.calls)
    for number in range(1, total + 1):
        forget()
        monkeypatch.setenv(cache.FOLDER, str(tmp_path / f"cache-{number}"))
        Unsteady.calls.clear()
        Unsteady.failure = always(error, number)
        with pytest.raises(FastSketchError) as told:
            batches(URL, name, epochs=1)
        assert "\n" not in told.value.message
        assert "unsteady://bucket/data" in told.value.message
        Unsteady.failure = staticmethod(lambda number: None)
        forget()
        assert batches(URL, name, epochs=1) == expected


def test_a_call_that_fails_once_is_made_again(local: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(PackSplit, "fetch_behind", lambda self: None)
    expected = batches(local, "pack", epochs=1)
    batches(URL, "pack", epochs=1)
    for number in range(1, len(Unsteady.calls) + 1):
        forget()
        monkeypatch.setenv(cache.FOLDER, str(tmp_path / f"cache-{number}"))
        Unsteady.calls.clear()
        Unsteady.failure = once(lambda: TimeoutError("slow"), number)
        assert batches(URL, "pack", epochs=1) == expected


# ------------------------------------------------------------------------------------------------------- damage


def learn(name: str) -> None:
    """An epoch with everything verified, as in training."""
    metadata = DatasetMetadata.load(URL)
    loader = open_loader(URL, metadata, "train", Sampling(6, shuffle=True), CPU, name=name)
    with Verifier(URL, [metadata.splits["train"]], loader.verified) as verifier:
        for _ in loader.epoch():
            pass
        verifier.conclude()


FILES = ["train.images.u8", "train.labels.i64", "train.ink.u16", "train.ids.jsonl", "dataset.json"]


@pytest.mark.parametrize("name", ["pack", "resident"])
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", ["flipped", "short", "gone"])
def test_what_is_damaged_there_is_told(
    local: Path, monkeypatch: pytest.MonkeyPatch, name: str, file: str, damage: str
) -> None:
    monkeypatch.setattr(PackSplit, "fetch_behind", lambda self: None)  # its thread would go on in the next "process"
    right = (local / file).read_bytes()
    path = f"/bucket/data/{file}"
    learn(name)  # with another cache folder than the next
    os.rename(cache.place(URL), f"{cache.place(URL)}-other")
    forget()
    files = Unsteady()
    if damage == "gone":
        files.rm_file(path)
    else:
        flipped = bytes([*right[:-9], right[-9] ^ 4, *right[-8:]])
        files.pipe_file(path, flipped if damage == "flipped" else right[:-1])
    with pytest.raises(FastSketchError, match=file.replace(".", r"\.")) as told:
        learn(name)
    assert "\n" not in told.value.message
    files.pipe_file(path, right)
    forget()
    learn(name)


@pytest.mark.parametrize("name", ["pack", "resident"])
@pytest.mark.parametrize("file", FILES[:-1])
def test_what_is_damaged_here_is_told(local: Path, monkeypatch: pytest.MonkeyPatch, name: str, file: str) -> None:
    monkeypatch.setattr(PackSplit, "fetch_behind", lambda self: None)  # its thread would go on in the next "process"
    learn(name)
    path = cache.place(URL) / file
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    forget()
    with pytest.raises(DataError, match=f"{file}, fetched from unsteady://bucket/data, is not as it was") as told:
        learn(name)
    assert "delete it" in str(told.value.hint)
    path.unlink()
    forget()
    learn(name)


def test_another_data_set_at_the_same_url(local: Path, tmp_path: Path) -> None:
    batches(URL, "resident")
    write_pack(tmp_path / "other", {"train": 30, "val": 5}, SIZE)
    put(tmp_path / "other", "unsteady://bucket/data")
    assert batches(URL, "resident") == batches(tmp_path / "other", "resident")


def test_what_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unsteady://bucket/data is not a converted data set \(it has no dataset"):
        DatasetMetadata.load(URL)
    Unsteady.failure = always(lambda: OSError(101, "Network is unreachable"))
    with pytest.raises(FastSketchError, match=r"unsteady://bucket/data/dataset.json: Network is unreachable"):
        DatasetMetadata.load(URL)


# ------------------------------------------------------------------------------------------------ two processes

OTHER = """
import json, sys
from pathlib import Path
import numpy as np
from fastsketch.formats import cache
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit
cache.BLOCK, cache.PATIENCE = 1000, 0.01
url, seed = Path(sys.argv[1]), int(sys.argv[2])
split = PackSplit(url, DatasetMetadata.load(url), "train")
split.fetch_behind()
images = np.zeros((2000, 1, 24, 24), np.uint8)
order = np.random.default_rng(seed).permutation(2000)
for rows in np.split(order, 40):
    part = np.zeros((50, 1, 24, 24), np.uint8)
    split.take(rows, part, np.zeros(50, np.int64))
    images[rows] = part
again = np.zeros_like(images)
split.read(again)
print(json.dumps([hash_.hex() for hash_ in (__import__("hashlib").sha256(each).digest() for each in (images, again))]))
"""


def test_several_processes_share_a_cache(tmp_path: Path, folder: Path) -> None:
    import hashlib

    write_pack(tmp_path / "data", {"train": 2000}, SIZE)
    right = hashlib.sha256((tmp_path / "data/train.images.u8").read_bytes()).hexdigest()
    command = [sys.executable, "-c", OTHER, f"file://{tmp_path}/data"]
    processes = [
        subprocess.Popen([*command, str(seed)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for seed in range(3)
    ]
    for process in processes:
        out, errors = process.communicate(timeout=120)
        assert json.loads(out) == [right, right], errors
        assert errors == ""
    [place] = folder.glob("*/*")
    opened(Path(f"file://{tmp_path}/data"))  # the last of them may have ended while it tidied up behind its back
    assert sorted(path.name for path in place.iterdir() if path.suffix != ".lock") == [
        "dataset.json",
        "train.ids.jsonl",
        "train.images.u8",
        "train.ink.u16",
        "train.labels.i64",
    ]


def test_what_a_process_left_that_ended_as_the_file_was_whole_goes_at_the_next_opening(
    tmp_path: Path, folder: Path
) -> None:
    write_pack(tmp_path / "data", {"train": 20}, SIZE)
    url = Path(f"file://{tmp_path}/data")
    images = cache.whole(url, opened(url)._image_files[0])
    assert images is not None
    left = images.with_name(images.name + ".blocks")
    left.write_bytes(b"\1")
    forget()
    assert taken(opened(url), [*range(20)]) == (tmp_path / "data/train.images.u8").read_bytes()
    assert not left.exists()


def test_a_killed_process_leaves_what_the_next_one_can_use(tmp_path: Path, folder: Path) -> None:
    write_pack(tmp_path / "data", {"train": 2000}, SIZE)
    killed = OTHER.replace(
        "split.fetch_behind()",
        "import os, signal, threading\n"
        "threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGKILL)).start()\nsplit.fetch_behind()",
    ).replace("for rows in", "while True:\n  pass\nfor rows in")
    process = subprocess.run([sys.executable, "-c", killed, f"file://{tmp_path}/data", "0"], timeout=120)
    assert process.returncode == -9
    url = Path(f"file://{tmp_path}/data")
    cache.BLOCK = 1000  # put back by the fixture
    split = opened(url)
    right = (tmp_path / "data/train.images.u8").read_bytes()
    assert taken(split, [*range(2000)]) == right
    assert cache.whole(url, split._image_files[0]).read_bytes() == right
