"""Many cases, shared by several workers, each in a process of its own."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from random import Random

from fuzz.case import Outcome, Result
from fuzz.suite import Generator, worker

Job = tuple[str, int | str]
"""A kind and a seed, or `corpus` and an entry's name."""


def generator_of(kind: str, seed: int | str) -> tuple[str, int | str, Generator]:
    """Kind, seed and generator of a case."""
    if kind == "corpus":
        from fuzz.corpus import entries

        return kind, seed, entries()[str(seed)]
    from fuzz.kinds import KINDS

    return kind, int(seed), KINDS[kind][1]


def jobs_of(cases: int, first: int, only: str | None) -> list[Job]:
    """So many cases of all kinds, by their weights, well mixed: the processes end at about the same time."""
    from fuzz.kinds import KINDS

    weights = {kind: weight for kind, (weight, _) in KINDS.items() if only is None or kind in only.split(",")}
    total = sum(weights.values())
    jobs: list[Job] = [
        (kind, first * 1_000_000 + number)
        for kind, weight in weights.items()
        for number in range(max(1, round(cases * weight / total)))
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
        results = [
            Result(**{**record, "outcomes": [Outcome(**outcome) for outcome in record["outcomes"]]})
            for path in paths
            if path.exists()
            for record in map(json.loads, path.read_text(encoding="utf-8").splitlines())
        ]
    if len(results) != len(jobs):
        raise SystemExit(f"{len(jobs) - len(results)} of {len(jobs)} cases were not run: a worker ended")
    return results


def _work(jobs: list[Job], path: Path) -> None:
    """A worker's life; failures are told as they come, output is kept of them alone."""
    with worker() as runs, path.open("w", encoding="utf-8") as file:
        for job in jobs:
            result = runs.run(*generator_of(*job))
            if result.problems:
                print(f"{job[0]} {job[1]}: {'; '.join(result.problems)}  {result.frame}", file=sys.stderr, flush=True)
            for outcome in result.outcomes:
                outcome.stdout = outcome.stderr = outcome.report = ""
            file.write(json.dumps(asdict(result)) + "\n")
    os._exit(0)  # what heavy modules have to say at the end of a process interests nobody
