"""Images of every format that Pillow writes, whole and damaged, through `convert`."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from fuzz.case import Case
from fuzz.mutate import damaged
from fuzz.templates import Templates

PNG: list[tuple[str, dict[str, Any]]] = [
    ("1", {}), ("L", {}), ("LA", {}), ("P", {}), ("P", {"bits": 1}), ("P", {"bits": 2}), ("P", {"bits": 4}),
    ("P", {"transparency": 0}), ("P", {"transparency": b"\0\x80\xff"}), ("L", {"transparency": 255}),
    ("RGB", {"transparency": (255, 255, 255)}), ("RGB", {}), ("RGBA", {}), ("I;16", {}), ("I", {}),
    ("RGB", {"save_all": True, "frames": 3}),
]  # fmt: skip
JPEG: list[tuple[str, dict[str, Any]]] = [
    ("L", {}), ("RGB", {}), ("CMYK", {}), ("RGB", {"progressive": True}), ("RGB", {"orientation": 6}),
    ("L", {"orientation": 3}), ("RGB", {"subsampling": 0, "quality": 100}), ("YCbCr", {}),
    ("RGB", {"comment": b"x" * 99}),
]  # fmt: skip
TIFF: list[tuple[str, dict[str, Any]]] = [
    (mode, {"compression": compression})
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "F", "I;16")
    for compression in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4", "zstd", "lzma")
    if (compression != "group4" or mode == "1") and (compression != "jpeg" or mode in ("L", "RGB", "YCbCr", "CMYK"))
] + [("L", {"save_all": True, "frames": 4}), ("F", {"save_all": True, "frames": 2})]  # fmt: skip
WRITTEN: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "png": PNG,
    "jpg": JPEG,
    "gif": [("L", {}), ("P", {"transparency": 0}), ("RGB", {"save_all": True, "frames": 3}), ("P", {"interlace": 1})],
    "bmp": [("1", {}), ("L", {}), ("P", {}), ("RGB", {}), ("RGBA", {})],
    "webp": [("RGB", {}), ("RGBA", {"lossless": True}), ("L", {}), ("RGB", {"save_all": True, "frames": 3})],
    "tiff": TIFF,
    "pgm": [("L", {}), ("I;16", {}), ("I", {})],
    "ppm": [("RGB", {}), ("1", {}), ("F", {})],
    "pbm": [("1", {})],
}
FORMATS = {"jpg": "JPEG", "pgm": "PPM", "pbm": "PPM"}

OTHERS = [
    b"", b"\0", b"no image", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"BM", b"RIFF\0\0\0\0WEBP", b"II*\0",
    b"<svg xmlns='http://www.w3.org/2000/svg'><rect/></svg>", b"%PDF-1.4", b"PK\x03\x04",
    b"%!PS-Adobe-3.0 EPSF-3.0\n", b"P2\n2 2\n255\n0 1 2 3\n", b"P3\n1 1\n255\n1 2 3\n", b"P1\n2 2\n0 1 1 0\n",
    b"P5\n99999 99999\n255\n", b"P5\n-1 4\n255\n", b"P6 1 1 65535\n\0\0\0\0\0\0", b"P5 1 1 0\n\0",
    b"P2 2 2 " + b"9" * 9999, b"Pf\n2 2\n-1.0\n" + bytes(16), b"P7\nWIDTH 1\n",
]  # fmt: skip


def case(rng: Random, folder: Path, templates: Templates) -> Case:
    """Three images of one class, two of them as they come, beside a class of good ones."""
    good = folder / "images" / "good"
    good.mkdir(parents=True)
    (good / "0.png").write_bytes(templates.image())
    (good / "1.png").write_bytes(templates.image(1))
    odd = folder / "images" / "odd"
    odd.mkdir()
    (odd / "good.png").write_bytes(templates.image())
    for index in range(3):
        suffix, data = picture(rng)
        (odd / f"{index}.{suffix}").write_bytes(data)
    command = ["convert", "images", "out", "--size", rng.choice(("24", "24", "8", "97")), "--workers", "1"]
    command += rng.choice(([], [], ["--strict"], ["--resize", "nearest"], ["--resize", "lanczos"], ["--resize", "box"]))
    return Case([[*command, "--split", "0.5/0.5"]])


def picture(rng: Random) -> tuple[str, bytes]:
    """The suffix and the bytes of something that is, was or seems to be an image."""
    if rng.random() < 0.01:
        return rng.choice(bombs())
    way = rng.randrange(20)
    if way <= 1:
        return rng.choice(list(WRITTEN)), rng.choice(OTHERS)
    suffix, data = written(rng)
    if way <= 3:
        return suffix, data
    if way == 4:
        return rng.choice(list(WRITTEN)), data
    if way == 5:
        return suffix, data + written(rng)[1]
    if way == 6:
        return suffix, data[: rng.randrange(len(data))]
    if way <= 11:
        return suffix, measured_otherwise(rng, suffix, data)
    if suffix == "png" and way <= 15:
        return suffix, chunks_changed(rng, data)
    return suffix, damaged(rng, data)


def written(rng: Random) -> tuple[str, bytes]:
    """An image as Pillow writes it, of 1 to 40 pixels a side."""
    while True:
        suffix = rng.choice(list(WRITTEN))
        mode, options = rng.choice(WRITTEN[suffix])
        options = dict(options)
        frames = [noise(rng, mode) for _ in range(options.pop("frames", 1))]
        if orientation := options.pop("orientation", None):
            exif = Image.Exif()
            exif[0x0112] = orientation
            options["exif"] = exif
        if len(frames) > 1:
            options["append_images"] = [frame.resize(frames[0].size) for frame in frames[1:]]
        if rng.random() < 0.2:
            options["icc_profile"] = rng.randbytes(40)
        stream = io.BytesIO()
        try:
            frames[0].save(stream, FORMATS.get(suffix, suffix.upper()), **options)
        except (OSError, ValueError, KeyError, RuntimeError, SystemError):  # not every mode with every compression
            continue
        return suffix, stream.getvalue()


def noise(rng: Random, mode: str) -> Image.Image:
    """Random pixels of a mode; floats of every size."""
    width, height = rng.choice((1, 2, 7, 16, 40)), rng.choice((1, 3, 8, 40))
    draws = np.random.default_rng(rng.randrange(1 << 32))
    if mode == "F":
        odd = np.array([0, 1, 255, -1, 1e38, np.nan, np.inf, -np.inf, 1e-40, 65535], np.float32)
        return Image.fromarray(draws.choice(odd, (height, width)))
    if mode in ("I", "I;16"):
        values = draws.integers(0, 65536, (height, width))
        return Image.fromarray(values.astype(np.int32 if mode == "I" else np.uint16))
    pixels = Image.fromarray(draws.integers(0, 256, (height, width, 4), dtype=np.uint8), "RGBA")
    if mode == "LAB":
        return Image.frombytes("LAB", (width, height), rng.randbytes(3 * width * height))
    return pixels if mode == "RGBA" else pixels.convert("RGB").convert(mode)


def chunk(name: bytes, data: bytes) -> bytes:
    """A PNG chunk with its right checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def chunks_changed(rng: Random, png: bytes) -> bytes:
    """Chunks of a PNG edited, moved, doubled or added, each with the right checksum."""
    chunks, at = [], 8
    while at + 12 <= len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        chunks.append((png[at + 4 : at + 8], png[at + 8 : at + 8 + length]))
        at += 12 + length
    for _ in range(rng.choice((1, 1, 2, 3))):
        index = rng.randrange(len(chunks))
        name, data = chunks[index]
        way = rng.randrange(6)
        if way == 0:
            chunks.insert(rng.randrange(len(chunks) + 1), (name, data))
        elif way == 1 and len(chunks) > 1:
            del chunks[index]
        elif way == 2:
            added = rng.choice(
                (
                    b"tRNS",
                    b"PLTE",
                    b"gAMA",
                    b"iCCP",
                    b"zTXt",
                    b"acTL",
                    b"fcTL",
                    b"fdAT",
                    b"eXIf",
                    b"sBIT",
                    b"bKGD",
                    b"IEND",
                )
            )
            chunks.insert(rng.randrange(len(chunks) + 1), (added, rng.randbytes(rng.choice((0, 1, 3, 26, 300)))))
        elif way == 3 and name == b"IDAT":
            lines = zlib.compress(rng.randbytes(rng.choice((0, 10, 1000))) + bytes(rng.choice((0, 10**5))))
            chunks[index] = (name, lines)
        elif name == b"IHDR":  # depth, colour, compression, filter, interlace
            header = bytearray(data.ljust(13, b"\0"))
            header[rng.randrange(8, 13)] = rng.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
            chunks[index] = (name, bytes(header))
        else:
            chunks[index] = (name, damaged(rng, data))
    return png[:8] + b"".join(chunk(name, data) for name, data in chunks)


def measured_otherwise(rng: Random, suffix: str, data: bytes) -> bytes:
    """Another width or height in the header."""
    side = rng.choice((0, 1, 2, 41, 1000, 30000, 65535, 2**31 - 1, 2**32 - 1))
    small = struct.pack("<H", side & 0xFFFF)
    changed = bytearray(data)
    if suffix == "png":
        at = rng.choice((0, 4))
        header = bytearray(data[16:29])
        header[at : at + 4] = struct.pack(">I", side)
        return data[:8] + chunk(b"IHDR", bytes(header)) + data[33:]
    if suffix == "bmp":
        at = rng.choice((18, 22))
        changed[at : at + 4] = struct.pack("<I", side)
    elif suffix == "gif":
        at = rng.choice((6, 8))
        changed[at : at + 2] = small
    elif suffix in ("pgm", "ppm", "pbm"):
        head, newline, rest = data.partition(b"\n")
        _, _, pixels = rest.partition(b"\n")
        return head + newline + f"{side} {rng.choice((1, side))}".encode() + newline + pixels
    elif suffix == "jpg":
        at = next((data.find(mark) for mark in (b"\xff\xc0", b"\xff\xc2") if mark in data), 0)
        changed[at + 5 : at + 9] = struct.pack(">HH", side & 0xFFFF, rng.choice((1, side & 0xFFFF)))
    elif suffix == "webp":
        changed[24:30] = struct.pack("<I", side)[:3] * 2
    else:
        width = struct.pack("<HHI", rng.choice((256, 257)), 4, 1)[:4]
        at = data.find(width)
        if at >= 0:
            changed[at + 8 : at + 12] = struct.pack("<I", side)
    return bytes(changed)


@functools.cache
def bombs() -> list[tuple[str, bytes]]:
    """Small files of large images: as much as a case's memory allows to be reduced, and far more."""
    shapes = ((9000, 9000, 16, 0), (6000, 6000, 8, 6), (9000, 9000, 8, 4), (65000, 900, 1, 0))
    pbm = b"P4\n12000 12000\n" + bytes(18_000_000)
    return [*(("png", flat_png(*shape)) for shape in shapes), ("png", flat_png(2**30, 1, 8, 0, rows=0)), ("pbm", pbm)]


def flat_png(width: int, height: int, depth: int, colour: int, rows: int | None = None) -> bytes:
    """A PNG of zeros: `depth` bits, `colour` as PNG numbers them (0 gray, 2 RGB, 4 gray and alpha, 6 RGBA)."""
    row = 1 + (width * depth * {0: 1, 2: 3, 4: 2, 6: 4}[colour] + 7) // 8
    block = zeros(row * (height if rows is None else rows))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", block) + chunk(b"IEND", b"")


def zeros(count: int) -> bytes:
    """So many zeros as a zlib stream, in an instant: a megabyte is packed once and its bytes are repeated."""
    packer = zlib.compressobj(9, wbits=-15)
    megabyte = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    rest = packer.compress(bytes(count % (1 << 20))) + packer.flush()
    checksum = (count % 65521) << 16 | 1  # Adler-32 of zeros
    return b"\x78\xda" + megabyte * (count >> 20) + rest + struct.pack(">I", checksum)
