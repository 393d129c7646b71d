"""Training on several machines, each an agent of torchrun on loopback with one process: what is killed goes on."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from packs import write_pack

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="finds the processes of an agent in /proc"),
]

LIMIT = 150  # seconds until what hangs is ended
STEPS = 64  # an epoch has; saved every 16

# All that has a state: moments, an average, dropout, mixing. Saved whenever the processes agree on it.
TRAIN = (
    *("--model", "test_resnet", "--device", "cpu", "--epochs", "2", "--lr", "5e-2", "--batch-size", "4"),
    *("--set", "training.ema=0.9", "--set", "model.dropout=0.3", "--set", "augment.mixup=1"),
    *("--set", "training.save_minutes=0", "--set", "training.compile=eager"),
)


class Node:
    """An agent, at an address of its own."""

    def __init__(self, number: int, port: int, data: Path, run: Path, *options: str, own_store: bool = False) -> None:
        self.port = port
        self.log = run.parent / f"node-{number}.log"
        command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
        command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", "sketches"]
        # What else the endpoint's name says: which machine holds the rendezvous. On one, either could.
        command += ["--rdzv-conf", f"is_host={int(number == 1)}", "--local-addr", f"127.0.0.{number}", *options]
        command += ["-m", "fastsketch", "train", str(data), *TRAIN, "--out", str(run)]
        environment = {**os.environ, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": str(int(own_store))}
        with self.log.open("a") as log:
            self.agent = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)

    @property
    def workers(self) -> list[int]:
        """The processes that it has begun."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(stat.read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):  # it has ended meanwhile
                continue
            if parent == self.agent.pid:
                found.append(int(stat.parent.name))
        return found

    def kill(self) -> None:
        """As a machine ends whose power is cut."""
        workers = self.workers
        for process in (self.agent.pid, *workers):
            os.kill(process, signal.SIGKILL)
        self.agent.wait()

    def ended(self) -> int:
        """Its exit code."""
        try:
            return self.agent.wait(LIMIT)
        except subprocess.TimeoutExpired:
            pytest.fail(f"a node hangs:\n{self.log.read_text()}")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "set"
    write_pack(folder, {"train": 4 * STEPS, "val": 20}, 32)
    return folder


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    with nodes(data, run) as both:
        assert [node.ended() for node in both] == [0, 0], both[0].log.read_text()
    assert len(sessions(run)) == 1
    return models(run)


@contextmanager
def nodes(
    data: Path, run: Path, *options: str, second: Path | None = None, own_store: bool = False
) -> Iterator[list[Node]]:
    """Two nodes that train; the first holds the rendezvous. Whatever is left of them in the end is killed."""
    port = free_port()
    both = [Node(1, port, data, run, *options, own_store=own_store)]
    try:
        both.append(Node(2, port, second or data, run, *options, own_store=own_store))
        yield both
    finally:
        for node in both:
            if node.agent.poll() is None:
                node.kill()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for_a_save(run: Path, both: list[Node]) -> None:
    until = time.monotonic() + LIMIT
    while not (run / "resume.pt").is_file():
        assert time.monotonic() < until, both[0].log.read_text()
        assert all(node.agent.poll() is None for node in both), both[0].log.read_text()
        time.sleep(0.01)


def models(run: Path) -> dict[str, str]:
    """SHA-256 of both models."""
    return {
        name: hashlib.sha256((run / name / "model.safetensors").read_bytes()).hexdigest() for name in ("last", "best")
    }


def sessions(run: Path) -> list[dict[str, float]]:
    found: list[dict[str, float]] = json.loads((run / "run.json").read_text())["sessions"]
    return found


def went_on_in_an_epoch(run: Path) -> bool:
    return any(session["epochs_done"] % 1 for session in sessions(run)[1:])


def test_two_nodes_train_what_two_processes_of_one_do(data: Path, undisturbed: dict[str, str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "fastsketch", "train", str(data), *TRAIN, "--out", str(run)]
    subprocess.run(command, check=True, capture_output=True, timeout=LIMIT)
    assert models(run) == undisturbed


@pytest.mark.parametrize("killed", [0, 1])
def test_a_process_that_is_killed_is_begun_again_and_the_training_goes_on(
    data: Path, undisturbed: dict[str, str], tmp_path: Path, killed: int
) -> None:
    run = tmp_path / "run"
    with nodes(data, run, "--max-restarts", "3", own_store=killed == 1) as both:  # either works
        wait_for_a_save(run, both)
        (worker,) = both[killed].workers
        os.kill(worker, signal.SIGKILL)
        assert [node.ended() for node in both] == [0, 0], both[0].log.read_text() + both[1].log.read_text()
    assert went_on_in_an_epoch(run)
    assert models(run) == undisturbed


def test_a_machine_that_is_lost_and_comes_back_goes_on_with_the_other(
    data: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    # In the store that torchrun's agents share by default (torch 2.15) the new one waits in vain for its address.
    with nodes(data, run, "--max-restarts", "3", own_store=True) as both:
        wait_for_a_save(run, both)
        both[1].kill()
        both[1] = Node(2, both[0].port, data, run, "--max-restarts", "3", own_store=True)  # as a scheduler would
        assert [node.ended() for node in both] == [0, 0], both[0].log.read_text() + both[1].log.read_text()
    assert went_on_in_an_epoch(run)
    assert models(run) == undisturbed


def test_all_end_in_a_line_where_one_machine_lacks_the_data(data: Path, tmp_path: Path) -> None:
    run, missing = tmp_path / "run", tmp_path / "missing"
    with nodes(data, run, second=missing) as both:
        codes = [node.ended() for node in both]
    first, second = (node.log.read_text() for node in both)
    assert 0 not in codes
    told = f"{missing}: no such folder"
    assert f"error: process 1 of this training cannot begin: {told}" in first
    assert f"error: {told}" in second
    assert (
        "exitcode  : 2" in first
    )  # the second may lose torchrun's store, which the first one holds, before it says so
    assert "a bug in fastsketch" not in first + second
    assert not run.exists()
