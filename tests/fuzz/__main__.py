"""`python -m fuzz`: the whole suite, or one case again."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from time import perf_counter

from fuzz.case import Result
from fuzz.parallel import generator_of, jobs_of, run_all
from fuzz.report import report
from fuzz.suite import worker


def main() -> int:
    """Run what the command line asks for; 1 if a case failed."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("kind", nargs="?", help="a kind, or `corpus`")
    parser.add_argument("seed", nargs="?", help="the case's seed, an entry's name, or `all` of the corpus")
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", dest="first", type=int, default=0, help="cases of another seed are others")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--kinds", help="only these, with commas between")
    parser.add_argument("--keep", type=Path, help="leave the files of a single case here")
    options = parser.parse_args()
    if options.kind is not None and options.seed is None:
        parser.error("a single case is KIND SEED")
    if options.kind is None:
        return report(run_all(jobs_of(options.cases, options.first, options.kinds), options.processes))
    if options.seed == "all":
        from fuzz.corpus import entries

        return report(run_all([("corpus", name) for name in entries()], 1))
    with worker() as runs:
        return _again(runs.run(*generator_of(options.kind, options.seed), keep=options.keep))


def _again(result: Result) -> int:
    for outcome in result.outcomes:
        sys.stdout.write(outcome.stdout + outcome.stderr)
        print(f"-> exit code {outcome.code}, {outcome.seconds:.2f} s, {outcome.peak / 1e6:,.0f} MB")
    for problem in result.problems:
        print(f"PROBLEM: {problem}")
    return int(bool(result.problems))


if __name__ == "__main__":
    started = perf_counter()
    code = main()
    print(f"{perf_counter() - started:.0f} s", flush=True)
    os._exit(code)  # what heavy modules have to say at the end of a process interests nobody
