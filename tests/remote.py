"""A store that is reached by URL and fails when it is told to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fastsketch import urls

_counting = threading.Lock()

Failure = Callable[[int], BaseException | None]


class Unsteady(MemoryFileSystem):
    """`unsteady://`: what is asked for is counted, and may fail before anything is done."""

    protocol = "unsteady"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    calls: ClassVar[list[tuple[str, str]]] = []
    failure: ClassVar[Failure] = staticmethod(lambda number: None)
    _inside: ClassVar[threading.local] = threading.local()

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(str(path).replace("unsteady://", "memory://"))

    @contextmanager
    def _asked(self, what: str, path: str) -> Iterator[None]:
        if getattr(self._inside, "asked", False):  # it asks itself
            yield
            return
        with _counting:
            Unsteady.calls.append((what, path.rpartition("/")[2]))
            failure = Unsteady.failure(len(Unsteady.calls))
        if failure is not None:
            raise failure
        self._inside.asked = True
        try:
            yield
        finally:
            self._inside.asked = False

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> Any:
        with self._asked("ls", path):
            return super().ls(path, detail=detail, **kwargs)

    def info(self, path: str, **kwargs: Any) -> Any:
        with self._asked("info", path):
            return super().info(path, **kwargs)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> Any:
        with self._asked("cat_file", path):
            return super().cat_file(path, start=start, end=end, **kwargs)

    def put_file(self, lpath: str, rpath: str, *args: Any, **kwargs: Any) -> None:
        with self._asked("put_file", rpath):
            super().put_file(lpath, rpath, *args, **kwargs)

    def rm_file(self, path: str) -> None:
        with self._asked("rm_file", path):
            super().rm_file(path)


fsspec.register_implementation("unsteady", Unsteady, clobber=True)


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Unsteady]]:
    """An empty store that does not fail; nobody waits before what fails is tried again."""
    monkeypatch.setattr(urls, "WAITS", (0.0,))
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
    Unsteady.store.clear()
    Unsteady.calls.clear()
    Unsteady.failure = staticmethod(lambda number: None)
    yield Unsteady
    Unsteady.failure = staticmethod(lambda number: None)


def put(folder: Path, url: str) -> None:
    """Put all files of a folder at a URL."""
    files, root = fsspec.core.url_to_fs(url)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            there = f"{root}/{path.relative_to(folder).as_posix()}"
            if "file" in files.protocol:
                files.makedirs(there.rpartition("/")[0], exist_ok=True)
            files.pipe_file(there, path.read_bytes())


def held(url: str) -> dict[str, bytes]:
    """Every file below a URL, by its name there."""
    files, root = fsspec.core.url_to_fs(url)
    return {path.removeprefix(root).lstrip("/"): files.cat_file(path) for path in files.find(root)}


def always(error: Callable[[], BaseException], first: int = 1) -> Any:
    """From the `first`-th call on."""
    return staticmethod(lambda number: error() if number >= first else None)


def once(error: Callable[[], BaseException], at: int) -> Any:
    """At one call alone."""
    return staticmethod(lambda number: error() if number == at else None)
