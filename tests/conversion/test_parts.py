"""A conversion in parts, on machines that know nothing of each other, ends in the bytes of one machine."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from converting import KILLED_AFTER_A_CHUNK, changed, content
from pages import DOCS, blocks

from fastsketch.config import ConvertConfig
from fastsketch.conversion import convert, convert_dataset, merge_parts
from fastsketch.errors import ConfigError, DataError, FastSketchError
from fastsketch.formats import names
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit
from fastsketch.formats.parts import Part
from fastsketch.sources import open_source

CONFIG = changed(split="0.5/0.3/0.2")


class Interrupted(Exception):
    pass


def converted(source: Path, folder: Path, count: int, config: ConvertConfig = CONFIG) -> list[Path]:
    """All `count` parts of a source."""
    parts = [folder / f"{number}-of-{count}" for number in range(1, count + 1)]
    for number, part in enumerate(parts, start=1):
        convert_dataset(open_source(source), part, config.model_copy(update={"part": f"{number}/{count}"}))
    return parts


@pytest.fixture
def straight(damaged: Path, tmp_path: Path) -> dict[str, bytes]:
    """What one machine makes of the source."""
    convert_dataset(open_source(damaged), tmp_path / "straight", CONFIG)
    return content(tmp_path / "straight")


@pytest.fixture
def parts(damaged: Path, tmp_path: Path) -> list[Path]:
    """The same in two parts: circle and square; cross."""
    return converted(damaged, tmp_path, 2)


@pytest.fixture
def five_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images go on in another file after every fifth: in the middle of classes and of chunks."""
    monkeypatch.setattr(names, "IMAGE_FILE_BYTES", 5 * CONFIG.size**2 + 7)


@pytest.fixture
def journal_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "JOURNAL_SECONDS", 0.0)
    monkeypatch.setattr(convert, "CHUNK", 7)


@pytest.fixture(params=["a file", "several files"])
def file_or_files(request: pytest.FixtureRequest) -> None:
    if request.param == "several files":
        request.getfixturevalue("five_a_file")


# ------------------------------------------------------------------------------------------------- the same bytes


@pytest.mark.usefixtures("file_or_files")
@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_number_of_parts_in_any_order_give_the_bytes_of_one_machine(
    damaged: Path, straight: dict[str, bytes], tmp_path: Path, count: int
) -> None:
    parts = converted(damaged, tmp_path, count)
    for number, order in enumerate(itertools.permutations(parts)):
        merge_parts(order, tmp_path / f"merged{number}")
        assert content(tmp_path / f"merged{number}") == straight


def test_where_a_machine_has_the_source_does_not_matter(
    damaged: Path, straight: dict[str, bytes], tmp_path: Path
) -> None:
    elsewhere = shutil.copytree(damaged, tmp_path / "elsewhere")
    [first, _] = converted(damaged, tmp_path / "here", 2)
    [_, second] = converted(elsewhere, tmp_path / "there", 2)
    merge_parts([first, second], tmp_path / "merged")
    assert content(tmp_path / "merged") == straight


def test_a_part_is_a_data_set_of_every_nth_class(parts: list[Path]) -> None:
    held = [DatasetMetadata.load(part) for part in parts]
    assert [metadata.classes for metadata in held] == [["circle", "square"], ["cross"]]
    assert [metadata.part and str(metadata.part.part) for metadata in held] == ["1/2", "2/2"]
    assert PackSplit(parts[0], held[0], "train").ids()[0].startswith("circle/")


def test_what_images_look_like_is_counted_over_all_parts(tmp_path: Path, damaged: Path) -> None:
    for name in ("circle", "cross"):
        for path in sorted((damaged / name).glob("01*.png")):
            shutil.copy(path, path.with_stem(f"dark-{path.stem}"))
    from PIL import Image, ImageOps

    for path in damaged.glob("*/dark-*.png"):
        ImageOps.invert(Image.open(path).convert("L")).save(path)
    metadata = convert_dataset(open_source(damaged), tmp_path / "straight", CONFIG)
    assert metadata.looks_inverted == 20
    merge_parts(converted(damaged, tmp_path, 2), tmp_path / "merged")
    assert content(tmp_path / "merged") == content(tmp_path / "straight")


def test_a_source_that_comes_split_is_divided_alike(shapes: Path, tmp_path: Path) -> None:
    for split, numbers in (("train", "0*"), ("val", "1*")):
        for path in shapes.glob(f"*/{numbers}.png"):
            (tmp_path / "source" / split / path.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, tmp_path / "source" / split / path.parent.name)
    config = changed(split=None)
    convert_dataset(open_source(tmp_path / "source"), tmp_path / "straight", config)
    merge_parts(converted(tmp_path / "source", tmp_path, 3, config), tmp_path / "merged")
    assert content(tmp_path / "merged") == content(tmp_path / "straight")


def test_strokes_are_divided_alike(tmp_path: Path) -> None:
    for name in ("cat", "dog", "owl", "pig"):
        drawings = ({"key_id": f"{index}", "drawing": [[[0, index], [0, 9]]]} for index in range(1, 12))
        (tmp_path / f"{name}.ndjson").write_text("".join(json.dumps(each) + "\n" for each in drawings))
    (tmp_path / "source").mkdir()
    for path in tmp_path.glob("*.ndjson"):
        path.rename(tmp_path / "source" / path.name)
    convert_dataset(open_source(tmp_path / "source"), tmp_path / "straight", CONFIG)
    merge_parts(converted(tmp_path / "source", tmp_path, 3), tmp_path / "merged")
    assert content(tmp_path / "merged") == content(tmp_path / "straight")


def test_the_other_formats_are_written_by_merge(parts: list[Path], damaged: Path, tmp_path: Path) -> None:
    merge_parts(parts, tmp_path / "merged", format="dali")
    convert_dataset(open_source(damaged), tmp_path / "straight", CONFIG.model_copy(update={"format": "dali"}))
    assert content(tmp_path / "merged") == content(tmp_path / "straight")
    with pytest.raises(ConfigError, match="a part is not trained on and needs no dali"):
        convert_dataset(
            open_source(damaged), tmp_path / "x", CONFIG.model_copy(update={"part": "1/2", "format": "dali"})
        )


# ------------------------------------------------------------------------------------------------------ interrupted


def interrupt_at(call: int) -> Callable[[int, float], None]:
    calls = itertools.count(1)

    def progress(done: int, share: float) -> None:
        if next(calls) == call:
            raise Interrupted

    return progress


def telling(told: list[int]) -> Callable[[int, float], None]:
    return lambda done, share: told.append(done)


@pytest.mark.usefixtures("journal_always", "file_or_files")
def test_interrupted_after_any_chunk_a_part_and_a_merge_continue_to_the_same_bytes(
    damaged: Path, straight: dict[str, bytes], tmp_path: Path
) -> None:
    parts = converted(damaged, tmp_path, 2)
    again = CONFIG.model_copy(update={"part": "1/2"})
    for call in range(1, 7):  # of the 37 images of circle and square
        out = tmp_path / f"part{call}"
        with pytest.raises(Interrupted):
            convert_dataset(open_source(damaged), out, again, interrupt_at(call))
        assert not out.exists()
        convert_dataset(open_source(damaged), out, again)
        assert content(out) == content(parts[0])
    for call in range(1, 10):
        out = tmp_path / f"merged{call}"
        with pytest.raises(Interrupted):
            merge_parts(parts, out, progress=interrupt_at(call))
        assert not out.exists()
        told: list[int] = []
        merge_parts(parts, out, progress=telling(told))
        assert len(told) == 10 - call  # what was in the journal is not done again
        assert content(out) == straight


def test_the_same_merge_again_has_nothing_to_do(parts: list[Path], tmp_path: Path) -> None:
    merge_parts(parts, tmp_path / "merged")
    told: list[int] = []
    merge_parts(parts, tmp_path / "merged", progress=telling(told))
    assert told == []
    before = content(parts[0])
    with pytest.raises(ConfigError, match="exists"):
        merge_parts(converted(tmp_path / "damaged", tmp_path / "box", 2, changed(resize="box")), tmp_path / "merged")
    assert content(parts[0]) == before


# ---------------------------------------------------------------------------------------------------------- refused


def test_a_part_that_is_none() -> None:
    for text in ("0/3", "4/3", "3", "/3", "3/", "a/b", "-1/3", "1/3/5", "٣/٤x"):
        with pytest.raises(ConfigError, match="is no part"):
            Part.parse(text)


def test_more_parts_than_classes(damaged: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="4 parts are more than the 3 classes"):
        convert_dataset(open_source(damaged), tmp_path / "out", CONFIG.model_copy(update={"part": "1/4"}))
    assert not (tmp_path / "out.partial").exists()


def test_what_does_not_belong_together_is_refused_before_anything_is_written(
    parts: list[Path], damaged: Path, tmp_path: Path
) -> None:
    first, second = parts
    of_three = converted(damaged, tmp_path, 3)
    larger = converted(damaged, tmp_path / "larger", 2, changed(split="0.5/0.3/0.2", size=32))
    seeded = converted(damaged, tmp_path / "seeded", 2, changed(split="0.5/0.3/0.2", seed=7))
    strict_later = shutil.copytree(first, tmp_path / "copy")
    whole = tmp_path / "whole"
    convert_dataset(open_source(damaged), whole, CONFIG)
    (tmp_path / "unfinished").mkdir()
    for wrong, message in (
        ([first], r"1 of 2 parts is missing: 2"),
        ([second], r"1 of 2 parts is missing: 1"),
        (of_three[1:2], r"2 of 3 parts are missing: 1, 3"),
        ([first, second, strict_later], r"are both part 1/2"),
        ([first, of_three[1]], r"is part 1/2, .* part 2/3"),
        ([first, larger[1]], r"not parts of one conversion \(size: 24, 32\)"),
        ([first, seeded[1]], r"not parts of one conversion \(source: .*seed.* 0.*7"),
        ([first, whole], r"whole is a whole data set"),
        ([first, tmp_path / "unfinished"], r"unfinished is no finished part"),
        ([first, tmp_path / "nowhere"], r"nowhere: no such folder"),
    ):
        with pytest.raises(ConfigError, match=message):
            merge_parts(wrong, tmp_path / "merged")
    with pytest.raises(ConfigError, match="lies in the source"):
        merge_parts(parts, first / "merged")
    with pytest.raises(ConfigError, match=r"exists|lies in"):
        merge_parts(parts, second, overwrite=True)
    assert not (tmp_path / "merged").exists()
    assert not (tmp_path / "merged.partial").exists()


@pytest.mark.usefixtures("file_or_files")
def test_every_damaged_file_is_found_before_its_class_is_copied(damaged: Path, tmp_path: Path) -> None:
    parts = converted(damaged, tmp_path, 2)
    files = [path for path in sorted(parts[0].iterdir()) if not re.search(r"labels|ink", path.name)]
    assert len(files) >= 7
    for path in files:
        whole = path.read_bytes()
        for damage in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), bytes([whole[0] ^ 1]) + whole[1:]):
            path.write_bytes(damage)
            with pytest.raises(FastSketchError) as caught:
                merge_parts(parts, tmp_path / "merged")
            assert isinstance(caught.value, DataError), (path, caught.value)
            assert str(parts[0]) in caught.value.message
            assert not (tmp_path / "merged").exists()
        path.write_bytes(whole)
    merge_parts(parts, tmp_path / "merged")  # what was copied before is kept, and right


def test_a_part_that_is_converted_anew_in_between_starts_the_merge_over(
    damaged: Path, straight: dict[str, bytes], parts: list[Path], tmp_path: Path, journal_always: None
) -> None:
    with pytest.raises(Interrupted):
        merge_parts(parts, tmp_path / "merged", progress=interrupt_at(4))
    (damaged / "circle" / "003.png").write_bytes((damaged / "circle" / "004.png").read_bytes())
    config = CONFIG.model_copy(update={"part": "1/2", "overwrite": True})
    convert_dataset(open_source(damaged), parts[0], config)
    merge_parts(parts, tmp_path / "merged")
    convert_dataset(open_source(damaged), tmp_path / "anew", CONFIG)
    assert content(tmp_path / "merged") == content(tmp_path / "anew") != straight


def test_labels_and_ink_of_a_merge_are_those_of_its_pixels(parts: list[Path], tmp_path: Path) -> None:
    """A part's own labels count its own classes, and are not copied."""
    metadata = merge_parts(parts, tmp_path / "merged")
    labels = PackSplit(tmp_path / "merged", metadata, "train").labels
    assert np.unique(labels).tolist() == [0, 1, 2]
    assert np.all(np.diff(labels) >= 0)


# -------------------------------------------------------------------------------------------------------- for real


def test_the_slurm_array_of_the_docs_with_a_task_and_the_merge_killed(tmp_path: Path) -> None:
    """Four tasks at once, as four machines would run them; whatever was killed is run again, as a scheduler does."""
    [array] = [text for text in blocks(DOCS / "clusters.md", "bash") if "#SBATCH --array" in text]
    array = array.replace("n=64", "n=4")
    [merge] = [line for text in blocks(DOCS / "clusters.md", "sh") for line in text.splitlines() if " merge " in line]
    (tmp_path / "quickdraw").mkdir()
    for name in ("ant", "bee", "cat", "dog", "eel", "fox"):
        rng = np.random.default_rng(len(name) + ord(name[0]))
        drawings = ({"key_id": f"{index}", "drawing": rng.integers(0, 256, (3, 2, 9)).tolist()} for index in range(80))
        (tmp_path / "quickdraw" / f"{name}.ndjson").write_text("".join(json.dumps(each) + "\n" for each in drawings))
    for name, script in (("whole", "from fastsketch_cli.app import main; main()"), ("killed", KILLED_AFTER_A_CHUNK)):
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.py").write_text(script)
        shim = tmp_path / name / "fastsketch"
        shim.write_text(f'#!/bin/bash\nexec {sys.executable} -c "$(cat {tmp_path / name}.py)" "$@"\n')
        shim.chmod(0o755)

    def begin(script: str, task: int = 0, killed: bool = False) -> subprocess.Popen[bytes]:
        """As Slurm would; without a task, the whole."""
        path = f"{tmp_path / ('killed' if killed else 'whole')}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "SLURM_ARRAY_TASK_ID": f"{task}"}
        return subprocess.Popen(["bash", "-c", f"set -e\n{script}"], cwd=tmp_path, env=environment)

    tasks = [begin(array, task, killed=task == 3) for task in range(1, 5)]
    assert [task.wait(timeout=120) for task in tasks] == [0, 0, -signal.SIGKILL, 0]
    assert begin(merge).wait(timeout=120) == 2  # parts/3.partial
    assert begin(array, 3).wait(timeout=120) == 0
    assert begin(merge, killed=True).wait(timeout=120) == -signal.SIGKILL
    assert begin(merge).wait(timeout=120) == 0
    convert_dataset(open_source(tmp_path / "quickdraw"), tmp_path / "straight", changed(size=64, split="0.9/0.05/0.05"))
    assert content(tmp_path / "data/quickdraw64") == content(tmp_path / "straight")
