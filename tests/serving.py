"""The command `fastsketch serve` in a process of its own, and requests to it."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread, Timer
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from forked import Forked

from fastsketch.serve.api import Served
from fastsketch.serve.app import create_app
from fastsketch.serve.server import create_server, listen

STROKES = "application/json"
LIMIT = 120.0
"""Seconds until a server that does not begin, or does not end, is killed."""


class Serving:
    """A server that answers."""

    def __init__(self, address: str, process: subprocess.Popen[str] | None = None) -> None:
        self.address, self._process = address, process
        parts = urlsplit(address)
        assert parts.hostname
        assert parts.port
        self.host, self.port = parts.hostname, parts.port

    def ask(
        self,
        path: str,
        body: bytes | None = None,
        media_type: str | None = None,
        headers: dict[str, str] | None = None,
        method: str | None = None,
    ) -> tuple[int, Any, http.client.HTTPMessage]:
        """Status, what the JSON says (or the bytes of anything else), headers."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        try:
            sent = {**({"Content-Type": media_type} if media_type else {}), **(headers or {})}
            connection.request(method or ("GET" if body is None else "POST"), path, body, sent)
            answer = connection.getresponse()
            content = answer.read()
            is_json = (answer.getheader("content-type") or "").startswith("application/json")
            return answer.status, json.loads(content) if is_json else content, answer.headers
        finally:
            connection.close()

    def predict(self, record: object, query: str = "") -> Any:
        status, found, _ = self.ask(f"/api/predict{query}", json.dumps(record).encode(), STROKES)
        assert status == 200, found
        return found

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process, "it is a thread"
        return self._process

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Ask it to end; exit code and what it said on stderr."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=LIMIT)
        return self.process.returncode, said


@contextmanager
def serving(*arguments: object) -> Iterator[Serving]:
    process = Forked("serve", *arguments, "--port", "0", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    killer = Timer(LIMIT, process.kill)
    killer.start()
    try:
        assert process.stdout
        line = process.stdout.readline()
        killer.cancel()
        assert line, process.communicate()[1]
        yield Serving(line.split()[0], process)
    finally:
        killer.cancel()
        process.kill()
        process.communicate()


@contextmanager
def answering(served: Served) -> Iterator[Serving]:
    """The same in a thread of this process, which need not import torch once more."""
    began = Event()
    with listen("127.0.0.1", 0) as listening:
        server = create_server(create_app(served), began.set)
        thread = Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            assert began.wait(LIMIT)
            yield Serving(f"http://127.0.0.1:{listening.getsockname()[1]}/")
        finally:
            server.should_exit = True
            thread.join()


def drawing(seed: int) -> list[list[list[float]]]:
    """A few strokes, in some unit."""
    rng = np.random.default_rng(seed)
    unit = float(rng.choice([1, 255, 1000]))
    return [
        [np.round(unit * rng.random(points), 3).tolist() for _ in range(2)]
        for points in rng.integers(1, 20, rng.integers(1, 6)).tolist()
    ]
