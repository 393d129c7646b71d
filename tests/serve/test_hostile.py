"""Requests that nobody honest sends: each gets a 4xx, none a traceback, and the next honest one its answer."""

from __future__ import annotations

import io
import random
import socket
from collections.abc import Callable

import pytest
from PIL import Image
from serving import STROKES, Serving, drawing, serving

from fastsketch.serve.bodies import MOST_BYTES
from fastsketch.training.run.directory import Run

Request = tuple[str, bytes, str, dict[str, str]]
"""Path, body, media type, headers."""


def _png() -> bytes:
    file = io.BytesIO()
    Image.effect_noise((40, 40), 50).save(file, "PNG")
    return file.getvalue()


PNG = _png()
GOOD = b'{"drawing": [[[0, 10, 20], [0, 20, 10]], [[5, 6], [7, 8]]]}'
BAD_NUMBERS = (b"NaN", b"Infinity", b"-Infinity", b"1e39", b"-1e400", b"null", b"[]", b"{}", b"9" * 400)


def truncated(rng: random.Random) -> Request:
    return "/api/predict", GOOD[: rng.randrange(len(GOOD))], STROKES, {}


def truncated_image(rng: random.Random) -> Request:
    return "/api/predict", PNG[: rng.randrange(len(PNG) // 2)], "image/png", {}


def oversized(rng: random.Random) -> Request:
    return "/api/predict", rng.randbytes(16) * (MOST_BYTES // 16 + rng.randrange(1, 5)), STROKES, {}


def wrong_type(rng: random.Random) -> Request:
    return "/api/predict", GOOD, rng.choice(["text/html", "", "image/tiff", "a" * 3000, "image/svg+xml", "é"]), {}


def no_image(rng: random.Random) -> Request:
    return "/api/predict", b"<svg/>" + PNG, rng.choice(["image/jpeg", "image/gif", "image/webp", "image/bmp"]), {}


def bad_number(rng: random.Random) -> Request:
    number = rng.choice(BAD_NUMBERS)
    return rng.choice(["/api/predict", "/api/neighbours"]), b'{"drawing": [[[0, %b], [1, 2]]]}' % number, STROKES, {}


def deep(rng: random.Random) -> Request:
    depth = rng.randrange(1000, 11_000)
    opening, closing = rng.choice([(b"[", b"]"), (b'{"a":', b"}")])
    return "/api/predict", opening * depth + b"1" + closing * depth, STROKES, {}


def wrong_shape(rng: random.Random) -> Request:
    shapes = (
        b"[[0, 1]]",
        b"[[[0, 1], [0]]]",
        b"[0]",
        b"3",
        b'"a"',
        b"[[[[0]], [[1]]]]",
        b'{"0": [[0], [0]]}',
        b"[[[], []]]",
    )
    return "/api/predict", b'{"drawing": %b}' % rng.choice(shapes), STROKES, {}


def binary(rng: random.Random) -> Request:
    return "/api/predict", b"\x00" + rng.randbytes(rng.randrange(2000)), rng.choice([STROKES, "image/png"]), {}


def path_trick(rng: random.Random) -> Request:
    up = rng.choice(["../", "..%2f", "%2e%2e/", "..\\", "....//", "%00", "./"])
    return f"/{up * rng.randrange(1, 8)}{rng.choice(['etc/passwd', 'app.py', 'config.yaml'])}", GOOD, STROKES, {}


def bad_query(rng: random.Random) -> Request:
    return f"/api/predict?topk={rng.choice(['', '-1', '0', 'NaN', '1' * 50, '%00', '1.5', '[]'])}", GOOD, STROKES, {}


def elsewhere(rng: random.Random) -> Request:
    return (
        "/api/predict",
        GOOD,
        STROKES,
        {"Origin": rng.choice(["null", "http://x", "https://127.0.0.1.x.org", "file://"])},
    )


KINDS: tuple[Callable[[random.Random], Request], ...] = (
    *(truncated, truncated_image, oversized, wrong_type, no_image, bad_number, deep, wrong_shape),
    *(binary, path_trick, bad_query, elsewhere),
)


def raw(rng: random.Random) -> bytes:
    """What is not even HTTP, or whose length is a lie."""
    head = b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return rng.choice(
        [
            rng.randbytes(rng.randrange(1, 500)) + b"\r\n\r\n",
            head + b"Content-Length: -5\r\n\r\n",
            head + b"Content-Length: 9\r\nContent-Length: 11\r\n\r\n{}",
            head + b"Content-Length: abc\r\n\r\n{}",
            head + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n",
            head + b"X: " + b"a" * 70_000 + b"\r\n\r\n",
            b"GET " + b"/" * 70_000 + b" HTTP/1.1\r\n\r\n",
            b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(100) + b"\r\n\r\n",
        ]
    )


def send_raw(server: Serving, content: bytes) -> bytes:
    with socket.create_connection((server.host, server.port), timeout=30) as connection:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        try:
            return connection.recv(65536)
        except ConnectionResetError:
            return b""


def attack(server: Serving, count: int) -> None:
    rng = random.Random(0)
    for number in range(count):
        if number % 20 == 19:
            said = send_raw(server, raw(rng))
            assert not said or said.split()[1].startswith(b"4"), (number, said[:200])
            continue
        kind = KINDS[number % len(KINDS)] if number % 20 else rng.choice(KINDS)
        path, body, media_type, headers = kind(rng)
        try:
            status, found, _ = server.ask(
                path, body, media_type.encode("latin-1", "replace").decode("latin-1"), headers
            )
        except (BrokenPipeError, ConnectionResetError):
            assert kind is oversized, "it stops reading what is too large"
            continue
        assert 400 <= status < 500, (number, kind.__name__, path, body[:100], status, found)
        assert b"Traceback" not in str(found).encode()
        if number % 100 == 0:
            assert server.predict({"drawing": drawing(number)})["labels"]


def test_some(run: Run) -> None:
    with serving(run.root) as server:
        attack(server, 400)
        assert server.end() == (0, "")


@pytest.mark.slow
def test_ten_thousand(run: Run) -> None:
    with serving(run.root) as server:
        attack(server, 10_000)
        assert server.end() == (0, "")
