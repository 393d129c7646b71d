"""`convert --executor`, on a Dask cluster of real processes: the same bytes, whoever dies of it, or one line."""

from __future__ import annotations

import logging
import pkgutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import clusters
import pytest
from clusters import KILLED, WAITING, on
from converting import CONFIG, content

from fastsketch.config import ConvertConfig, validated
from fastsketch.conversion import cluster as clustering
from fastsketch.conversion import convert, convert_dataset, executors
from fastsketch.conversion.executors import Cluster
from fastsketch.errors import BackendMissing, ConfigError, FastSketchError
from fastsketch.sources import open_source
from fastsketch.sources.sample import ImageSample, StrokeSample

CHUNK = 1
"""With which a task on a cluster has four samples: the 60 shapes are 15 tasks."""


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A scheduler in this process and two workers, in processes and a folder of their own."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        dashboard_address=":0",
        silence_logs=logging.CRITICAL,
        local_directory=str(tmp_path_factory.mktemp("workers")),
    ) as cluster:
        yield cluster


@pytest.fixture
def url(dask: Any) -> str:
    return dask.scheduler_address.replace("tcp://", "dask://")


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, shapes: Path) -> dict[str, bytes]:
    """What this machine alone makes of the shapes."""
    folder = tmp_path_factory.mktemp("local") / "data"
    convert_dataset(open_source(shapes), folder, CONFIG)
    return content(folder)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "CHUNK", CHUNK)


def refused(shapes: Path, folder: Path, url: str) -> FastSketchError:
    """The error of a conversion that nothing becomes visible of."""
    with pytest.raises(FastSketchError) as caught:
        convert_dataset(open_source(shapes), folder, on(url))
    assert not folder.exists()
    assert "\n" not in caught.value.message
    return caught.value


def emptied(dask: Any) -> bool:
    """Whether the scheduler forgets all tasks."""
    deadline = time.monotonic() + 20
    while dask.scheduler.tasks and time.monotonic() < deadline:
        time.sleep(0.02)
    return not dask.scheduler.tasks


# ------------------------------------------------------------------------------------------------------- same bytes


def test_the_bytes_are_those_of_this_machine(
    shapes: Path, tmp_path: Path, url: str, local: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, dask: Any
) -> None:
    """From a folder that is named as seen from here, where the workers are not."""
    monkeypatch.chdir(shapes.parent)
    convert_dataset(open_source(Path(shapes.name)), tmp_path / "data", on(url))
    assert content(tmp_path / "data") == local
    assert emptied(dask)


def test_strokes_too(tmp_path: Path, url: str) -> None:
    (tmp_path / "in").mkdir()
    for name in ("cat", "dog"):
        lines = [f'{{"key_id": "{n}", "drawing": [[[0, {n + 9}], [0, {len(name) * n}]]]}}\n' for n in range(10)]
        (tmp_path / f"in/{name}.ndjson").write_text("".join(lines))
    for folder, config in (("here", CONFIG), ("there", on(url))):
        config = config.model_copy(update={"split": "0.5/0.5"})
        convert_dataset(open_source(tmp_path / "in"), tmp_path / folder, config)
    assert content(tmp_path / "there") == content(tmp_path / "here")


def test_what_cannot_be_read_is_skipped_as_here(damaged: Path, tmp_path: Path, url: str) -> None:
    (damaged / "cross/001.png").unlink()
    (damaged / "cross/001.png").symlink_to("nowhere")
    for folder, config in (("here", CONFIG), ("there", on(url))):
        config = config.model_copy(update={"split": "0.8/0.2"})
        convert_dataset(open_source(damaged), tmp_path / folder, config)
    assert content(tmp_path / "there") == content(tmp_path / "here")


def test_a_worker_that_is_killed_costs_no_byte(
    shapes: Path, tmp_path: Path, url: str, local: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert, "_decode_chunk", partial(clusters.die_once, tmp_path, "cross/010.png"))
    convert_dataset(open_source(shapes), tmp_path / "data", on(url))
    assert (tmp_path / "died").exists()
    assert content(tmp_path / "data") == local


def test_a_driver_that_is_killed_continues(
    shapes: Path, tmp_path: Path, url: str, local: dict[str, bytes], dask: Any
) -> None:
    command = ["convert", str(shapes), str(tmp_path / "data"), "--size", "24", "--split", "12/4/2", "--executor", url]
    killed = subprocess.run([sys.executable, "-c", KILLED, *command], capture_output=True, timeout=100)
    assert killed.returncode == -9, killed.stderr.decode()
    assert not (tmp_path / "data").exists()
    result = subprocess.run([sys.executable, "-m", "fastsketch", *command], capture_output=True, text=True, timeout=100)
    assert result.returncode == 0, result.stderr
    assert "continuing after 20" in result.stderr
    assert content(tmp_path / "data") == local
    assert emptied(dask)


# --------------------------------------------------------------------------------------------------- what is under way


def test_ctrl_c_cancels_what_is_under_way(shapes: Path, tmp_path: Path, url: str, dask: Any) -> None:
    """And only a bounded number of tasks is under way: three a worker, and the one that is waited for."""
    command = [sys.executable, "-c", WAITING, str(Path(clusters.__file__).parent), str(tmp_path / "go"), "convert"]
    command += [str(shapes), str(tmp_path / "data"), "--size", "24", "--executor", url]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while len(dask.scheduler.tasks) < 3 * 2 + 1 and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.02)
        time.sleep(0.2)
        under_way = len(dask.scheduler.tasks)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert under_way == 3 * 2 + 1
    assert (errors.splitlines()[-1], process.returncode) == ("interrupted", 130)
    assert "Traceback" not in errors
    assert emptied(dask)  # while the workers still wait for what they have begun
    assert not (tmp_path / "data").exists()
    (tmp_path / "go").touch()


# ------------------------------------------------------------------------------------------------------- in one line


def test_a_chunk_that_every_worker_dies_of(
    shapes: Path, tmp_path: Path, url: str, dask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert, "_decode_chunk", clusters.die)
    monkeypatch.setattr(dask.scheduler, "allowed_failures", 0)
    error = refused(shapes, tmp_path / "data", url)
    assert "workers died of the same chunk, most likely for want of memory" in error.message
    assert "the same command continues" in str(error.hint)


@pytest.mark.parametrize(
    ("decode", "told"),
    [
        (clusters.lack_opencv, "on a worker, OpenCV cannot be imported (no module named 'cv2')"),
        (clusters.lack_a_module, "a worker cannot import what is to run there (No module named 'fastsketch_of_old')"),
    ],
)
def test_what_workers_lack(
    shapes: Path, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, decode: Callable[..., Any], told: str
) -> None:
    monkeypatch.setattr(convert, "_decode_chunk", decode)
    error = refused(shapes, tmp_path / "data", url)
    assert error.message == f"{url}: {told}"
    assert error.hint


def test_a_bug_stays_one(shapes: Path, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "_decode_chunk", clusters.fail)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        convert_dataset(open_source(shapes), tmp_path / "data", on(url))


def test_workers_with_another_fastsketch(
    shapes: Path, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = convert.__version__
    monkeypatch.setattr(clustering, "__version__", "9.9")
    error = refused(shapes, tmp_path / "data", url)
    assert error.message == f"{url}: a worker has fastsketch {version}, here it is 9.9"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_files_that_the_workers_do_not_see(
    draw_shapes: Callable[..., Path], tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would all be skipped: no such file. What is named by the current folder is there for this process alone."""
    draw_shapes(tmp_path / "in", per_class=20)
    monkeypatch.chdir(tmp_path)
    error = refused(Path("/proc/self/cwd/in"), tmp_path / "data", url)
    assert error.message == f"{url}: the workers do not see /proc/self/cwd/in/circle/000.png"
    assert "mount at the same place" in str(error.hint)


def test_a_cluster_that_goes_away_in_the_middle(shapes: Path, tmp_path: Path, local: dict[str, bytes]) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(  # of threads: they start at once
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        protocol="tcp://",
        dashboard_address=":0",
        silence_logs=logging.CRITICAL,
    ) as cluster:
        url = cluster.scheduler_address.replace("tcp://", "dask://")

        def progress(done: int, share: float) -> None:
            if done == 20:
                cluster.close()

        with pytest.raises(FastSketchError) as caught:
            convert_dataset(open_source(shapes), tmp_path / "data", on(url), progress)
    assert caught.value.message.startswith(f"{url} does not answer any more (")
    assert caught.value.hint == "the same command continues, also without --executor"
    assert not (tmp_path / "data").exists()
    assert (tmp_path / "data.partial/journal.json").exists()
    convert_dataset(open_source(shapes), tmp_path / "data", CONFIG)
    assert content(tmp_path / "data") == local


@pytest.mark.parametrize("kind", ["dask", "ray"])
def test_nobody_answers(shapes: Path, tmp_path: Path, run_fastsketch: Callable[..., Any], kind: str) -> None:
    pytest.importorskip({"dask": "distributed", "ray": "ray"}[kind])
    url = f"{kind}://127.0.0.1:{clusters.free_port()}"
    result = run_fastsketch("convert", shapes, tmp_path / "data", "--executor", url)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-2] == f"error: {url} does not answer (Connection refused)"
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


def test_what_answers_but_is_no_scheduler(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(executors, "ANSWER_SECONDS", 0.5)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        url = f"dask://127.0.0.1:{mute.getsockname()[1]}"
        assert refused(shapes, tmp_path / "data", url).message.startswith(f"{url} does not answer (")


@pytest.mark.parametrize(("kind", "module"), [("dask", "distributed"), ("ray", "ray")])
def test_without_the_library(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BackendMissing, match="cannot be imported") as caught:
        convert_dataset(open_source(shapes), tmp_path / "data", on(f"{kind}://127.0.0.1:1"))
    assert f"[{kind}]" in str(caught.value.hint)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "url", ["dask://", "dask://host", "ray://host", "mpi://a:1", "dask://a b:1", "tcp://a:1", "dask://a:65536", ""]
)
def test_what_is_no_cluster(url: str) -> None:
    with pytest.raises(ConfigError, match="a cluster is dask://HOST:PORT, ray://HOST:PORT or ray://"):
        validated(ConvertConfig, {"executor": url}, "options")


@pytest.mark.parametrize("url", ["dask://node-1.site:8786", "dask://[::1]:8786", "ray://10.0.0.1:10001", "ray://"])
def test_what_is_one(url: str) -> None:
    assert validated(ConvertConfig, {"executor": url}, "options").executor == url


def test_workers_are_the_clusters(shapes: Path, tmp_path: Path, run_fastsketch: Callable[..., Any]) -> None:
    result = run_fastsketch("convert", shapes, tmp_path / "data", "--workers", 2, "--executor", "dask://a:1")
    assert result.returncode == 2
    assert "workers are this machine's" in result.stderr


# ------------------------------------------------------------------------------------------------- a pretended cluster


def pretended(monkeypatch: pytest.MonkeyPatch, start: Callable[..., Any], count: Callable[[], int]) -> None:
    """Let `dask://` be a cluster whose functions run, or not, as `start` has it."""

    @contextmanager
    def opened(url: str) -> Iterator[Cluster]:
        def started(function: Callable[..., Any], *arguments: Any) -> tuple[Future[Any], Callable[[], object]]:
            future: Future[Any] = Future()
            future.set_result(function(*arguments) if function is pkgutil.resolve_name else start(function, *arguments))
            return future, future.cancel

        yield Cluster(url, started, count, lambda error: None)

    monkeypatch.setitem(executors._CLUSTERS, "dask", opened)


def chunks(count: int) -> Iterator[tuple[int, list[Any]]]:
    for number in range(count):
        yield number, [StrokeSample(str(number), b"")]


def test_a_worker_of_another_version_that_joins_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(function: Callable[..., Any], samples: list[Any]) -> Any:
        answer = function(samples)
        return replace(answer, version="0.0.9") if samples[0].id == "5" else answer

    pretended(monkeypatch, start, lambda: 1)
    decoded = clustering.decode_on_cluster(len, chunks(9), "dask://a:1", 1)
    assert [next(decoded) for _ in range(5)] == [(number, 1) for number in range(5)]
    with pytest.raises(FastSketchError, match=r"a worker has fastsketch 0\.0\.9, here it is"):
        next(decoded)


def test_workers_that_come_are_used_and_large_images_are_not_hoarded(monkeypatch: pytest.MonkeyPatch) -> None:
    workers, begun = 1, 0

    def start(function: Callable[..., Any], samples: list[Any]) -> Any:
        nonlocal begun
        begun += 1
        return function(samples)

    monkeypatch.setattr(executors, "LOOK_SECONDS", 0)
    pretended(monkeypatch, start, lambda: workers)
    decoded = clustering.decode_on_cluster(len, chunks(999), "dask://a:1", clustering.AHEAD_PIXELS // 20)
    next(decoded)
    assert begun == 3 * 1 + 1
    workers = 5
    next(decoded)
    assert begun == 3 * 5 + 2
    workers = 100
    next(decoded)
    assert begun == 20 + 3


def test_a_cluster_without_workers_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(executors, "LOOK_SECONDS", 0)
    pretended(monkeypatch, lambda function, samples: function(samples), lambda: 0)
    with caplog.at_level(logging.INFO, "fastsketch"):
        assert len(list(clustering.decode_on_cluster(len, chunks(9), "dask://a:1", 1))) == 9
    assert [record.getMessage() for record in caplog.records] == ["dask://a:1 has no workers now: waiting for some"]


def test_a_url_is_the_same_for_all_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path is made absolute and has to be seen there, what is at a URL neither."""
    monkeypatch.chdir(tmp_path)
    there = ImageSample("cat/1.png", Path("s3:/bucket/cat/1.png"), bytes=9)
    assert clustering._anywhere([there, ImageSample("dog/1.png", Path("dog/1.png"))]) == [
        there,
        ImageSample("dog/1.png", tmp_path / "dog/1.png"),
    ]
    answer = clustering._decode_there(len, [there, ImageSample("dog/1.png", tmp_path / "dog/1.png")])
    assert (answer.unseen, answer.result) == ([str(tmp_path / "dog/1.png")], 2)
