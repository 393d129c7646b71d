"""The demo data set: the same drawings for ever, each its own, in files that an interruption cannot spoil."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fastsketch.demo import dataset
from fastsketch.demo.classes import FIGURES
from fastsketch.demo.dataset import DRAWN_CLASSES, draw, draw_dataset, pen_width
from fastsketch.sources.strokes import rasterise

SIZE = 64
COUNTS = {"train": 3, "val": 2}
ROOT = Path(dataset.__file__).parents[2]


def picture(name: str, index: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return rasterise(draw(name, seed, index), SIZE, pen_width(name, seed, index))


def fingerprint(name: str, seed: int, index: int) -> bytes:
    return b"".join(stroke.tobytes() for stroke in draw(name, seed, index))


def files(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, hidden ones too, by relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _note(calls: list[tuple[int, int]], done: int, total: int) -> None:
    calls.append((done, total))


def test_class_names_make_a_data_set() -> None:
    assert len(DRAWN_CLASSES) >= 24
    assert list(DRAWN_CLASSES) == sorted(set(DRAWN_CLASSES))
    assert any(" " in name for name in DRAWN_CLASSES)


class TestDraw:
    @pytest.mark.parametrize("name", DRAWN_CLASSES)
    def test_strokes_stay_on_the_canvas(self, name: str) -> None:
        for index in range(12):
            strokes = draw(name, 0, index)
            assert strokes
            for stroke in strokes:
                assert stroke.dtype == np.float32
                assert stroke.ndim == 2
                assert stroke.shape[1] == 2
                assert len(stroke) >= 1
                assert stroke.min() >= 0.025 - 1e-4
                assert stroke.max() <= 0.975 + 1e-4

    @pytest.mark.parametrize("name", DRAWN_CLASSES)
    def test_pictures_have_ink_and_a_clean_border(self, name: str) -> None:
        for index in range(8):
            image = picture(name, index)
            assert 0.01 < (1 - image / 255).mean() < 0.25
            border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
            assert (border == 255).all()

    @pytest.mark.parametrize("name", DRAWN_CLASSES)
    def test_no_two_drawings_of_a_class_are_alike(self, name: str) -> None:
        pictures = [1 - picture(name, index) / 255 for index in range(10)]
        for i, one in enumerate(pictures):
            for other in pictures[:i]:
                shared = np.minimum(one, other).sum() / np.maximum(one, other).sum()
                assert shared < 0.8

    @pytest.mark.parametrize("name", DRAWN_CLASSES)
    def test_structure_varies_not_only_the_hand(self, name: str) -> None:
        figures = [FIGURES[name](np.random.default_rng(index)) for index in range(40)]
        shapes = {tuple(len(stroke) for stroke in figure) for figure in figures}
        assert len(shapes) >= 3

    def test_depends_on_nothing_but_its_arguments(self) -> None:
        names = DRAWN_CLASSES[:5]
        keys = [(name, seed, index) for name in names for seed in (0, 7) for index in (0, 1, 100_000)]
        forwards = {key: fingerprint(*key) for key in keys}
        np.random.seed(1)
        backwards = {key: fingerprint(*key) for key in reversed(keys)}
        assert forwards == backwards
        assert len(set(forwards.values())) == len(keys)

    def test_is_the_same_in_every_process(self) -> None:
        script = (
            "from hashlib import sha256; from fastsketch.demo.dataset import *;"
            "drawings = [stroke.tobytes() for name in DRAWN_CLASSES for stroke in draw(name, 3, 5)];"
            "print(sha256(b''.join(drawings)).hexdigest(), pen_width('star', 3, 5))"
        )
        outputs = {
            subprocess.run(
                [sys.executable, "-c", script],
                cwd=ROOT,
                env={"PYTHONHASHSEED": hash_seed},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for hash_seed in ("1", "2")
        }
        assert len(outputs) == 1

    def test_needs_no_torch(self) -> None:
        script = "import sys, fastsketch.demo.dataset; sys.exit('torch' in sys.modules)"
        subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)

    def test_pens_differ_within_limits(self) -> None:
        widths = [pen_width("key", 0, index) for index in range(50)]
        assert min(widths) >= 0.004
        assert max(widths) <= 0.009
        assert np.ptp(widths) > 0.002
        assert pen_width("key", 0, 3) == pen_width("key", 0, 3)

    @pytest.mark.parametrize(("name", "seed", "index"), [("nothing", 0, 0), ("star", -1, 0), ("star", 0, -1)])
    def test_refuses_what_it_cannot_draw(self, name: str, seed: int, index: int) -> None:
        with pytest.raises(ValueError, match=r"unknown class|at least 0"):
            draw(name, seed, index)
        with pytest.raises(ValueError, match=r"unknown class|at least 0"):
            pen_width(name, seed, index)

    def test_classes_can_be_told_apart(self) -> None:
        """The nearest mean of blurred pictures is a poor classifier, and still far above chance (4 %)."""

        def features(index: int) -> npt.NDArray[np.float64]:
            blurred = [Image.fromarray(picture(name, index)).reduce(8) for name in DRAWN_CLASSES]
            flat = np.array([np.asarray(image).ravel() for image in blurred], dtype=np.float64)
            flat -= flat.mean(axis=1, keepdims=True)
            return flat

        means = np.mean([features(index) for index in range(12)], axis=0)
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        hits = [features(index) @ means.T for index in range(12, 16)]
        right = np.mean([scores.argmax(axis=1) == np.arange(len(DRAWN_CLASSES)) for scores in hits])
        assert right > 0.3


class TestDrawDataset:
    def test_layout_pixels_and_disjoint_splits(self, tmp_path: Path) -> None:
        draw_dataset(tmp_path, counts=COUNTS, size=SIZE, workers=1)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["train", "val"]
        for split, count in COUNTS.items():
            assert sorted(path.name for path in (tmp_path / split).iterdir()) == list(DRAWN_CLASSES)
            for name in DRAWN_CLASSES:
                assert len(list((tmp_path / split / name).iterdir())) == count
        for path in tmp_path.rglob("*.png"):
            with Image.open(path) as image:
                assert image.mode == "L"
                assert image.size == (SIZE, SIZE)
                assert (np.asarray(image) == picture(path.parent.name, int(path.stem))).all()
        contents = list(files(tmp_path).values())
        assert len(set(contents)) == len(contents) == 5 * len(DRAWN_CLASSES)

    def test_resumes_to_the_same_bytes_in_any_number_of_processes(self, tmp_path: Path) -> None:
        inline, spawned = tmp_path / "inline", tmp_path / "spawned"
        draw_dataset(inline, counts=COUNTS, size=SIZE, seed=4, workers=1)
        draw_dataset(spawned, counts=COUNTS, size=SIZE, seed=4, workers=2)
        complete = files(spawned)
        assert complete == files(inline)

        lost, kept = sorted(spawned.rglob("*.png"))[3:5]
        lost.unlink()
        kept.write_bytes(b"kept as it is")
        calls: list[tuple[int, int]] = []
        watch = partial(_note, calls)
        draw_dataset(spawned, counts=COUNTS, size=SIZE, seed=4, workers=2, on_progress=watch)
        total = len(complete)
        assert calls == [(total - 1, total), (total, total)]
        assert files(spawned) == {**complete, str(kept.relative_to(spawned)): b"kept as it is"}

    def test_larger_counts_add_and_repeat_nothing(self, tmp_path: Path) -> None:
        draw_dataset(tmp_path, counts={"train": 1, "test": 1}, size=16, workers=1)
        before = files(tmp_path)
        draw_dataset(tmp_path, counts={"test": 2, "val": 1, "train": 3}, size=16, workers=1)
        after = files(tmp_path)
        assert before.items() <= after.items()
        indices = [path.stem for path in tmp_path.glob("*/star/*.png")]
        assert len(set(indices)) == len(indices) == 6

    def test_progress_counts_every_file(self, tmp_path: Path) -> None:
        calls: list[tuple[int, int]] = []
        draw_dataset(tmp_path, counts={"val": 1}, size=16, workers=1, on_progress=partial(_note, calls))
        total = len(DRAWN_CLASSES)
        assert calls == [(done, total) for done in range(total + 1)]

    @pytest.mark.parametrize("workers", [1, 2])
    def test_an_interruption_leaves_whole_files_only(self, tmp_path: Path, workers: int) -> None:
        def stop(done: int, total: int) -> None:
            if done == 5:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            draw_dataset(tmp_path, counts={"train": 4}, size=16, workers=workers, on_progress=stop)
        left = files(tmp_path)
        assert 5 <= len(left) < 4 * len(DRAWN_CLASSES)
        for path in left:
            assert not Path(path).name.startswith(".")
            Image.open(tmp_path / path).load()

    def test_a_failed_write_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(source: Path, target: Path) -> None:
            assert source.parent == target.parent
            raise OSError("disk full")

        monkeypatch.setattr("os.replace", fail)
        with pytest.raises(OSError, match="disk full"):
            draw_dataset(tmp_path, counts={"train": 1}, size=16, workers=1)
        assert files(tmp_path) == {}

    @pytest.mark.parametrize(
        ("counts", "size", "seed", "workers"),
        [
            ({"dev": 1}, 16, 0, 1),
            ({"../train": 1}, 16, 0, 1),
            ({"train": -1}, 16, 0, 1),
            ({"train": 100_001}, 16, 0, 1),
            ({"train": 1}, 0, 0, 1),
            ({"train": 1}, 16, -1, 1),
            ({"train": 1}, 16, 0, 0),
        ],
    )
    def test_refuses_before_it_writes(
        self, tmp_path: Path, counts: dict[str, int], size: int, seed: int, workers: int
    ) -> None:
        with pytest.raises(ValueError, match=r"split|count|size"):
            draw_dataset(tmp_path / "new", counts=counts, size=size, seed=seed, workers=workers)
        assert not (tmp_path / "new").exists()
