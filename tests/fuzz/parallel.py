"""Many cases, shared by several workers, each in a process of its own."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from random import Random

from fuzz.case import Outcome, Result
from fuzz.kinds import KINDS, generator
from fuzz.suite import worker

Job = tuple[str, int]
"""A kind and a seed."""


def jobs_of(cases: int, first: int, kinds: Iterable[str]) -> list[Job]:
    """So many cases of some kinds, by their weights, well mixed: the processes end at about the same time."""
    weights = {kind: KINDS[kind] for kind in kinds}
    jobs = [
        (kind, first * 1_000_000 + number)
        for kind, weight in weights.items()
        for number in range(max(1, round(cases * weight / sum(weights.values()))))
    ]
    Random(first).shuffle(jobs)
    return jobs


def run_all(jobs: list[Job], processes: int) -> list[Result]:
    """The results of all jobs, from so many workers."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, str(number)) for number in range(processes)]
        workers = [
            spawn.Process(target=_work, args=(jobs[number::processes], path)) for number, path in enumerate(paths)
        ]
        for each in workers:
            each.start()
        for each in workers:
            each.join()
        results = [result for path in paths if path.exists() for result in _read(path)]
    if len(results) != len(jobs):
        raise SystemExit(f"{len(jobs) - len(results)} of {len(jobs)} cases were not run: a worker ended")
    return results


def told(result: Result) -> Result:
    """The same; a failure is told as it comes."""
    if result.problems:
        print(f"{result.kind} {result.seed}: {'; '.join(result.problems)}  {result.frame}", file=sys.stderr, flush=True)
    return result


def _work(jobs: list[Job], path: Path) -> None:
    """A worker's life. What the commands printed is not kept."""
    with worker() as runs, path.open("w", encoding="utf-8") as file:
        for kind, seed in jobs:
            result = told(runs.run(kind, seed, generator(kind)))
            for outcome in result.outcomes:
                outcome.stdout = outcome.stderr = outcome.report = ""
            file.write(json.dumps(asdict(result)) + "\n")
    os._exit(0)  # what heavy modules have to say at the end of a process interests nobody


def _read(path: Path) -> Iterator[Result]:
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        yield Result(**{**record, "outcomes": [Outcome(**outcome) for outcome in record["outcomes"]]})
