"""Runs cases: a worker has a zygote's imports, templates and a folder of its own."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from fuzz import judge, zygote
from fuzz.case import Case, Result
from fuzz.templates import Templates

Generator = Callable[[Random, Path, Templates], Case]


@contextmanager
def worker() -> Iterator[Worker]:
    """A worker, its folder on a RAM disk if there is one."""
    zygote.prepare()
    shared = Path("/dev/shm")
    root = Path(tempfile.mkdtemp(prefix="fastsketch-fuzz-", dir=shared if os.access(shared, os.W_OK) else None))
    try:
        yield Worker(root)
    finally:
        _remove(root)


class Worker:
    """Runs one case after the other, each in a new folder.

    Attributes:
        root: Holds `templates/` and the cage of the present case: `cage/here` is its folder, `cage/canary` has to stay
            as it is.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.templates = Templates(root / "made")

    def run(self, kind: str, seed: int | str, generate: Generator, keep: Path | None = None) -> Result:
        """Generate a case, run it, judge it."""
        cage = self.root / "cage"
        _remove(cage)
        folder = cage / "here"
        folder.mkdir(parents=True)
        (cage / judge.CANARY).mkdir()
        (cage / judge.CANARY / "of somebody else").write_text("stays as it is")
        try:
            case = generate(Random(f"{kind} {seed}"), folder, self.templates)
        except Exception as error:  # a fault of ours: the suite ends with the case's name
            raise RuntimeError(f"{kind} {seed} cannot be generated") from error
        if keep is not None:
            shutil.copytree(folder, keep, symlinks=True)
        before = judge.snapshot(folder)
        canary = judge.snapshot(cage / judge.CANARY)
        result = Result(kind, seed, [], [])
        for command in case.commands:
            outcome = zygote.run(command, folder, case.libraries, cage)
            result.outcomes.append(outcome)
            result.problems += judge.judged(outcome, case.greedy)
            result.frame = result.frame or judge.frame(outcome)
            if outcome.code != 0:
                break
        if result.outcomes[-1].code not in case.codes:
            result.problems.append(f"exit code {result.outcomes[-1].code}, not one of {case.codes}")
        result.problems += judge.touched(before, judge.snapshot(folder), case)
        if judge.snapshot(cage / judge.CANARY) != canary:
            result.problems.append("the canary is not as it was: code of the input was executed, or a file was lost")
        expected = {"here", judge.CANARY, "log", "home", "tmp", "cache", "state"}
        result.problems += [f"left {name!r} beside the folder" for name in sorted(set(os.listdir(cage)) - expected)]
        result.problems += [f"left {name!r} in TMPDIR" for name in sorted(os.listdir(cage / "tmp"))]
        return result


def _remove(folder: Path) -> None:
    """Remove a tree, whatever its permissions."""
    for parent, folders, _ in os.walk(os.fsencode(folder)):
        for name in folders:
            path = os.path.join(parent, name)
            if not stat.S_ISLNK(os.lstat(path).st_mode):
                os.chmod(path, 0o700)
    shutil.rmtree(os.fsencode(folder), ignore_errors=True)
