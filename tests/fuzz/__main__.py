"""`python -m fuzz`: the whole suite, or one case again."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

from fuzz.case import Result
from fuzz.kinds import KINDS, generator
from fuzz.parallel import jobs_of, run_all, told
from fuzz.report import report
from fuzz.suite import Worker, worker


def main() -> int:
    """Run what the command line asks for; 1 if a case failed."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("kind", nargs="?", choices=[*KINDS, "corpus", "share"], help="share: what `make test` runs")
    parser.add_argument("case", nargs="?", help="its seed, or an entry's name or `all` of the corpus")
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="another one, other cases")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--kinds", help="only these, with commas between")
    parser.add_argument("--keep", type=Path, help="leave the files of a single case here")
    options = parser.parse_args()
    if options.kind is None:
        jobs = jobs_of(options.cases, options.seed, options.kinds.split(",") if options.kinds else KINDS)
        return report(run_all(jobs, options.processes))
    if options.kind == "share":
        with worker() as runs:
            return report(list(_share(runs)))
    if options.case is None:
        parser.error("a single case has a kind and a seed")
    with worker() as runs:
        if options.kind != "corpus":
            return _show(runs.run(options.kind, int(options.case), generator(options.kind), options.keep))
        from fuzz.corpus import entries

        if options.case == "all":
            return report([told(runs.run("corpus", name, entry)) for name, entry in entries().items()])
        return _show(runs.run("corpus", options.case, entries()[options.case], options.keep))


def _share(runs: Worker) -> Iterator[Result]:
    """Every fourth entry of the corpus, and some cases of every kind."""
    from fuzz.corpus import share

    for name, entry in share(4).items():
        yield told(runs.run("corpus", name, entry))
    for kind, seed in jobs_of(60, 0, KINDS):
        yield told(runs.run(kind, seed, generator(kind)))


def _show(result: Result) -> int:
    """Print what a case printed and what is wrong with it."""
    for outcome in result.outcomes:
        sys.stdout.write(outcome.stdout + outcome.stderr + outcome.report)
        print(f"-> exit code {outcome.code}, {outcome.seconds:.2f} s, {outcome.peak / 1e6:,.0f} MB")
    for problem in result.problems:
        print(f"PROBLEM: {problem}")
    return int(bool(result.problems))


if __name__ == "__main__":
    started = perf_counter()
    code = main()
    print(f"{perf_counter() - started:.0f} s", flush=True)
    os._exit(code)  # what heavy modules have to say at the end of a process interests nobody
