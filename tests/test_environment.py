from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path

import pytest
import torch

from fastsketch import environment as module
from fastsketch.environment import environment, git_commit


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.com"]
    result = subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True, text=True)
    return result.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    git(tmp_path, "init", "--quiet")
    (tmp_path / "a.txt").write_text("a")
    git(tmp_path, "add", "a.txt")
    git(tmp_path, "commit", "--quiet", "--message", "a")
    return tmp_path


def test_it_names_the_machine_and_the_versions_but_no_host() -> None:
    found = environment()
    assert found.keys() == {
        *("date", "cpu", "cores", "memory_gib", "gpu", "cuda", "threads", "python", "commit", "versions")
    }
    versions = found["versions"]
    assert isinstance(versions, dict)
    assert torch.__version__.startswith(versions["torch"])
    assert versions["timm"]
    assert found["python"] == platform.python_version()
    assert isinstance(found["cores"], int)
    assert 1 <= found["cores"] <= 4096
    assert not platform.node() or platform.node() not in json.dumps(found)


def test_the_commit_of_a_checkout(checkout: Path) -> None:
    head = git(checkout, "rev-parse", "--short=7", "HEAD")
    git(checkout, "tag", "v1")
    (checkout / "below").mkdir()
    assert git_commit(checkout / "below") == head
    (checkout / "new.txt").touch()
    assert git_commit(checkout) == head  # runs and data sets lie about everywhere
    (checkout / "a.txt").write_text("b")
    assert git_commit(checkout) == f"{head}-dirty"


def test_no_checkout_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_commit(tmp_path) is None


def test_no_git_is_no_error(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_commit(checkout) is None


def test_an_installation_inside_a_checkout_is_not_of_it(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = checkout / ".venv" / "environment.py"
    installed.parent.mkdir()
    installed.touch()
    monkeypatch.setattr(module, "__file__", str(installed))
    assert environment()["commit"] is None
    git(checkout, "add", "--force", str(installed))
    git(checkout, "commit", "--quiet", "--message", "b")
    assert environment()["commit"] == git(checkout, "rev-parse", "--short=7", "HEAD")


# ------------------------------------------------------------------------------------------------- broken machines


def test_a_machine_that_tells_nothing_is_described_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No git, no HOME, an unreadable /proc, an odd libc, packages installed by halves."""

    def broken(*arguments: object, **options: object) -> None:
        raise ValueError("no such name")

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "sysconf", broken)
    monkeypatch.setattr(module.importlib.metadata, "version", broken)
    real = Path.read_text

    def read(self: Path, **options: str) -> str:
        if str(self) == "/proc/cpuinfo":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, **options)

    monkeypatch.setattr(Path, "read_text", read)
    found = environment()
    assert (found["memory_gib"], found["commit"], found["versions"]) == (None, None, {})
    assert isinstance(found["cpu"], str)


def test_letters_of_no_encoding_in_proc_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Path,
        "read_text",
        lambda self, encoding, errors="strict": b"model name : \xff CPU\n".decode(encoding, errors),
    )
    assert environment()["cpu"] == "\ufffd CPU"
