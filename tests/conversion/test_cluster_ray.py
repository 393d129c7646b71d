"""`convert --executor ray://…`, on a Ray of real processes, by its client server and as this machine's own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import clusters
import pytest
from clusters import KILLED, WAITING, on
from converting import CONFIG, content

from fastsketch.conversion import cluster as clustering
from fastsketch.conversion import convert, convert_dataset, executors
from fastsketch.errors import FastSketchError
from fastsketch.sources import open_source

pytestmark = pytest.mark.slow

TESTS = str(Path(clusters.__file__).parent)


@dataclass(frozen=True)
class Head:
    """A Ray that runs: its process, the port of its client server, and what `RAY_ADDRESS` is to be for it."""

    process: subprocess.Popen[bytes]
    url: str
    address: str


@pytest.fixture
def start_ray() -> Iterator[Callable[[], Head]]:
    """A function that starts a Ray of two CPUs, in processes and a folder of its own."""
    yield from _started()


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """One that the tests share."""
    for start in _started():
        yield start()


def _started() -> Iterator[Callable[[], Head]]:
    pytest.importorskip("ray", reason="no Ray: pip install '.[ray]'")
    running: list[subprocess.Popen[bytes]] = []
    folders: list[str] = []

    def start() -> Head:
        port, client_port = clusters.free_port(), clusters.free_port()
        folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # sockets lie in it, whose names must be short
        folders.append(folder)
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus", "2"]
        command += ["--port", str(port), "--ray-client-server-port", str(client_port), "--temp-dir", folder]
        command += ["--include-dashboard", "false", "--disable-usage-stats", "--object-store-memory", "200000000"]
        paths = os.pathsep.join(path for path in (TESTS, os.environ.get("PYTHONPATH")) if path)
        running.append(
            subprocess.Popen(
                command,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": paths},
            )
        )
        head = Head(running[-1], f"ray://127.0.0.1:{client_port}", f"127.0.0.1:{port}")
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline:
            try:
                executors.require_cluster(head.url)
                with executors.open_cluster(head.url):  # its port is open before it can do anything
                    return head
            except FastSketchError:
                time.sleep(0.2)
        pytest.fail("Ray does not start")

    yield start
    for process, folder in zip(running, folders, strict=True):
        end(process)
        shutil.rmtree(folder, ignore_errors=True)


def end(process: subprocess.Popen[bytes]) -> None:
    """With all that it started, which it ends itself."""
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, shapes: Path) -> dict[str, bytes]:
    """What this machine alone makes of the shapes."""
    folder = tmp_path_factory.mktemp("local") / "data"
    convert_dataset(open_source(shapes), folder, CONFIG)
    return content(folder)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "CHUNK", 1)  # tasks of four samples


def test_the_bytes_are_those_of_this_machine(
    shapes: Path, tmp_path: Path, head: Head, local: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.chdir(shapes.parent)
    convert_dataset(open_source(Path(shapes.name)), tmp_path / "data", on(head.url))
    assert content(tmp_path / "data") == local
    assert signal.getsignal(signal.SIGTERM) is handler


def test_a_worker_that_is_killed_costs_no_byte(
    shapes: Path, tmp_path: Path, head: Head, local: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert, "_decode_chunk", partial(clusters.die_once, tmp_path, "cross/010.png"))
    convert_dataset(open_source(shapes), tmp_path / "data", on(head.url))
    assert (tmp_path / "died").exists()
    assert content(tmp_path / "data") == local


@pytest.mark.parametrize("own", [False, True], ids=["by its address", "of this machine"])
def test_a_driver_that_is_killed_continues(
    shapes: Path, tmp_path: Path, head: Head, local: dict[str, bytes], own: bool
) -> None:
    url = "ray://" if own else head.url
    command = ["convert", str(shapes), str(tmp_path / "data"), "--size", "24", "--split", "12/4/2", "--executor", url]
    environment = {**os.environ, "RAY_ADDRESS": head.address}
    killed = subprocess.run([sys.executable, "-c", KILLED, *command], capture_output=True, timeout=100, env=environment)
    assert killed.returncode == -9, killed.stderr.decode()
    assert not (tmp_path / "data").exists()
    result = subprocess.run(
        [sys.executable, "-m", "fastsketch", *command], capture_output=True, text=True, timeout=100, env=environment
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr.splitlines() == ["continuing after 20 samples"]  # Ray says nothing
    assert content(tmp_path / "data") == local


@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
@pytest.mark.parametrize("own", [False, True], ids=["by its address", "of this machine"])
def test_a_signal_ends_it_with_a_word(
    shapes: Path, tmp_path: Path, head: Head, own: bool, number: signal.Signals, word: str
) -> None:
    """Ray has a handler of its own for SIGTERM, and what it cancels makes room for the next conversion."""
    url = "ray://" if own else head.url
    command = [sys.executable, "-c", WAITING, TESTS, str(tmp_path / "go"), "convert"]
    command += [str(shapes), str(tmp_path / "data"), "--size", "24", "--executor", url]
    environment = {**os.environ, "RAY_ADDRESS": head.address}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "go.begun").exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert (errors.splitlines()[-1], process.returncode) == (word, 128 + number)
    assert "Traceback" not in errors
    assert not (tmp_path / "data").exists()
    convert_dataset(open_source(shapes), tmp_path / "data", on(head.url))


@pytest.mark.parametrize(
    ("decode", "told"),
    [
        (clusters.lack_opencv, "on a worker, OpenCV cannot be imported (no module named 'cv2')"),
        (clusters.lack_a_module, "a worker cannot import what is to run there (No module named 'fastsketch_of_old')"),
        (clusters.die, "4 workers died of the same chunk, most likely for want of memory"),
    ],
)
def test_what_workers_lack(
    shapes: Path, tmp_path: Path, head: Head, monkeypatch: pytest.MonkeyPatch, decode: Callable[..., Any], told: str
) -> None:
    monkeypatch.setattr(convert, "_decode_chunk", decode)
    with pytest.raises(FastSketchError) as caught:
        convert_dataset(open_source(shapes), tmp_path / "data", on(head.url))
    assert caught.value.message == f"{head.url}: {told}"
    assert not (tmp_path / "data").exists()


def test_workers_with_another_fastsketch(
    shapes: Path, tmp_path: Path, head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = convert.__version__
    monkeypatch.setattr(clustering, "__version__", "9.9")
    with pytest.raises(FastSketchError) as caught:
        convert_dataset(open_source(shapes), tmp_path / "data", on(head.url))
    assert caught.value.message == f"{head.url}: a worker has fastsketch {version}, here it is 9.9"


def test_no_ray_runs_here(shapes: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="no Ray: pip install '.[ray]'")
    command = [sys.executable, "-m", "fastsketch", "convert", str(shapes), str(tmp_path / "data")]
    environment = {**os.environ, "RAY_ADDRESS": f"127.0.0.1:{clusters.free_port()}"}
    result = subprocess.run(
        [*command, "--executor", "ray://"], capture_output=True, text=True, timeout=100, env=environment
    )
    assert result.returncode == 1
    assert result.stderr.splitlines()[-2] == "error: ray:// does not answer (Connection refused)"
    assert not list(tmp_path.iterdir())


def test_a_cluster_that_goes_away_in_the_middle(
    shapes: Path,
    tmp_path: Path,
    start_ray: Callable[[], Head],
    local: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_CLIENT_RECONNECT_GRACE_PERIOD", "3")
    head = start_ray()

    def progress(done: int, share: float) -> None:
        if done == 20:
            end(head.process)

    with pytest.raises(FastSketchError) as caught:
        convert_dataset(open_source(shapes), tmp_path / "data", on(head.url), progress)
    assert caught.value.message.startswith(f"{head.url} does not answer any more (")
    assert caught.value.hint == executors.CONTINUES
    assert not sys.modules["ray"].is_initialized()  # as it would be if anything were called then
    assert not (tmp_path / "data").exists()
    convert_dataset(open_source(shapes), tmp_path / "data", CONFIG)
    assert content(tmp_path / "data") == local
