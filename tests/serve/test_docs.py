"""What the page of documentation tells programs to do is done, and gives what it says."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest
from pages import DOCS, blocks
from serving import Serving
from trained import CLASSES, picture

PAGE = DOCS / "drawing.md"
ADDRESS = "http://127.0.0.1:7860/"


def test_curl(server: Serving, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl on this machine")
    picture(0).save(tmp_path / "mine.png")
    [lines] = blocks(PAGE, "bash")
    commands = lines.replace("\\\n", " ").replace(ADDRESS, server.address).splitlines()
    assert len(commands) == 2
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", f"{command} -sS"], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert sorted(json.loads(done.stdout)) == ["ids", "labels", "probabilities"]


def test_python(server: Serving, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [program] = blocks(PAGE, "python")
    path = tmp_path / "program.py"
    path.write_text(program.replace(ADDRESS, server.address))
    found = runpy.run_path(str(path))["found"]
    assert len(found["labels"]) == 3
    assert capsys.readouterr().out.split()[0] in CLASSES
