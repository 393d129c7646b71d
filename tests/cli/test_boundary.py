"""Every error becomes a line or two and an exit code, whoever raised it (deliverable 6 of the issue)."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fastsketch_cli import boundary
from fastsketch_cli.commands import app
from packs import write_pack
from typer.testing import CliRunner, Result

from fastsketch import recipes
from fastsketch.conversion import convert
from fastsketch.errors import BackendMissing, ConfigError, DataError, FastSketchError, one_line


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], Result]:
    """Run `fastsketch recipes`, in whose midst an exception is raised."""

    def run(error: BaseException) -> Result:
        def broken() -> list[str]:
            raise error

        monkeypatch.setattr(recipes, "recipe_names", broken)
        monkeypatch.setattr("sys.argv", ["fastsketch", "recipes"])
        return CliRunner().invoke(app, ["recipes"])

    return run


Fail = Callable[[BaseException], Result]


@pytest.mark.parametrize(
    ("error", "code", "lines"),
    [
        (FastSketchError("it is so"), 1, ["error: it is so"]),
        (DataError("x is damaged", hint="mend it"), 1, ["error: x is damaged", "       mend it"]),
        (ConfigError("x is not known"), 2, ["error: x is not known"]),
        (ConfigError("2 problems:\n  a\n  b"), 2, ["error: 2 problems:", "  a", "  b"]),
        (DataError("a\nb\n c is damaged"), 1, ["error: a\\nb\\n c is damaged"]),
        (BackendMissing("x is missing"), 1, ["error: x is missing"]),
        (FastSketchError("[bold] $x_{$ \x1b[31m\r\u202e"), 1, ["error: [bold] $x_{$ \\x1b[31m\\r\\u202e"]),
        (
            PermissionError(errno.EACCES, "Permission denied", "a/b"),
            1,
            ["error: a/b: Permission denied", "       check"],
        ),
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), 1, ["error: a/b: No space left", "       free some"]),
        (
            OSError(errno.ENOSPC, "No space left"),
            1,
            ["error: No space left, in: fastsketch recipes", "       free some"],
        ),
        (OSError(errno.EIO, "Input/output error"), 1, ["error: Input/output error, in: fast", "       the disk could"]),
        (OSError(errno.EMFILE, "Too many open files", "a"), 1, ["error: a: Too many open files", "       raise the"]),
        (OSError(errno.EXDEV, "Cross-device link", "a", None, "b"), 1, ["error: a -> b: Cross-device link"]),
        (OSError("a library's own"), 1, ["error: a library's own, in: fastsketch recipes"]),
        (OSError(), 1, ["error: OSError, in: fastsketch recipes"]),
        (FileNotFoundError(errno.ENOENT, "No such file", b"\xff\n"), 1, ["error: \\udcff\\n: No such file"]),
        (
            RuntimeError("I/O error: No space left on device (os error 28)"),
            1,
            ["error: No space left", "       free some"],
        ),
        (MemoryError(), 1, ["error: memory does not suffice, in: fastsketch recipes", "       use fewer workers"]),
        (torch.OutOfMemoryError("CUDA out of memory."), 1, ["error: memory does not suffice", "       use a smaller"]),
        (RuntimeError("DefaultCPUAllocator: can't allocate"), 1, ["error: memory does not", "       use a smaller"]),
        (RecursionError("maximum"), 1, ["error: something that was read is nested too deeply", "       no file"]),
        (KeyboardInterrupt(), 130, ["interrupted"]),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, ["error: Broken pipe, in: fastsketch recipes"]),
    ],
    ids=lambda value: one_line(repr(value), 60) if isinstance(value, BaseException) else None,
)
def test_what_is_told(fail: Fail, error: BaseException, code: int, lines: list[str]) -> None:
    result = fail(error)
    assert result.exit_code == code
    told = result.stderr.splitlines()
    assert len(told) == len(lines)
    assert all(line.startswith(start) for line, start in zip(told, lines, strict=True)), told
    assert result.stdout == ""


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EMFILE, errno.EACCES, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize(
    "arguments", [["convert", "in", "out", "--workers", "1"], ["convert", "data", "--format", "dali"]]
)
def test_the_remedy_is_told_where_a_conversion_says_it_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shapes: Path, arguments: list[str], number: int
) -> None:
    """It was lost: all that was told is that the same command continues."""
    write_pack(tmp_path / "data", {"train": 8})
    (tmp_path / "in").symlink_to(shapes)
    monkeypatch.chdir(tmp_path)
    before = CliRunner().invoke(app, ["inspect", "data"]).stdout

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "some/file")

    with monkeypatch.context() as patch:
        patch.setattr(convert, "export", refuse)
        result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    *_, what, remedy, hint = result.stderr.splitlines()
    assert what == f"error: some/file: {os.strerror(number)}"
    assert remedy == f"       {boundary._REMEDIES[number]}"
    assert hint == f"       {'the data set is what it was' if 'data' in arguments else ONCE_MENDED}"
    assert CliRunner().invoke(app, ["inspect", "data"]).stdout == before


ONCE_MENDED = "once that is mended, the same command continues"


@pytest.mark.parametrize(
    "error",
    [ZeroDivisionError("division by zero\nand more"), KeyError("x"), AssertionError(), ValueError("\x1b[2J" * 999)],
)
def test_a_bug_is_three_lines_and_a_file(
    fail: Fail, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = fail(error)
    assert result.exit_code == 1
    doing, what, report = result.stderr.splitlines()
    assert doing == "error: a bug in fastsketch ended: fastsketch recipes"
    assert what.startswith(f"       {type(error).__name__}")
    assert len(what) < 5000
    found = re.fullmatch(r"       please report it \(whole story in (.*)\)", report)
    assert found
    written = Path(found[1]).read_text(encoding="utf-8")
    assert written.startswith("fastsketch recipes\nPython 3")
    assert "in broken" in written
    assert list(tmp_path.iterdir()) == [Path(found[1])]


def test_a_bug_is_three_lines_where_no_file_can_be_written(fail: Fail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    result = fail(KeyError("x"))
    assert result.stderr.splitlines()[2] == "       please report it (set FASTSKETCH_DEBUG=1 to see where)"


def test_the_traceback_comes_back_where_it_is_wanted(fail: Fail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTSKETCH_DEBUG", "1")
    for error in (KeyError("x"), DataError("x")):
        result = fail(error)
        assert result.exit_code == 1
        assert "Traceback" in result.stderr
        assert "error: " in result.stderr


def test_a_very_long_line_loses_its_middle(fail: Fail) -> None:
    result = fail(OSError(errno.ENAMETOOLONG, "File name too long", "x" * 100_000))
    assert len(result.stderr) < 1100
    assert result.stderr.endswith("File name too long\n")


@pytest.mark.parametrize("arguments", [["bogus"], ["evaluate"], ["convert", "a", "b", "--size", "x"]])
def test_usage_errors_are_typers(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "Usage: " in result.stderr
    assert "error: " not in result.stderr


def test_one_line() -> None:
    assert one_line("a\nb\x00\ud800\u2028c\x9b") == "a\\nb\\x00\\ud800\\u2028c\\x9b"
    assert one_line("é 猫　🐱 $x$ [bold]") == "é 猫　🐱 $x$ [bold]"
    assert one_line("x" * 50 + "y" * 50, 10) == "xxxxx…yyyyy"
    assert one_line(3) == "3"


def test_nothing_heavy_is_imported_before_signals_are_heard() -> None:
    """Ctrl-C in the first 0.1 s was a traceback: what is imported before `main` must be small."""
    import subprocess
    import sys

    script = "import sys; before = set(sys.modules); import fastsketch_cli.app; print(*set(sys.modules) - before)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert {name.partition(".")[0] for name in result.stdout.split()} <= {
        *("fastsketch_cli", "_signal", "signal", "enum", "select", "contextlib", "typing", "types", "functools"),
        *(
            "collections",
            "reprlib",
            "operator",
            "_operator",
            "keyword",
            "itertools",
            "re",
            "copyreg",
            "abc",
            "_collections",
        ),
        *("_functools", "_sre", "__future__", "_typing"),
    }


def test_the_commands_can_still_be_had_from_app() -> None:
    import fastsketch_cli.app as module

    assert module.app is app
    with pytest.raises(AttributeError):
        _ = module.nothing
