"""M5: names that others chose, in every picture that we draw; and where pictures may go."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import rc_context
from matplotlib.figure import Figure
from packs import write_pack
from PIL import Image

from fastsketch.errors import ConfigError
from fastsketch.figures.augmentation import AugmentedRow, draw_augmentation
from fastsketch.figures.confusion import plot_confusion
from fastsketch.figures.contact_sheet import draw_contact_sheet
from fastsketch.figures.curves import plot_curves
from fastsketch.figures.mistakes import WrongSketch, draw_mistakes
from fastsketch.figures.picture import caption, check_picture
from fastsketch.figures.tokens import TokenRow, draw_tokens
from fastsketch.models.ink_tokens import Selection
from fastsketch.training.run.metrics import EpochRecord

NAMES = {
    "mathtext": "$x_{$",
    "a division": r"$\frac{1}{0$",
    "dollars": "$$",
    "one dollar": "$",
    "TeX": r"\input{/etc/passwd} %&_#^",
    "control characters": "a\x00b\x1b[31m\x07\x9b",
    "line breaks": "a\nb\r\n\u2028c" * 50,
    "a surrogate": "a\ud800b",
    "very long": "long name " * 100,
    "long word": "x" * 1000,
    "no glyphs": "猫 🐱 \U000e0001 \uffff",
    "right to left": "\u202eשלום",
    "empty": "",
    "a space": " ",
    "markup": "[bold]x[/bold]",
}


def records(name: str) -> list[EpochRecord]:
    return [EpochRecord(epoch, epoch * 10, 1e-3, 1.0, 0.5, 0.5, 0.7, 1.0, 100.0) for epoch in (1, 2)]


def draw_curves(path: Path, names: Sequence[str]) -> None:
    plot_curves(path, records(names[0]), names[0])


def draw_confusion(path: Path, names: Sequence[str]) -> None:
    plot_confusion(path, np.eye(len(names), dtype=np.int64), list(names), names[0])


def draw_preview(path: Path, names: Sequence[str]) -> None:
    captions = [(name, name) for name in names]
    row = AugmentedRow("original", torch.ones(len(names), 1, 8, 8), captions, [[0] * 4] * len(names))
    draw_augmentation(path, [row], names[0])


def draw_pairs(path: Path, names: Sequence[str]) -> None:
    """Of more classes than a matrix has room for, every one confused with the next."""
    many = [names[index % len(names)] for index in range(70)]
    plot_confusion(path, np.roll(np.eye(70, dtype=np.int64), 1, axis=1), many, names[0])


def draw_wrong(path: Path, names: Sequence[str]) -> None:
    image = np.zeros((8, 8), dtype=np.uint8)
    draw_mistakes(path, [WrongSketch(image, name, name, 0.5) for name in names], names[0])


def draw_patches(path: Path, names: Sequence[str]) -> None:
    images = torch.ones(len(names), 1, 16, 16)
    selection = Selection(torch.zeros(len(names), 1, dtype=torch.int64), torch.zeros(len(names), 4, dtype=torch.bool))
    draw_tokens(path, [TokenRow("seen", images, selection, list(names))], (2, 2), names[0])


def draw_classes(path: Path, names: Sequence[str]) -> None:
    folder = path.parent / "data"
    metadata = write_pack(folder, {"train": 12}, size=16)
    classes = [f"{index}{name}" for index, name in enumerate((*names, *metadata.classes))][: len(metadata.classes)]
    draw_contact_sheet(path, folder, metadata.model_copy(update={"classes": classes}), "train")


EACH = [(draw_confusion, (name, "cat")) for name in NAMES.values()]
TOGETHER = [(draw, list(NAMES.values())) for draw in (draw_curves, draw_preview, draw_patches, draw_pairs, draw_wrong)]
SHEETS = [(draw_classes, list(NAMES.values())[first:]) for first in (0, 5, 10)]


@pytest.mark.parametrize(("draw", "names"), EACH + TOGETHER + SHEETS)
def test_any_name_can_be_drawn(
    tmp_path: Path, draw: Callable[[Path, Sequence[str]], None], names: Sequence[str]
) -> None:
    """M5: a class folder `$x_{$` ended in mathtext's traceback."""
    with warnings.catch_warnings(), rc_context({"text.parse_math": True}):
        warnings.simplefilter("error")
        draw(tmp_path / "picture.png", names)
    width, height = Image.open(tmp_path / "picture.png").size
    assert max(width, height) < 4000


@pytest.mark.parametrize("suffix", [".pdf", ".svg"])
def test_other_kinds_of_picture_take_any_name_too(tmp_path: Path, suffix: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_confusion(tmp_path / f"picture{suffix}", list(NAMES.values()))
    assert (tmp_path / f"picture{suffix}").stat().st_size > 1000


def test_dollars_are_drawn_as_dollars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []
    save = Figure.savefig

    def spy(self: Figure, *arguments: object, **options: object) -> None:
        for axes in self.axes:
            texts.extend(label.get_text() for label in axes.get_xticklabels())
            assert not any(label.get_parse_math() for label in axes.get_xticklabels())
        save(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", spy)
    draw_confusion(tmp_path / "x.png", ("$x_{$", "cat"))
    assert texts[:2] == ["$x_{$", "cat"]


def test_captions() -> None:
    assert caption("cat", 20) == "cat"
    assert caption("a name that is too long", 10) == "a name th…"
    assert caption("a\nb", 20) == "a\\nb"
    assert len(caption("\n" * 10_000, 20)) == 20


# ---------------------------------------------------------------------------------------------------- where they go


@pytest.mark.parametrize("name", ["x.foo", "x", "x.txt", ".png", "x.PNG.u8", "train.images.u8"])
def test_other_suffixes_are_refused(tmp_path: Path, name: str) -> None:
    """Low: `inspect --sheet x.foo`; finding 14: `--sheet sheet.txt` ended in 45 lines of traceback."""
    with pytest.raises(ConfigError, match="a picture of this kind cannot be written") as caught:
        check_picture(tmp_path / name)
    assert ".png, .pdf or .svg" in str(caught.value.hint)


def test_the_folder_is_made(tmp_path: Path) -> None:
    check_picture(tmp_path / "a" / "b" / "x.png")
    assert (tmp_path / "a" / "b").is_dir()


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("folder.png", "pipe.png"):
        with pytest.raises(ConfigError, match="is there already, and is no file"):
            check_picture(tmp_path / name)


def test_a_data_set_keeps_its_folder_to_itself(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "link").symlink_to(data)
    (tmp_path / "link.png").symlink_to(data / "x.png")
    for path in (data / "x.png", data / "a" / "x.png", tmp_path / "link" / "x.png", tmp_path / "link.png"):
        with pytest.raises(ConfigError, match="is within the data set"):
            check_picture(path, dataset=data)
    with pytest.raises(ConfigError, match="is within the data set"):
        check_picture(data / "x.png", dataset=tmp_path / "link")
    check_picture(tmp_path / "x.png", dataset=data)
