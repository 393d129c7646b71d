"""How fast are 1111 px originals converted, and how much memory does it take?

    fastsketch bench convert

Every contender turns the same PNGs into 224 px gray images in one file, with as many worker processes. Those of the
others wait in a pool with everything imported, ours are started anew each time. Pillow's and ours are the same bytes.
Ours includes what the others do not do: splits, ids, ink counts, statistics, checksums, and a journal to continue from.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from fastsketch.config import ConvertConfig
from fastsketch.conversion import convert_dataset
from fastsketch.conversion.convert import CHUNK
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit
from fastsketch.sources import open_source
from fastsketch.workers import available_cpus, process_pool

from .common import Contender, print_table, take_turns, write_results
from .drawings import repeat_drawings
from .originals import SHARED, sketch_folder
from .plots import plot_speeds

SIZE = 224

DRAWINGS = (5_000, 69_000)
"""Quick, Draw! drawings whose conversions are compared in memory."""


def pillow_chunk(paths: list[Path]) -> npt.NDArray[np.uint8]:
    """Runs in a worker: what anyone would write first."""
    images = np.empty((len(paths), SIZE, SIZE), np.uint8)
    for row, path in enumerate(paths):
        with Image.open(path) as image:
            images[row] = np.asarray(image.convert("L").resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    return images


def torchvision_chunk(paths: list[Path]) -> npt.NDArray[np.uint8]:
    """Runs in a worker: torchvision's decoder and its anti-aliased resize on uint8 tensors."""
    import torch
    from torchvision.io import ImageReadMode, decode_image
    from torchvision.transforms.v2.functional import resize

    torch.set_num_threads(1)
    images = [resize(decode_image(str(path), ImageReadMode.GRAY), [SIZE, SIZE], antialias=True) for path in paths]
    return torch.cat(images).numpy()


def pooled(
    chunk: Callable[[list[Path]], npt.NDArray[np.uint8]], paths: list[Path], pool: Executor, out: Path
) -> npt.NDArray[np.uint8]:
    """Decode `paths` with a pool of processes into a raw file `out`; return it mapped, uint8 [N, S, S]."""
    remaining = iter(paths)
    chunks: Iterator[list[Path]] = iter(lambda: list(islice(remaining, CHUNK)), [])
    with out.open("wb") as file:
        for images in pool.map(chunk, chunks):
            file.write(images.data)
    return np.memmap(out, np.uint8, "r").reshape(len(paths), SIZE, SIZE)


def run(out: Path, *, quick: bool = False) -> Path:
    """Run the benchmark, print its table, write JSON and a plot into `out`; return the JSON."""
    workers = available_cpus()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sketches = sketch_folder(folder, copies=1 if quick else 10)
        paths = sorted(sketches.glob("*/*.png"))
        dataset = folder / "dataset"
        config = ConvertConfig(size=SIZE, split="1/0", workers=workers, overwrite=True)
        files = {name: folder / f"{name}.u8" for name in ("pillow", "torchvision")}
        with process_pool(workers) as pool:
            rivals = {"Pillow pool": (pillow_chunk, "pillow"), "torchvision pool": (torchvision_chunk, "torchvision")}
            contenders = [
                *(
                    Contender(name, partial(pooled, chunk, paths, pool, files[file]), len(paths))
                    for name, (chunk, file) in rivals.items()
                ),
                Contender("fastsketch", lambda: convert_dataset(open_source(sketches), dataset, config), len(paths)),
            ]
            timings = take_turns(contenders, rounds=1 if quick else 3)
        ours = PackSplit(dataset, DatasetMetadata.load(dataset), "train").images[:, 0]
        others = {name: np.memmap(path, np.uint8, "r").reshape(ours.shape) for name, path in files.items()}
        if not np.array_equal(ours, others["pillow"]):
            raise AssertionError("ours and Pillow's are not the same bytes")
        difference = max(
            int(np.abs(ours[row].astype(int) - others["torchvision"][row]).max()) for row in range(min(len(paths), 660))
        )
        settings = {
            "quick": quick,
            "images": len(paths),
            "source_px": Image.open(paths[0]).width,
            "size": SIZE,
            "resize": config.resize,
            "workers": workers,
        }
        at_hand = (SHARED / "quickdraw-strokes").is_dir() and Path("/proc/self/status").is_file()
        memory = _memory(folder) if at_hand and not quick else None
    print_table(f"convert {len(paths):,} sketches to {SIZE} px, {workers} workers", timings, baseline="Pillow pool")
    for drawings, peak in (memory or {}).items():
        print(
            f"peak memory of {drawings} drawings: {peak['writer']:,.0f} MiB, decoders {peak['decoder']:,.0f} MiB each"
        )
    path = write_results(
        out, "convert", settings, timings, torchvision_largest_difference=difference, peak_mebibytes=memory
    )
    title = f"{len(paths):,} sketches to {SIZE} px, {workers} worker processes"
    plot_speeds(path.with_suffix(".png"), timings, title)
    return path


_PEAK = """
import resource, sys
from pathlib import Path
from fastsketch.config import ConvertConfig
from fastsketch.conversion import convert_dataset
from fastsketch.sources import open_source

if __name__ == "__main__":
    convert_dataset(open_source(Path(sys.argv[1])), Path(sys.argv[2]), ConvertConfig(size=64, format="dali"))
    # Not ru_maxrss for this process itself: that begins with what the process that started it had.
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    print(int(status["VmHWM"].split()[0]) / 1024, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


def _memory(folder: Path) -> dict[str, dict[str, float]]:
    """Peak resident memory in MiB of the process that writes and of the largest one that decodes, by drawings."""
    script = folder / "peak.py"
    script.write_text(_PEAK)
    peaks = {}
    for drawings in DRAWINGS:
        strokes, dataset = folder / f"strokes-{drawings}", folder / f"drawings-{drawings}"
        repeat_drawings(strokes, drawings)
        result = subprocess.run([sys.executable, script, strokes, dataset], check=True, capture_output=True, text=True)
        writer, decoder = map(float, result.stdout.split())
        peaks[f"{drawings:,}"] = {"writer": writer, "decoder": decoder}
    return peaks
