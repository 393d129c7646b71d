"""One column of a split, while it is written: whatever comes after a length that was noted can be undone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fastsketch import atomic
from fastsketch.errors import DataError


class Column:
    """Bytes that are appended: to one file, or for images to as many as it takes, each full but the last.

    Args:
        folder: Where the files lie.
        name: What each is called, by its number from 0.
        most: Bytes of a file.
    """

    def __init__(self, folder: Path, name: Callable[[int], str], most: int) -> None:
        self._folder, self._name, self._most = folder, name, most
        self._open(0)

    @property
    def paths(self) -> list[Path]:
        """The files so far."""
        return [self._path(number) for number in range(self._number + 1)]

    @property
    def length(self) -> int:
        """The bytes so far, in all files."""
        return self._number * self._most + self._file.tell()

    def write(self, content: bytes | memoryview) -> None:
        """Append bytes, one after the other."""
        left = memoryview(content)
        while len(left) > (room := self._most - self._file.tell()):
            self._file.write(left[:room])
            self.sync()
            self._file.close()
            self._open(self._number + 1, 0)
            left = left[room:]
        self._file.write(left)

    def sync(self) -> None:
        """Put everything appended so far on the disk."""
        self._file.flush()
        atomic.sync(self._path(self._number))

    def rewind(self, length: int) -> None:
        """Cut all after `length` bytes off; files after that, if there are any, are emptied when it comes to them.

        Raises:
            DataError: There are fewer.
        """
        number = max(0, -(-length // self._most) - 1)
        self._file.close()
        for before in range(number):
            self._check_length(self._path(before), self._most)
        self._open(number, length - number * self._most)

    def close(self) -> None:
        """Close the file under way."""
        # What is still buffered is lost only if `sync` failed before, and then that error is under way already.
        with suppress(OSError):
            self._file.close()

    def _open(self, number: int, length: int | None = None) -> None:
        """Go on with a file, behind its first `length` bytes; without a length, nothing is cut off yet."""
        path = self._path(number)
        path.touch()
        self._number, self._file = number, path.open("r+b")
        if length is not None:
            self._check_length(path, length)
            self._file.truncate(length)
            self._file.seek(length)

    def _path(self, number: int) -> Path:
        return self._folder / self._name(number)

    def _check_length(self, path: Path, length: int) -> None:
        if not path.is_file() or path.stat().st_size < length:
            raise DataError(f"{path} is shorter than recorded", hint=f"delete {path.parent} and start again")
