"""Everything by URL at a real S3 server, in real processes."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from shapes import write_shapes

s3fs = pytest.importorskip("s3fs", reason="needs s3fs: pip install '.[s3]'")
pytest.importorskip("moto.server", reason="needs moto's S3 server: pip install 'moto[server]'")

pytestmark = pytest.mark.slow

Run = Callable[..., "subprocess.CompletedProcess[str]"]
TRAINING = ("--model", "test_resnet", "--epochs", "1", "--device", "cpu", "--set", "data.loader=pack")


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3fs.S3FileSystem]:
    """A server with an empty bucket, found by the environment alone."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "us",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "FASTSKETCH_CACHE": str(tmp_path_factory.mktemp("cache")),
        }.items():
            patch.setenv(name, value)
        for _ in range(300):
            try:
                urlopen(address).close()
                break
            except OSError:
                time.sleep(0.1)
        files = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
        files.mkdir("sketches")
        yield files
    server.terminate()
    server.wait()


@pytest.fixture(scope="module")
def raw(bucket: s3fs.S3FileSystem, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_shapes(tmp_path_factory.mktemp("s3") / "raw")
    (folder / "train/square/damaged.png").write_bytes(b"none")
    bucket.put(str(folder), "sketches/raw", recursive=True)
    bucket.touch("sketches/raw/train/square/")  # what makes a folder for some programs
    return folder


@pytest.fixture(scope="module")
def local(raw: Path, run_fastsketch: Run) -> Path:
    assert run_fastsketch("convert", raw, raw.parent / "data", "--size", "32").returncode == 0
    return raw.parent / "data"


def there(bucket: s3fs.S3FileSystem, url: str) -> dict[str, bytes]:
    return {path.removeprefix(url.removeprefix("s3://") + "/"): bucket.cat_file(path) for path in bucket.find(url)}


def here(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_from_bucket_to_bucket_and_trained_from_there(
    bucket: s3fs.S3FileSystem, raw: Path, local: Path, run_fastsketch: Run, tmp_path: Path
) -> None:
    convert = ("convert", "s3://sketches/raw", "s3://sketches/data", "--size", "32", "--workers", "2")
    done = run_fastsketch(*convert)
    assert done.returncode == 0, done.stderr
    assert there(bucket, "s3://sketches/data") == here(local)
    assert run_fastsketch(*convert).returncode == 0
    for data, out in ((local, tmp_path / "ours"), ("s3://sketches/data", tmp_path / "theirs")):
        done = run_fastsketch("train", data, "--out", out, *TRAINING)
        assert done.returncode == 0, done.stderr
    for name in ("best", "last"):
        ours, theirs = (tmp_path / run / name / "model.safetensors" for run in ("ours", "theirs"))
        assert theirs.read_bytes() == ours.read_bytes()
    assert run_fastsketch("evaluate", tmp_path / "theirs", "--split", "test").returncode == 0
    assert there(bucket, "s3://sketches/data") == here(local)


def test_a_killed_conversion_goes_on(
    bucket: s3fs.S3FileSystem, raw: Path, local: Path, run_fastsketch: Run, tmp_path: Path
) -> None:
    command = ["convert", "s3://sketches/raw", "s3://sketches/killed", "--size", "32", "--workers", "1"]
    for seconds in (1.5, 2.5, 3.5, 4.5):
        process = subprocess.Popen(
            [sys.executable, "-m", "fastsketch", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        now = there(bucket, "s3://sketches/killed")
        assert "dataset.json" not in now or now == here(local)
    assert run_fastsketch(*command).returncode == 0
    assert there(bucket, "s3://sketches/killed") == here(local)


def test_what_is_refused_or_not_there(
    bucket: s3fs.S3FileSystem, run_fastsketch: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for source in ("s3://nobodys/raw", "s3://sketches/none"):
        for command in (("convert", source, tmp_path / "x"), ("train", source, *TRAINING), ("inspect", source)):
            done = run_fastsketch(*command)
            assert done.returncode == 2, done.stderr
            assert source in done.stderr
            assert "Traceback" not in done.stderr
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nobody listens there
    done = run_fastsketch("convert", "s3://sketches/raw", tmp_path / "x")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2, done.stderr
    assert not (tmp_path / "x").exists()
