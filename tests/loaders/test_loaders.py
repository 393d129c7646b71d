"""All loaders, held to one contract."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from packs import skip_without_library, write_formats_at_hand

from fastsketch.config import ConvertConfig
from fastsketch.conversion import convert_dataset
from fastsketch.errors import BackendMissing, ConfigError, DataError
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit
from fastsketch.loaders import Loader, Sampling, open_loader
from fastsketch.sources import open_source

TRAIN, VAL = 331, 53

NAMES = ("resident", "ffcv", "dali", "pack")

Open = Callable[..., Loader]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loaders") / "data"
    write_formats_at_hand(folder, {"train": TRAIN, "val": VAL})
    return folder


@pytest.fixture(params=NAMES)
def opened(request: pytest.FixtureRequest, data: Path, device: torch.device) -> Open:
    """Opens a split of the data set with each of the loaders."""
    skip_without_library(request.param)

    def open_(split: str = "train", **sampling: int) -> Loader:
        return open_loader(data, DatasetMetadata.load(data), split, Sampling(**sampling), device, name=request.param)

    return open_


def indices(loader: Loader, epoch: int = 0, skip: int = 0) -> list[int]:
    return [index for batch in loader.epoch(epoch, skip=skip) for index in batch.indices.tolist()]


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_index_has_its_image_and_label(
    opened: Open, data: Path, device: torch.device, split: str, shuffle: bool
) -> None:
    pack = PackSplit(data, DatasetMetadata.load(data), split)
    images, labels = torch.tensor(pack.images), torch.tensor(pack.labels)
    seen = []
    for batch in opened(split, batch_size=16, shuffle=shuffle).epoch(1):
        assert [tensor.dtype for tensor in batch] == [torch.uint8, torch.int64, torch.int64]
        assert all(tensor.device.type == device.type for tensor in batch)
        assert batch.images.shape[1:] == (1, 24, 24)
        assert torch.equal(batch.images.cpu(), images[batch.indices.cpu()])
        assert torch.equal(batch.labels.cpu(), labels[batch.indices.cpu()])
        seen += batch.indices.tolist()
    assert sorted(seen) == list(range(len(pack)))


def test_batches_have_the_strides_that_a_compiled_step_is_made_for(opened: Open) -> None:
    batch = next(iter(opened(batch_size=8).epoch()))
    for tensor in batch:
        assert tensor.stride() == torch.empty(tensor.shape).stride()


def test_evaluation_keeps_the_ragged_last_batch(opened: Open) -> None:
    loader = opened("val", batch_size=16)
    assert [len(batch.labels) for batch in loader.epoch()] == [16, 16, 16, 5]
    assert (len(loader), loader.samples) == (4, VAL)
    loader = opened("val", batch_size=64)
    assert [len(batch.labels) for batch in loader.epoch()] == [VAL]


def test_training_drops_it(opened: Open) -> None:
    loader = opened(batch_size=32, shuffle=True, drop_last=True)
    assert [len(batch.labels) for batch in loader.epoch()] == [32] * 10
    assert (len(loader), loader.samples) == (10, 320)
    order = indices(loader)
    assert len(set(order)) == 320


def test_order_is_a_function_of_the_seed_and_the_epoch(opened: Open) -> None:
    options = {"batch_size": 16, "shuffle": True, "drop_last": True}
    loader = opened(**options, seed=7)
    orders = [indices(loader, epoch) for epoch in range(4)]
    assert len({tuple(order) for order in orders}) == 4
    again = opened(**options, seed=7)
    assert indices(again, 2) == orders[2]  # without the epochs before
    assert indices(again, 3) == orders[3]
    assert indices(again, 0) == orders[0]  # backwards
    assert indices(again, 0) == orders[0]
    assert indices(opened(**options, seed=8), 0) != orders[0]


def test_an_epoch_that_was_broken_off_does_not_change_the_next(opened: Open) -> None:
    options = {"batch_size": 16, "shuffle": True}
    expected = indices(opened(**options), 1)
    loader = opened(**options)
    for epoch in (0, 1):
        batches = loader.epoch(epoch)
        next(batches), next(batches)
        batches.close()
        del batches
    assert indices(loader, 1) == expected


@pytest.mark.parametrize("batch_size", [16, 331])  # one leaves a ragged batch, one divides the split
def test_a_dali_pipeline_serves_its_own_epochs_alone(
    data: Path, device: torch.device, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is gone through from the beginning, or opened in the middle."""
    skip_without_library("dali")
    monkeypatch.setattr("fastsketch.loaders.dali.PIPELINE_SAMPLES", 2 * TRAIN)

    def opened() -> Loader:
        sampling = Sampling(batch_size, shuffle=True, seed=3, drop_last=True)
        return open_loader(data, DatasetMetadata.load(data), "train", sampling, device, name="dali")

    undisturbed = opened()
    for epoch in range(5):
        assert indices(undisturbed, epoch) == indices(opened(), epoch)


@pytest.mark.parametrize("epoch", [0, 2])
@pytest.mark.parametrize("drop_last", [False, True])
def test_every_number_of_batches_can_be_left_out(opened: Open, epoch: int, drop_last: bool) -> None:
    options = {"batch_size": 32, "shuffle": True, "drop_last": drop_last}
    whole = [batch.indices.tolist() for batch in opened(**options).epoch(epoch)]
    loader = opened(**options)
    assert len(whole) == len(loader) == 10 + (not drop_last)
    for skip in range(len(loader) + 2):
        assert [batch.indices.tolist() for batch in loader.epoch(epoch, skip=skip)] == whole[skip:]


@pytest.mark.parametrize("world_size", [2, 3, 7])
def test_ranks_in_training_are_disjoint_and_of_equal_length(opened: Open, world_size: int) -> None:
    options = {"batch_size": 8, "shuffle": True, "drop_last": True, "world_size": world_size}
    loaders = [opened(**options, rank=rank) for rank in range(world_size)]
    for epoch in (0, 1):
        shares = [indices(loader, epoch) for loader in loaders]
        for share, loader in zip(shares, loaders, strict=True):
            assert len(share) == loader.samples == TRAIN // world_size // 8 * 8
        assert len({index for share in shares for index in share}) == sum(map(len, shares))


@pytest.mark.parametrize("world_size", [2, 3, 7])
def test_ranks_in_evaluation_cover_everything_once(opened: Open, world_size: int) -> None:
    shares = []
    for rank in range(world_size):
        loader = opened("val", batch_size=8, rank=rank, world_size=world_size)
        shares.append(indices(loader))
        assert len(shares[-1]) == loader.samples
        assert len(loader) == -(-loader.samples // 8)
    assert sorted(index for share in shares for index in share) == list(range(VAL))


@pytest.mark.parametrize("name", ["resident", "pack"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_joined_splits_are_one_with_the_first_s_samples_first(
    data: Path, device: torch.device, name: str, shuffle: bool
) -> None:
    metadata = DatasetMetadata.load(data)
    packs = [PackSplit(data, metadata, split) for split in ("train", "val")]
    images = torch.cat([torch.tensor(pack.images) for pack in packs])
    labels = torch.cat([torch.tensor(pack.labels) for pack in packs])
    loader = open_loader(data, metadata, "train+val", Sampling(16, shuffle=shuffle), device, name=name)
    assert (len(loader), loader.samples) == (24, TRAIN + VAL)
    seen = []
    for batch in loader.epoch(1):
        assert torch.equal(batch.images.cpu(), images[batch.indices.cpu()])
        assert torch.equal(batch.labels.cpu(), labels[batch.indices.cpu()])
        seen += batch.indices.tolist()
    assert sorted(seen) == list(range(TRAIN + VAL))
    assert shuffle == (seen != sorted(seen))


def test_joined_splits_come_in_the_same_order_from_both_loaders(data: Path) -> None:
    metadata, sampling = DatasetMetadata.load(data), Sampling(16, shuffle=True, seed=3, drop_last=True)
    orders = [
        indices(open_loader(data, metadata, "train+val", sampling, torch.device("cpu"), name=name), 2)
        for name in ("resident", "pack")
    ]
    assert orders[0] == orders[1]


@pytest.mark.parametrize("name", ["ffcv", "dali"])
def test_loaders_that_cannot_join_splits_say_so(data: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"one split alone, not train\+val") as caught:
        open_loader(data, DatasetMetadata.load(data), "train+val", Sampling(8), torch.device("cpu"), name=name)
    assert "resident or pack" in str(caught.value)


def test_batches_mix_the_classes(opened: Open) -> None:
    """The pack is sorted by class: a loader that shuffled too little would be seen here."""
    for batch in opened(batch_size=64, shuffle=True, drop_last=True).epoch():
        counts = torch.bincount(batch.labels, minlength=5)
        assert counts.min() >= 3
        assert counts.max() <= 28


def test_no_thread_outlives_its_loader(opened: Open) -> None:
    list(opened(batch_size=16).epoch())  # libraries start pools of their own with the first
    before = threading.active_count()
    batches = opened(batch_size=16).epoch()
    next(batches)
    batches.close()
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() <= before


def test_loaders_leave_global_random_states_and_threads_alone(opened: Open) -> None:
    import numpy as np

    torch.manual_seed(1)
    np.random.seed(1)
    expected, threads = (torch.rand(1), np.random.rand()), torch.get_num_threads()
    torch.manual_seed(1)
    np.random.seed(1)
    indices(opened(batch_size=16, shuffle=True))
    assert (torch.rand(1), np.random.rand()) == expected
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("name", ["pack", "ffcv"])
def test_permutations_are_the_same_wherever_the_backend_allows_it(data: Path, name: str) -> None:
    skip_without_library(name)
    sampling = Sampling(16, shuffle=True, seed=3)
    metadata, cpu = DatasetMetadata.load(data), torch.device("cpu")
    ours, expected = (
        indices(open_loader(data, metadata, "train", sampling, cpu, name=each), 5) for each in (name, "resident")
    )
    assert ours == expected


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("resident", "train.images.u8"),
        ("pack", "train.labels.i64"),
        ("ffcv", "train.beton"),
        ("dali", "train-00000.tar"),
        ("dali", "train-00000.idx"),
    ],
)
@pytest.mark.parametrize("change", ["truncated", "missing"])
def test_a_damaged_file_is_a_clear_line(tmp_path: Path, data: Path, name: str, file: str, change: str) -> None:
    skip_without_library(name)
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in data.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    damaged = copy / file
    damaged.unlink() if change == "missing" else damaged.write_bytes(damaged.read_bytes()[:-7])
    state = "is missing" if change == "missing" else "has"
    with pytest.raises(DataError, match=f"{file} {state}"):
        open_loader(copy, DatasetMetadata.load(copy), "train", Sampling(8), torch.device("cpu"), name=name)


def test_a_format_that_is_not_there_is_asked_for(data: Path) -> None:
    metadata = DatasetMetadata.load(data)
    bare = metadata.model_copy(update={"splits": {"train": metadata.split("train").model_copy(update={"formats": {}})}})
    with pytest.raises(ConfigError) as caught:
        open_loader(data, bare, "train", Sampling(8), torch.device("cpu"), name="dali")
    assert f"fastsketch convert {data} --format dali" in str(caught.value)


@pytest.mark.parametrize(("name", "extra"), [("ffcv", "'.[ffcv]'"), ("dali", "'.[dali-cu1")])
def test_a_library_that_is_not_there_is_named(
    data: Path, monkeypatch: pytest.MonkeyPatch, name: str, extra: str
) -> None:
    skip_without_library(name)
    for module in ("ffcv.loader", "nvidia.dali.fn"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(BackendMissing) as caught:
        open_loader(data, DatasetMetadata.load(data), "train", Sampling(8), torch.device("cpu"), name=name)
    assert extra in str(caught.value)


@pytest.mark.slow
def test_real_sketches_are_the_same_from_all_loaders(tmp_path: Path, shared_data: Path, device: torch.device) -> None:
    """A subset of TU-Berlin, from PNG to batch: index by index the same images and labels."""
    for name in NAMES:
        skip_without_library(name)
    source = open_source(shared_data / "data" / "tuberlin224")
    metadata = convert_dataset(source, tmp_path / "data", ConvertConfig(size=224, classes=12, format="all"))
    for split, record in metadata.splits.items():
        found = {}
        for name in NAMES:
            loader = open_loader(tmp_path / "data", metadata, split, Sampling(32, shuffle=True), device, name=name)
            images = torch.empty(record.samples, 1, 224, 224, dtype=torch.uint8)
            labels = torch.full((record.samples,), -1)
            for batch in loader.epoch():
                images[batch.indices.cpu()], labels[batch.indices.cpu()] = batch.images.cpu(), batch.labels.cpu()
            found[name] = images, labels
        for images, labels in found.values():
            assert torch.equal(images, found["resident"][0])
            assert torch.equal(labels, found["resident"][1])
            assert labels.tolist() == sorted(labels.tolist())
            assert len(set(labels.tolist())) == 12


@pytest.mark.gpu
def test_streaming_to_a_gpu_overwrites_nothing_that_is_in_use(data: Path) -> None:
    """Many small batches, each kept and looked at last: a copy that came too early or too late would show."""
    device = torch.device("cuda")
    pack = PackSplit(data, DatasetMetadata.load(data), "train")
    images = torch.tensor(pack.images)
    loader = open_loader(data, DatasetMetadata.load(data), "train", Sampling(4, shuffle=True), device, name="pack")
    for epoch in range(5):
        kept = [(batch.images.clone(), batch.indices.clone()) for batch in loader.epoch(epoch)]
        assert all(torch.equal(found.cpu(), images[indices.cpu()]) for found, indices in kept)
