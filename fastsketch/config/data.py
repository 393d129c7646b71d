"""Raw data → data set → batches."""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from fastsketch.config.section import Images, PathName, Section, Seed, Side, Word, Workers

Resize: TypeAlias = Literal["bilinear", "box", "bicubic", "lanczos", "nearest"]
Invert: TypeAlias = Literal["no", "auto", "yes"]

_EXECUTOR = re.compile(r"(dask|ray)://[^\s/@]+:(?P<port>\d{1,5})|ray://")


def _executor(url: str) -> str:
    found = _EXECUTOR.fullmatch(url)
    if not found or int(found["port"] or 0) > 65535:
        raise ValueError("a cluster is dask://HOST:PORT, ray://HOST:PORT or ray://")
    return url


Executor = Annotated[str, Field(max_length=300), AfterValidator(_executor)]


class ConvertConfig(Section):
    """Raw data → data set.

    Attributes:
        size: Side of the square images in pixels.
        resize: Resampling filter; all but `nearest` are anti-aliased.
        invert: Turn images over, light to dark: `yes`, or `auto` for those with a dark border, such as chalkboards.
        clean_photo: Clean photographs: divide uneven light out, then make the paper white and the lines black. Needs
            the extra `photo` (OpenCV).
        split: Samples a class (`48/9/23`) or fractions (`0.8/0.1/0.1`) for sources that do not come split.
        seed: Seed of the split.
        classes: Keep the first so many classes only.
        part: Convert one of several parts alone, which `merge` puts together: `3/7` is the third of seven.
        strict: Stop at the first unreadable image instead of skipping it.
        overwrite: Replace an existing data set.
        workers: Decoding processes; 0 means one for each available core.
        executor: Decode on a cluster instead: `dask://HOST:PORT`, `ray://HOST:PORT`, or `ray://` for the Ray that runs
            on this machine (`RAY_ADDRESS`, or what `ray start` started). Its workers see the same files at the same
            paths.
        format: `pack` is always written; `ffcv`, `dali` or `all` of them come beside it.
    """

    size: Side = 224
    resize: Resize = "bilinear"
    invert: Invert = "no"
    clean_photo: bool = False
    split: Word | None = None
    seed: Seed = 0
    classes: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    part: Annotated[str, Field(pattern=r"^[1-9]\d{0,6}/[1-9]\d{0,6}$")] | None = None
    strict: bool = False
    overwrite: bool = False
    workers: Workers = 0
    executor: Executor | None = None
    format: Literal["pack", "ffcv", "dali", "all"] = "pack"

    @model_validator(mode="after")
    def _decoded_in_one_place(self) -> ConvertConfig:
        if self.executor and self.workers:
            raise ValueError(
                "workers are this machine's, and executor is a cluster, which has its own: give one of them"
            )
        return self


class DataConfig(Section):
    """Data set → batches.

    Attributes:
        path: The converted data set.
        batch_size: Training images a step; the ragged last batch of an epoch is dropped.
        eval_batch_size: Images a step in validation, where the last batch is kept.
        loader: `auto` puts a split on the device if it fits there easily (`resident`); else it takes the first of
            `ffcv`, `dali` and `pack` that is installed and that the data set has files for.
        train_split: `train`, or `train+val` for a last run, as the report's: nothing is left to choose the best epoch
            by, so that validation is left out and `best/` is `last/`.
        verify: Compare every byte of the data set with its checksum before a second epoch begins: what is loaded as a
            whole while it is loaded, the rest in the background. Labels and all that is small are compared in any case.
    """

    path: PathName | None = None
    train_split: Literal["train", "train+val"] = "train"
    batch_size: Images = 32
    eval_batch_size: Images = 128
    loader: Literal["auto", "resident", "ffcv", "dali", "pack"] = "auto"
    verify: bool = True
