"""TensorBoard is read back with its own reader; W&B is a fake that writes down its calls, and itself where it is."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from fastsketch.config import Recipe
from fastsketch.errors import BackendMissing, ConfigError, FastSketchError
from fastsketch.recipes import load_recipe
from fastsketch.training.run.loggers import check_loggers, open_loggers
from fastsketch.training.run.metrics import EpochRecord, MetricLog, read_records

KEY = "0" * 40


@pytest.fixture(autouse=True)
def nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No W&B settings and no login of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("WANDB_SILENT", "WANDB_ERROR_REPORTING"):
        monkeypatch.setenv(name, "")  # remembered, so that what `load` sets is undone
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NETRC", raising=False)


def recipe(*loggers: str) -> Recipe:
    return load_recipe(None, [f"training.loggers=[{','.join(loggers)}]"])


def record(epoch: int, top1: float | None = 0.5) -> EpochRecord:
    loss, top5 = (None, None) if top1 is None else (1.5, 0.9)
    return EpochRecord(epoch, epoch * 12, 1e-3, 2.0 / epoch, loss, top1, top5, 3.0, 640.0)


def session(root: Path, logger: str, epochs: range, top1: float | None = 0.5) -> None:
    """One session of a run that begins after the epochs before `epochs`."""
    root.mkdir(exist_ok=True)
    loggers = open_loggers(recipe(logger), root)
    path = root / "metrics.jsonl"
    earlier = read_records(path)[: epochs.start - 1] if path.is_file() else []
    with MetricLog(path, earlier, loggers) as log:
        for epoch in epochs:
            log.add(record(epoch, top1))


# -------------------------------------------------------------------------------------------------------- missing


@pytest.mark.parametrize(
    ("logger", "module", "extra"),
    [("tensorboard", "torch.utils.tensorboard", "'.[tensorboard]'"), ("wandb", "wandb", "'.[wandb]'")],
)
def test_a_logger_that_is_not_installed_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, logger: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BackendMissing) as caught:
        check_loggers(recipe(logger).training.loggers)
    assert extra in str(caught.value)
    check_loggers(recipe().training.loggers)


def test_loggers_are_imported_only_when_asked_for() -> None:
    script = """
import sys
from pathlib import Path
from fastsketch.config import Recipe
from fastsketch.training.run.loggers import check_loggers, open_loggers
check_loggers(()); assert open_loggers(Recipe(), Path()) == []
found = {"tensorboard", "wandb", "torch.utils.tensorboard"} & set(sys.modules)
assert not found, found
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


# ---------------------------------------------------------------------------------------------------- TensorBoard


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard itself reads there."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder)).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a socket was opened")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)


def test_tensorboard_reads_every_epoch(tmp_path: Path, no_sockets: None) -> None:
    pytest.importorskip("tensorboard")
    session(tmp_path / "run", "tensorboard", range(1, 4))
    found = scalars(tmp_path / "run/tensorboard")
    assert found.keys() == {
        *("train/loss", "val/loss", "val/top1", "val/top5", "step", "lr", "seconds", "images_per_second")
    }
    assert found["val/top1"] == [(1, 0.5), (2, 0.5), (3, 0.5)]
    assert found["step"] == [(1, 12), (2, 24), (3, 36)]
    assert [value for _, value in found["train/loss"]] == pytest.approx([2, 1, 2 / 3])


def test_a_resumed_run_goes_on_in_tensorboard_without_the_epochs_that_it_repeats(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    session(tmp_path / "run", "tensorboard", range(1, 4))
    session(tmp_path / "run", "tensorboard", range(3, 5), top1=0.75)
    assert scalars(tmp_path / "run/tensorboard")["val/top1"] == [(1, 0.5), (2, 0.5), (3, 0.75), (4, 0.75)]


def test_what_was_not_validated_is_left_out(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    session(tmp_path / "run", "tensorboard", range(1, 3), top1=None)
    found = scalars(tmp_path / "run/tensorboard")
    assert not any(tag.startswith("val/") for tag in found)
    assert len(found["train/loss"]) == 2


def test_an_epoch_is_on_the_disk_at_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with MetricLog(tmp_path / "metrics.jsonl", (), open_loggers(recipe("tensorboard"), tmp_path)) as log:
        log.add(record(1))
        assert scalars(tmp_path / "tensorboard")["val/top1"] == [(1, 0.5)]


# ------------------------------------------------------------------------------------------------------------ W&B


class FakeWandb(ModuleType):
    """Knows of the runs that are on the server, and writes down what it is called with."""

    class Error(Exception):
        pass

    def __init__(self) -> None:
        super().__init__("wandb")
        self.inits: list[dict[str, Any]] = []
        self.logs: list[list[tuple[int, dict[str, float]]]] = []
        self.exit_codes: list[int] = []
        self.server: set[str] = set()

    def init(self, **options: Any) -> SimpleNamespace:
        self.inits.append(options)
        self.logs.append([])
        resumed = options["resume"] == "allow" and options["id"] in self.server
        if options["mode"] == "online":
            self.server.add(options["id"])
        log = self.logs[-1]
        return SimpleNamespace(
            resumed=resumed,
            url="https://wandb.example/run",
            log=lambda values, step: log.append((step, values)),
            finish=lambda exit_code: self.exit_codes.append(exit_code),
        )


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


def test_wandb_is_offline_silent_and_inside_the_run(tmp_path: Path, wandb: FakeWandb, no_sockets: None) -> None:
    check_loggers(["wandb"])
    session(tmp_path / "run", "wandb", range(1, 3))
    [options] = wandb.inits
    assert options["mode"] == "offline"
    assert options["dir"] == str(tmp_path / "run")
    assert options["settings"] == {"silent": True, "console": "off"}
    assert (options["project"], options["name"]) == ("fastsketch", "run")
    assert options["config"] == recipe("wandb").model_dump(mode="json")
    assert (os.environ["WANDB_SILENT"], os.environ["WANDB_ERROR_REPORTING"]) == ("true", "false")
    assert [step for step, _ in wandb.logs[0]] == [1, 2]
    values = wandb.logs[0][1][1]
    assert (values["epoch"], values["step"], values["val/top1"], values["train/loss"]) == (2, 24, 0.5, 1.0)
    assert wandb.exit_codes == [0]


def test_an_offline_session_holds_the_whole_run_under_the_same_id(tmp_path: Path, wandb: FakeWandb) -> None:
    session(tmp_path / "run", "wandb", range(1, 4))
    session(tmp_path / "run", "wandb", range(3, 5), top1=0.75)
    session(tmp_path / "other", "wandb", range(1, 2))
    first, second, other = wandb.inits
    assert first["id"] == second["id"] != other["id"]
    assert second["resume"] is None
    assert [(step, values["val/top1"]) for step, values in wandb.logs[1]] == [(1, 0.5), (2, 0.5), (3, 0.75), (4, 0.75)]


def test_an_online_run_is_resumed(tmp_path: Path, wandb: FakeWandb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    session(tmp_path / "run", "wandb", range(1, 4))
    session(tmp_path / "run", "wandb", range(4, 5))
    assert [options["mode"] for options in wandb.inits] == ["online", "online"]
    assert wandb.inits[1]["resume"] == "allow"
    assert [step for step, _ in wandb.logs[1]] == [4]


def test_going_online_takes_the_earlier_epochs_along(
    tmp_path: Path, wandb: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    session(tmp_path / "run", "wandb", range(1, 3))
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    session(tmp_path / "run", "wandb", range(3, 4))
    assert [step for step, _ in wandb.logs[1]] == [1, 2, 3]


def test_online_without_a_login_is_refused_before_wandb_asks(
    tmp_path: Path, wandb: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.raises(ConfigError, match="nobody is logged in") as caught:
        check_loggers(["wandb"])
    assert "wandb login" in str(caught.value)
    (tmp_path / "home").mkdir()
    netrc = tmp_path / "home" / ".netrc"
    netrc.write_text(f"machine wandb.elsewhere.example\n  login user\n  password {KEY}\n")
    netrc.chmod(0o600)
    with pytest.raises(ConfigError, match="nobody is logged in"):
        check_loggers(["wandb"])
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.elsewhere.example:8080")
    check_loggers(["wandb"])
    assert wandb.inits == []


@pytest.mark.parametrize("error", [FakeWandb.Error("no such\nproject"), ValueError("no such mode")])
def test_what_wandb_refuses_is_one_line(
    tmp_path: Path, wandb: FakeWandb, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def init(**options: object) -> None:
        raise error

    monkeypatch.setattr(wandb, "init", init)
    with pytest.raises(FastSketchError, match="W&B cannot be used: no such") as caught:
        session(tmp_path / "run", "wandb", range(1, 2))
    assert "\n" not in caught.value.message


def test_a_run_that_fails_is_marked(tmp_path: Path, wandb: FakeWandb) -> None:
    loggers = open_loggers(recipe("wandb"), tmp_path)
    with pytest.raises(RuntimeError), MetricLog(tmp_path / "metrics.jsonl", (), loggers):
        raise RuntimeError
    assert wandb.exit_codes == [1]


def test_wandb_itself_writes_offline_runs_and_connects_to_nobody(tmp_path: Path) -> None:
    """In a process of its own: W&B lives on in the one that imported it. Its service, on this machine, may be met."""
    pytest.importorskip("wandb")
    script = f"""
import json, socket, sys
from pathlib import Path
connect = socket.socket.connect
def local(self, address):
    assert self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1", "localhost"), address
    return connect(self, address)
socket.socket.connect = local
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_loggers import session
for epochs in (range(1, 3), range(2, 4)):
    session(Path({str(tmp_path / "run")!r}), "wandb", epochs)
"""
    environment = {**os.environ, "HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    result = subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        timeout=120,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert "wandb" not in result.stdout + result.stderr
    folders = sorted(path.name for path in (tmp_path / "run/wandb").glob("offline-run-*"))
    assert len(folders) == 2
    assert len({name.rpartition("-")[2] for name in folders}) == 1
